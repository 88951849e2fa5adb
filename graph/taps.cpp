#include <frieze/graph/taps.h>

#include <algorithm>
#include <charconv>
#include <map>

#include <frieze/core/error.h>
#include <frieze/core/glob.h>
#include <frieze/graph/repeat.h>

namespace frieze {

namespace {

struct Points {
  std::map<std::string, int> seen;
  std::vector<TapPoint> all;

  void add(const Step& step, int loop, int iterations) {
    for (std::size_t k = 0; k < step.outputs.size(); ++k) {
      std::string name = output_name(step.label(), k, step.outputs.size());
      const int count = ++seen[name];
      if (count > 1) name += "#" + std::to_string(count);
      all.push_back({std::move(name), step.outputs[k], &step, static_cast<int>(k), loop, iterations});
    }
  }
  void add(const Plan& plan, int loop, int iterations) {
    std::size_t looked = 0;
    for (std::size_t i = 0; i <= plan.steps.size(); ++i) {
      for (; looked < plan.views.size() && static_cast<std::size_t>(plan.views[looked].before) <= i; ++looked)
        add(plan.views[looked].step, loop, iterations);
      if (i == plan.steps.size()) break;
      if (const Repeat* const inner = loop_of(plan.steps[i]); inner != nullptr && loop < 0)
        add(inner->body(), static_cast<int>(i), inner->iterations());
      add(plan.steps[i], loop, iterations);
    }
  }
};

}  // namespace

std::vector<TapPoint> tap_points(const Plan& plan) {
  Points points;
  points.add(plan, -1, 0);
  return std::move(points.all);
}

std::string tap_name(const TapPoint& point, int iteration) { return iteration < 0 ? point.name : concat_text(point.name, '@', iteration); }

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

namespace {

// A pattern without its iteration, and that: kLast without one, kEach for '*'.
constexpr int kLast = -1, kEach = -2;
std::pair<std::string_view, int> split_iteration(std::string_view pattern) {
  const std::size_t at = pattern.rfind('@');
  if (at == std::string_view::npos) return {pattern, kLast};
  const std::string_view number = pattern.substr(at + 1);
  if (number == "*") return {pattern.substr(0, at), kEach};
  int iteration = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), iteration);
  if (number.empty() || error != std::errc() || end != number.data() + number.size() || number.front() == '-') return {pattern, kLast};
  return {pattern.substr(0, at), iteration};
}

std::string listed(const std::vector<std::string>& names) {
  constexpr std::size_t kListed = 12;
  std::string list;
  for (std::size_t i = 0; i < std::min(kListed, names.size()); ++i) list += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kListed) list += concat_text(" and ", names.size() - kListed, " more");
  return list;
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
  std::vector<std::string> names;
  for (const TapPoint& point : points) names.push_back(point.name);
  throw OptionError(concat_text("no step matches the tap '", pattern, "': the model has ", listed(names)));
}

}  // namespace

std::vector<Tap> taps_matching(const std::vector<TapPoint>& points, std::string_view pattern) {
  const auto [base, iteration] = split_iteration(pattern);
  std::vector<Tap> found;
  for (const int i : points_matching(points, base)) {
    const TapPoint& point = points[static_cast<std::size_t>(i)];
    if (point.loop < 0) {
      if (iteration == kLast) found.push_back({i, -1});
      continue;
    }
    check<OptionError>(iteration < point.iterations, "no iteration ", iteration, " of '", point.name, "': its loop runs ", point.iterations,
                       point.iterations == 1 ? " time" : " times", ", and counts from 0");
    const int first = iteration == kEach ? 0 : iteration == kLast ? point.iterations - 1 : iteration;
    const int last = iteration == kEach ? point.iterations - 1 : first;
    for (int k = first; k <= last; ++k) found.push_back({i, k});
  }
  check<OptionError>(!found.empty(), "the tap '", pattern, "' names an iteration, but '", base, "' is in no loop");
  return found;
}

Tap tap_named(const std::vector<TapPoint>& points, const std::vector<Tap>& taps, std::string_view name) {
  const auto split = split_iteration(name);  // clang 14's lambdas capture no bindings
  const std::string_view base = split.first;
  const int iteration = split.second;
  const auto point_of = [&](const Tap& tap) -> const TapPoint& { return points[static_cast<std::size_t>(tap.point)]; };
  const auto name_of = [&](const Tap& tap) { return tap_name(point_of(tap), tap.iteration); };
  const auto chosen = [&](const auto& test) {
    std::vector<Tap> all;
    for (const Tap& tap : taps) {
      if (test(point_of(tap)) && (iteration == kLast || iteration == tap.iteration)) all.push_back(tap);
    }
    // Iterations of one point: the last, if it is among them.
    if (all.size() > 1 && all.front().point == all.back().point && all.back().iteration == point_of(all.back()).iterations - 1)
      all = {all.back()};
    return all;
  };
  std::vector<Tap> found = chosen([&](const TapPoint& point) { return point.name == base; });
  if (found.empty()) {
    found = chosen([&](const TapPoint& point) { return stands_for(point, base); });
    if (found.size() > 1 && found.front().iteration < 0) found.resize(1);  // a module that is used again: its first value
  }
  if (found.empty()) found = chosen([&](const TapPoint& point) { return lies_below(point, base); });
  if (found.size() == 1) return found.front();
  std::vector<std::string> names;
  for (const Tap& tap : found.empty() ? taps : found) names.push_back(name_of(tap));
  check<OptionError>(found.empty(), "'", name, "' stands for several tapped values: name one of ", listed(names));
  throw OptionError(concat_text("'", name, "' is not tapped: ", names.empty() ? "nothing is" : "these are: " + listed(names)));
}

}  // namespace frieze
