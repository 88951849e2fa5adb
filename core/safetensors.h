#pragma once
/// The JSON parts of safetensors, checked: a file's header and the index of a sharded checkpoint. core/weights.h is what
/// users open files with; this is apart so that tests and the fuzzer reach it without a file.
/// Source: the format section of huggingface/safetensors' README; the index as written by huggingface_hub.
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include <frieze/core/shape.h>

namespace frieze {

class HostTensor;
class OutputFile;

/// Limits that bound what a hostile file can make the reader do.
inline constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  ///< as in the reference implementation; also of an index
inline constexpr std::size_t kMaxTensors = std::size_t{1} << 20;
inline constexpr std::size_t kMaxTensorName = 1024;  ///< bytes

/// One tensor as the header describes it; [begin, end) in bytes from the start of the data.
struct SafetensorsEntry {
  std::string dtype;
  Shape shape;
  std::uint64_t begin = 0, end = 0;
};

struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry> tensors;
  std::map<std::string, std::string> metadata;
};

/// Bytes of one element of a type in the closed list of the format, 0 for any other name.
std::size_t safetensors_dtype_bytes(std::string_view dtype);

/// Parses and checks a header in front of `data_bytes` bytes of data. It must be an object of tensors, each with exactly
/// dtype, shape and data_offsets, no key twice; shape and type must fill the range; the ranges must tile the data.
/// `file` begins every message. Throws WeightsError naming file, tensor and field.
SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t data_bytes, const std::string& file);

/// Parses the "weight_map" of an index: tensor name -> file name. A file name must be plain: no separator, not "." or
/// "..". Other members of the index ("metadata") are skipped. Throws WeightsError naming file, tensor and field.
std::map<std::string, std::string> parse_safetensors_index(std::string_view json, const std::string& file);

/// What save_safetensors() writes (core/weights.h), into a file that appears when its owner commits it. Throws as that does.
void write_safetensors(OutputFile& file, const std::map<std::string, HostTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace frieze
