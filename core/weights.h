#pragma once
/// Weights: a strict, memory-mapped reader of safetensors files, and their writer.
/// Format: u64 little-endian header length · JSON header {"name": {"dtype", "shape", "data_offsets": [begin, end]}, …,
/// "__metadata__": {string: string}} · data. Source: the format section of huggingface/safetensors' README.
#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <frieze/core/tensor.h>

namespace frieze {

/// One tensor of a file. `dtype` is the file's name for it ("F32", "BF16", "I64", …).
struct WeightsTensor {
  std::string dtype;
  Shape shape;
  std::span<const std::byte> data;  ///< row-major, little-endian, valid while the Weights live
};

class Weights {
 public:
  /// Opens a .safetensors file, a .safetensors.index.json of a sharded checkpoint (plain file names of the same folder
  /// only), or a folder holding exactly one of them. The whole header is checked before any tensor can be seen: sizes,
  /// types, ranges that tile the data without gap or overlap, duplicate keys.
  /// Throws IoError if a file cannot be read, WeightsError naming file, tensor and field if it breaks the format.
  static Weights open(const std::filesystem::path& path);

  const std::map<std::string, WeightsTensor>& tensors() const;
  const std::map<std::string, std::string>& metadata() const;
  bool contains(const std::string& name) const { return tensors().contains(name); }
  /// Throws WeightsError if there is no such tensor.
  const WeightsTensor& at(const std::string& name) const;
  /// Values of an F32, F16, BF16 or F64 tensor as f32. Throws WeightsError for other types.
  std::vector<float> floats(const std::string& name) const;
  /// An F32, F16 or BF16 tensor in its own type, contiguous nchw. Throws WeightsError for other types.
  HostTensor tensor(const std::string& name) const;
  /// The path it was opened from, for messages.
  const std::string& source() const;

 private:
  struct Content;
  std::shared_ptr<const Content> content_;
};

/// Writes a safetensors file with the given tensors (row-major, each in its own type), atomically: a temporary file in
/// the same folder, renamed at the end. Throws IoError; then nothing is left behind.
void save_safetensors(const std::filesystem::path& path, const std::map<std::string, HostTensor>& tensors,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace frieze
