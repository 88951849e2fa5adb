#pragma once
/// Weights: a strict, memory-mapped reader of safetensors files, and their writer.
/// Format: u64 little-endian header length · JSON header {"name": {"dtype", "shape", "data_offsets": [begin, end]}, …,
/// "__metadata__": {string: string}} · data. Source: the format section of huggingface/safetensors' README.
#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <frieze/core/tensor.h>

namespace frieze FRIEZE_API {

/// One tensor of a file. `dtype` is the file's name for it ("F32", "BF16", "I64", …).
struct WeightsTensor {
  std::string dtype;
  Shape shape;
  /// Row-major, little-endian, not necessarily aligned; valid while the Weights live. It is the mapped file itself: if another
  /// process shortens the file meanwhile, the kernel answers a touch with SIGBUS. Weights::floats() and tensor() cannot be
  /// hit by that.
  std::span<const std::byte> data;
};

class Weights {
 public:
  /// Opens a .safetensors file, a .safetensors.index.json of a sharded checkpoint (plain file names of the same folder
  /// only; a plain name may be a symbolic link), or a folder that holds exactly one of the two (an index and the files that
  /// it names count as one). The whole header is checked before any tensor can be seen: sizes, types, ranges that tile the
  /// data without gap or overlap, duplicate keys. An index must list every tensor of its files, in the file where it is.
  /// Throws IoError if a file cannot be read, WeightsError naming file, tensor and field if it breaks the format.
  /// Of several checkpoints in a folder that differ by a variant (model.safetensors, model.fp16.safetensors) the one without is taken, or
  /// that of `variant`. A file of another kind is named for what it is: a Git LFS pointer, an HTML page, a PyTorch archive, GGUF, ….
  static Weights open(const std::filesystem::path& path, const std::string& variant = {});

  /// One safetensors file that already lies in memory, checked in the same way; the bytes are not copied and must stay as they are
  /// while the Weights live. `name` stands for the file in messages. Throws WeightsError.
  static Weights view(std::span<const std::byte> file, const std::string& name);

  const std::map<std::string, WeightsTensor>& tensors() const;
  /// The file's "__metadata__"; of several files all of them together, the first file by name having the last word.
  const std::map<std::string, std::string>& metadata() const;
  bool contains(const std::string& name) const { return tensors().contains(name); }
  /// Throws WeightsError if there is no such tensor.
  const WeightsTensor& at(const std::string& name) const;
  /// Values of an F32, F16, BF16 or F64 tensor as f32 (F64 rounded to nearest, to infinity past the largest f32). Throws
  /// WeightsError for other types, IoError if the file was shortened or lengthened since it was opened.
  std::vector<float> floats(const std::string& name) const;
  /// An F32, F16, BF16, I32 or I64 tensor in its own type, contiguous nchw. Throws like floats().
  HostTensor tensor(const std::string& name) const;
  /// The same tensors under names without `prefix`, which all of them begin with. Throws WeightsError if one does not.
  Weights without_prefix(const std::string& prefix) const;
  /// Some of these tensors under new names; `names` maps new names to present ones, which must exist. `note` is appended to source().
  Weights with_names(const std::map<std::string, std::string>& names, const std::string& note) const;
  /// The path it was opened from, fit for a one-line message.
  const std::string& source() const;

 private:
  struct Content;
  explicit Weights(std::shared_ptr<const Content> content) : content_(std::move(content)) {}
  std::shared_ptr<const Content> content_;
};

/// `weights` as they are if one of their tensors is among the names that a model expects. Else without the shortest prefix of whole parts
/// ("module.", "model.vae.") that all names share and that makes one of them expected; as they are if there is none.
Weights without_foreign_prefix(const Weights& weights, const std::set<std::string>& expected);

/// Writes a safetensors file with the given tensors (row-major, each in its own type, aligned to its element size) as an OutputFile does:
/// flushed to the disk, then renamed into place, never onto a device or a pipe. Throws WeightsError on a name that the format cannot hold,
/// IoError if the file cannot be written; then nothing is left behind and a file of that name is as it was.
void save_safetensors(const std::filesystem::path& path, const std::map<std::string, HostTensor>& tensors,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace FRIEZE_API
