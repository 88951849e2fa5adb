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

/// True if what the module at `path` makes is what the step makes: its own path, that of an operation that it absorbed, or of a step that
/// a pass merged into it.
bool stands_for(const Step& step, std::string_view path);
/// True if the step, or anything in it, lies below the container at `path`.
bool lies_below(const Step& step, std::string_view path);

/// Indices of the steps that `pattern` means, in order: by their name in `names`, which are those of tap_names(), or by module path: their
/// own, that of an operation that they absorbed or that was merged into them, or that of a container of these.
/// Throws OptionError, naming the step that took its place or listing names, if there is none.
std::vector<int> steps_matching(const Plan& plan, const std::vector<std::string>& names, std::string_view pattern);

}  // namespace frieze
