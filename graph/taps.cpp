#include <frieze/graph/taps.h>

#include <algorithm>
#include <map>

#include <frieze/core/error.h>
#include <frieze/core/glob.h>

namespace frieze {

std::vector<TapPoint> tap_points(const Plan& plan) {
  std::map<std::string, int> seen;
  std::vector<TapPoint> points;
  const auto add = [&](const Step& step) {
    for (std::size_t k = 0; k < step.outputs.size(); ++k) {
      std::string name = output_name(step.label(), k, step.outputs.size());
      const int count = ++seen[name];
      if (count > 1) name += "#" + std::to_string(count);
      points.push_back({std::move(name), step.outputs[k], &step, static_cast<int>(k)});
    }
  };
  std::size_t looked = 0;
  for (std::size_t i = 0; i <= plan.steps.size(); ++i) {
    for (; looked < plan.views.size() && static_cast<std::size_t>(plan.views[looked].before) <= i; ++looked) add(plan.views[looked].step);
    if (i < plan.steps.size()) add(plan.steps[i]);
  }
  return points;
}

namespace {

// Calls `test` for the path of the value and of all that its step absorbed until it says yes.
template <class Test>
bool any_path(const TapPoint& point, const Test& test) {
  const Step& step = *point.step;
  return test(output_name(step.path, static_cast<std::size_t>(point.output), step.outputs.size())) ||
         std::any_of(step.epilogue.begin(), step.epilogue.end(), [&](const FusedOp& f) { return test(f.path); }) ||
         std::any_of(step.merged.begin(), step.merged.end(), test);
}

// "a.b.c" is meant by a pattern for itself, for "a.b" and for "a".
bool means(std::string_view pattern, std::string_view path) {
  if (matches(pattern, path)) return true;
  for (std::size_t dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.', dot + 1)) {
    if (matches(pattern, path.substr(0, dot))) return true;
  }
  return false;
}

}  // namespace

bool stands_for(const TapPoint& point, std::string_view path) {
  return any_path(point, [&](std::string_view own) { return own == path; });
}

bool lies_below(const TapPoint& point, std::string_view path) {
  return any_path(point,
                  [&](std::string_view own) { return own.size() > path.size() && own.starts_with(path) && own[path.size()] == '.'; });
}

std::vector<int> points_matching(const std::vector<TapPoint>& points, std::string_view pattern) {
  std::vector<int> found;
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (matches(pattern, points[i].name) || any_path(points[i], [&](std::string_view path) { return means(pattern, path); }))
      found.push_back(static_cast<int>(i));
  }
  if (!found.empty()) return found;
  for (const TapPoint& point : points) {
    for (const std::string& path : point.step->replaced) {
      check<OptionError>(!means(pattern, path), "'", path, "' has no value of its own: a rewrite made it part of '", point.name,
                         "'; tap that, or leave the rewrite out (passes.without, --no-rewrite)");
    }
  }
  constexpr std::size_t kListed = 12;
  std::string list;
  for (std::size_t i = 0; i < std::min(kListed, points.size()); ++i) list += (i == 0 ? "" : ", ") + points[i].name;
  if (points.size() > kListed) list += concat_text(" and ", points.size() - kListed, " more");
  throw OptionError(concat_text("no step matches the tap '", pattern, "': the model has ", list));
}

}  // namespace frieze
