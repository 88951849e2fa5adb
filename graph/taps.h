#pragma once
/// Which steps of a plan a tap's pattern means, and what their values are called.
#include <string>
#include <string_view>
#include <vector>

#include <frieze/graph/plan.h>

namespace frieze {

/// The name of what each step makes, as taps know it: its label, "conv1" or "conv1+silu"; "#2", "#3" … behind it where
/// a module is used several times.
std::vector<std::string> tap_names(const Plan& plan);

/// True if all of `text` fits `pattern`: '*' stands for any characters, '?' for one, everything else for itself.
bool matches(std::string_view pattern, std::string_view text);

/// Indices of the steps that `pattern` means, in order: by tap name, or by module path, that of an absorbed operation included.
/// Throws OptionError, listing names, if there is none.
std::vector<int> steps_matching(const Plan& plan, std::string_view pattern);

}  // namespace frieze
