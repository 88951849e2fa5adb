#pragma once
/// Plans of cuDNN with the code that was compiled for them, one a file, beside the tuning cache.
#include <optional>
#include <string>

namespace frieze::cuda {

/// What was stored for `key` (which names machine, versions and plan), if the file is whole and of that very key.
std::optional<std::string> find_plan_file(const std::string& key);
/// Replaces the file in one step. What cannot be written is left out: the next process compiles again. Nothing without a tuning cache file.
void store_plan_file(const std::string& key, const std::string& plan);

}  // namespace frieze::cuda
