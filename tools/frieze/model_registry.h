#pragma once
/// The models that the command line knows: one entry each, with the way from a picture to its input and back.
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <frieze/core/module.h>
#include <frieze/graph/session.h>

#include "tools/frieze/commands.h"
#include "tools/image/image.h"

namespace frieze::tools {

struct ModelEntry {
  std::string_view name, summary;
  /// A new model with the weights it is meant to be tried with.
  std::unique_ptr<Module> (*make)();
  /// Its inputs for a picture of this size.
  std::vector<InputSpec> (*inputs)(int width, int height, DType dtype);
  /// Row-major values of its first input for a picture, and the picture that its first output shows.
  std::vector<float> (*from_image)(const Image& photo);
  Image (*to_image)(const HostTensor& output);
};

std::span<const ModelEntry> models();
/// Throws OptionError listing the names there are.
const ModelEntry& find_model(std::string_view name);

/// A model with its weights, its input and its device, as the options ask for.
struct PreparedModel {
  const ModelEntry* entry = nullptr;
  std::unique_ptr<Module> module;
  std::vector<InputSpec> inputs;
  Image photo;  ///< without pixels if the options name no picture
  std::string weights_note;

  bool has_photo() const { return !photo.pixels.empty(); }
  /// The photograph as the model's input. Needs has_photo().
  HostTensor photo_input() const { return HostTensor({inputs[0].shape, inputs[0].dtype, inputs[0].format}, entry->from_image(photo)); }
  /// The picture that the model made, as large as the photograph where only the padding of the model's input made it larger.
  Image picture(const HostTensor& output) const;
  /// {"model", "dtype", "weights", "report"} of a report that is JSON already.
  std::string json(const std::string& dtype, const std::string& report) const;
};
/// DC-AE under the names "dcae:MODEL", "dcae-encoder:MODEL" and "dcae-decoder:MODEL", MODEL a folder or a published variant; nullopt for
/// every other name.
std::optional<PreparedModel> prepare_dcae(const ModelOptions& options);
/// Reads picture and weights. Throws OptionError, IoError, WeightsError.
PreparedModel prepare_model(const ModelOptions& options);

/// Throws OptionError if --variant is given for weights that lie in no folder, where it would do nothing.
void check_variant(const std::string& variant, const std::filesystem::path& weights);

/// Throws the MemoryError that compile() on the CPU would throw, for more than the machine has or than `options.max_memory` allows,
/// before the picture of that size is decoded. Other devices know only when they compile.
void check_fits(const Module& model, const std::vector<InputSpec>& inputs, const Device& device, const ModelOptions& options);

/// Tells `outputs` which files the model is read from.
void announce_model(const ModelOptions& options, Outputs& outputs);

/// The photograph as the session's input; without one, numbers from 0 to 1, the same each time.
void fill_input(const PreparedModel& model, Session& net);

/// "auto", "cpu", "cuda" or "cuda:N". Throws OptionError, CudaError.
Device pick_device(const std::string& text);
/// Throws OptionError if TF32 is asked for on the CPU.
CompileOptions compile_options(const ModelOptions& options, const Device& device);

}  // namespace frieze::tools
