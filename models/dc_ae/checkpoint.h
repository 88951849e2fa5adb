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

/// A checkpoint: a file, or a folder as Hugging Face lays it out, which may hold other weights beside
/// diffusion_pytorch_model.safetensors (sharded or not) or model.safetensors. Throws IoError, WeightsError.
Weights open_dc_ae_weights(const std::filesystem::path& path);

/// Fills the model from a checkpoint with either kind of names (told by the names themselves). Every tensor of the halves that the model
/// has must be there, of its shape ([C,C] and [C,C,1,1] are one), and no other. Of a half that
/// the model lacks, the file must have all names or none; its shapes are not looked at.
/// Throws WeightsError naming the tensor, what was expected and what was got; the model is then left as it was.
void load_dc_ae(DcAe& model, const Weights& weights);

}  // namespace FRIEZE_API
