#pragma once
/// Which values of a plan a tap's pattern means, and what they are called.
#include <compare>
#include <string>
#include <string_view>
#include <vector>

#include <frieze/graph/plan.h>

namespace frieze {

/// A value that can be tapped.
struct TapPoint {
  std::string name;
  int value = -1;              ///< of the plan, or of the body of `loop`
  const Step* step = nullptr;  ///< the step, or the view, that it comes from; in the plan, or in that body
  int output = 0;              ///< as which of its outputs
  int loop = -1;               ///< the plan's step whose body makes it once an iteration
  int iterations = 0;          ///< of that loop
};

/// A point, and one iteration of its loop: -1 for a point in no loop.
struct Tap {
  int point = -1;  ///< index of the points
  int iteration = -1;
  friend auto operator<=>(const Tap&, const Tap&) = default;
};

/// All values that steps make and all views, in their order, those of a loop's body before the loop's own; of a plan that outlives them.
/// Each is called by its step's label, "conv1" or "conv1+silu", with ".0", ".1" … behind it where the step makes several; "#2", "#3" …
/// behind that where a module is used several times. The values of a loop inside a loop's body are not among them.
std::vector<TapPoint> tap_points(const Plan& plan);

/// "conv1", or "conv1@7": that of iteration 7.
std::string tap_name(const TapPoint& point, int iteration);

/// True if what the module at `path` makes is the value at `point`: its step's own path (with ".0" … behind it where the step makes
/// several), that of an operation that the step absorbed, or of a step that a pass merged into it.
bool stands_for(const TapPoint& point, std::string_view path);
/// True if the value's path, or that of anything in its step, lies below `path`: a container, or a step of several outputs.
bool lies_below(const TapPoint& point, std::string_view path);

/// What `pattern` means among the `points`, which are those of tap_points(), in order: by name, or by module path: their own, that of an
/// operation that their step absorbed or that was merged into it, or that of a container of these. Of points in loops "…@7" means iteration
/// 7, counted from 0, "…@*" each, and a pattern without '@' the last. Throws OptionError, naming the step that took its place or listing
/// names, if there is none; if the loop does not run so often, or no loop makes what has an iteration.
std::vector<Tap> taps_matching(const std::vector<TapPoint>& points, std::string_view pattern);

/// The one of the `taps`, which are in order, that `name` means: a name as tap_name() gives it, or a module path; without an iteration the
/// last one of a point, or the only one that is tapped. Throws OptionError, listing those that there are, if there is none, or several.
Tap tap_named(const std::vector<TapPoint>& points, const std::vector<Tap>& taps, std::string_view name);

}  // namespace frieze
