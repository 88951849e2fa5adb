#pragma once
/// DC-AE checkpoints: diffusers' key names, and the original ones of efficientvit.
#include <string>
#include <vector>

#include <frieze/core/weights.h>
#include <frieze/models/dc_ae/dc_ae.h>

namespace frieze FRIEZE_API {

/// A tensor that a checkpoint of this model holds, by its name in diffusers.
struct DcAeTensor {
  std::string name;
  Shape shape;
};
/// Every one of them, num_batches_tracked (a count that inference does not use) left out.
std::vector<DcAeTensor> dc_ae_tensors(const DcAe& model);

/// The name that efficientvit gives the tensor of this name in diffusers; to_q, to_k and to_v are rows of one tensor there, whose name
/// is given for all three. `config` decides what stands at the ends of the halves.
std::string dc_ae_original_name(const std::string& diffusers_name, const DcAeConfig& config);

/// Where a model's two parts lie.
struct DcAeFiles {
  std::filesystem::path config;   ///< config.json
  std::filesystem::path weights;  ///< a file or a folder, for open_dc_ae_weights()
};
/// What `path` means: a folder with config.json, the folder of a pipeline, whose vae/ is meant, a folder of Hugging Face's cache
/// (models--owner--name), a config.json, or a file of weights beside one. Throws IoError that says what is not there.
DcAeFiles find_dc_ae(const std::filesystem::path& path);

/// A checkpoint: a file, or a folder as find_dc_ae() understands it, which may hold other weights beside
/// diffusion_pytorch_model.safetensors (sharded or not) or model.safetensors. `variant`: as for Weights::open(). Throws IoError,
/// WeightsError.
Weights open_dc_ae_weights(const std::filesystem::path& path, const std::string& variant = {});

/// Throws WeightsError if `config` claims more blocks than the checkpoint has tensors: asked before a model is made of either.
void check_dc_ae_blocks(const DcAeConfig& config, DcAeParts parts, const Weights& weights);

/// Fills the model from a checkpoint with either kind of names (told by the names themselves), with or without a prefix that all share.
/// Every tensor of the halves that the model has must be there, of its shape ([C,C] and [C,C,1,1] are one), and no other. Of a half that
/// the model lacks, the file must have all names or none; its shapes are not looked at.
/// Throws WeightsError naming the tensor, what was expected and what was got; the model is then left as it was. Names and shapes are
/// compared before anything is read, so a model costs no memory for its parameters until it is known to fit.
void load_dc_ae(DcAe& model, const Weights& weights);

}  // namespace FRIEZE_API
