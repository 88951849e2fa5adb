#pragma once
/// The files of a checkpoint: which one of a folder is meant, and what a file is that is not safetensors.
#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include <frieze/core/api.h>

namespace frieze FRIEZE_API {

/// As many bytes of a file's start as foreign_kind() looks at.
inline constexpr std::size_t kSniffedBytes = 512;

/// What a file is that begins so, and what to do about it, as the end of a message: "is a Git LFS pointer, …". Empty: unknown.
std::string foreign_kind(std::string_view begin);

/// The checkpoint in a folder: a *.safetensors file, or an index (*.safetensors.index.json, *.safetensors.index.VARIANT.json) with the
/// files that it lists. Names that differ by a variant (model.safetensors, model.fp16.safetensors) are one checkpoint: that without a
/// variant, or that of `variant`. Hidden files do not count. Throws IoError, and WeightsError that lists what there is.
std::filesystem::path pick_checkpoint(const std::filesystem::path& folder, const std::string& variant);

/// Tensor name -> file name, see parse_safetensors_index(). Throws IoError, WeightsError.
std::map<std::string, std::string> read_safetensors_index(const std::filesystem::path& path);

}  // namespace FRIEZE_API
