#pragma once
/// Which values of a plan a tap's pattern means, and what they are called.
#include <string>
#include <string_view>
#include <vector>

#include <frieze/graph/plan.h>

namespace frieze {

/// A value that can be tapped.
struct TapPoint {
  std::string name;
  int value = -1;
  const Step* step = nullptr;  ///< the step, or the view, that it comes from; in the plan
  int output = 0;              ///< as which of its outputs
};

/// All values that steps make and all views, in their order; of a plan that outlives them. Each is called by its step's label, "conv1" or
/// "conv1+silu", with ".0", ".1" … behind it where the step makes several; "#2", "#3" … behind that where a module is used several times.
std::vector<TapPoint> tap_points(const Plan& plan);

/// True if what the module at `path` makes is the value at `point`: its step's own path (with ".0" … behind it where the step makes
/// several), that of an operation that the step absorbed, or of a step that a pass merged into it.
bool stands_for(const TapPoint& point, std::string_view path);
/// True if the value's path, or that of anything in its step, lies below `path`: a container, or a step of several outputs.
bool lies_below(const TapPoint& point, std::string_view path);

/// Indices of the `points`, which are those of tap_points(), that `pattern` means, in order: by name, or by module path: their own, that
/// of an operation that their step absorbed or that was merged into it, or that of a container of these.
/// Throws OptionError, naming the step that took its place or listing names, if there is none.
std::vector<int> points_matching(const std::vector<TapPoint>& points, std::string_view pattern);

}  // namespace frieze
