#include <frieze/graph/taps.h>

#include <algorithm>
#include <map>

#include <frieze/core/error.h>

namespace frieze {

std::vector<std::string> tap_names(const Plan& plan) {
  std::map<std::string, int> seen;
  std::vector<std::string> names;
  for (const Step& step : plan.steps) {
    std::string name = step.label();
    const int count = ++seen[name];
    if (count > 1) name += "#" + std::to_string(count);
    names.push_back(std::move(name));
  }
  return names;
}

// Greedy, with one point to go back to: the last '*' takes one character more.
bool matches(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::vector<int> steps_matching(const Plan& plan, std::string_view pattern) {
  const std::vector<std::string> names = tap_names(plan);
  std::vector<int> found;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const Step& step = plan.steps[i];
    const bool hit = matches(pattern, names[i]) || matches(pattern, step.path) ||
                     std::any_of(step.epilogue.begin(), step.epilogue.end(), [&](const FusedOp& f) { return matches(pattern, f.path); });
    if (hit) found.push_back(static_cast<int>(i));
  }
  if (!found.empty()) return found;
  constexpr std::size_t kListed = 12;
  std::string list;
  for (std::size_t i = 0; i < std::min(kListed, names.size()); ++i) list += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kListed) list += concat_text(" and ", names.size() - kListed, " more");
  throw OptionError(concat_text("no step matches the tap '", pattern, "': the model has ", list));
}

}  // namespace frieze
