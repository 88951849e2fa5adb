#pragma once
/// Applies LoadOptions to the names of a checkpoint, for load().
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <frieze/core/load.h>

namespace frieze {

struct ChosenTensors {
  Weights weights;
  std::map<std::string, std::string> renamed;  ///< name -> the file's name (without the prefix), where a rule of `rename` applied
  std::map<std::string, std::string> ignored;  ///< name in the file (without the prefix) -> the pattern of `ignore` that it fits
  std::vector<std::string> idle;               ///< rules that match no tensor: "ignore 'x.*'", "rename 'a' to 'b'"
};

/// Applies `prefix`, `ignore` and `rename`, in this order. Throws as load() says.
ChosenTensors choose_tensors(const Weights& file, const LoadOptions& options);

/// A name for a message: printable, and of bounded length.
std::string name_in_quotes(std::string_view name);

}  // namespace frieze
