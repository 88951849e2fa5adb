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

namespace {

// Calls `test` for the path of the step and of all that it absorbed until it says yes.
template <class Test>
bool any_path(const Step& step, const Test& test) {
  return test(step.path) || std::any_of(step.epilogue.begin(), step.epilogue.end(), [&](const FusedOp& f) { return test(f.path); }) ||
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

bool stands_for(const Step& step, std::string_view path) {
  return any_path(step, [&](std::string_view own) { return own == path; });
}

bool lies_below(const Step& step, std::string_view path) {
  return any_path(step, [&](std::string_view own) { return own.size() > path.size() && own.starts_with(path) && own[path.size()] == '.'; });
}

std::vector<int> steps_matching(const Plan& plan, const std::vector<std::string>& names, std::string_view pattern) {
  std::vector<int> found;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const Step& step = plan.steps[i];
    if (matches(pattern, names[i]) || any_path(step, [&](std::string_view path) { return means(pattern, path); }))
      found.push_back(static_cast<int>(i));
  }
  if (!found.empty()) return found;
  for (std::size_t i = 0; i < names.size(); ++i) {
    for (const std::string& path : plan.steps[i].replaced) {
      check<OptionError>(!means(pattern, path), "'", path, "' has no value of its own: a rewrite made it part of '", names[i],
                         "'; tap that, or compile with passes.rewrite and passes.fuse off");
    }
  }
  constexpr std::size_t kListed = 12;
  std::string list;
  for (std::size_t i = 0; i < std::min(kListed, names.size()); ++i) list += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kListed) list += concat_text(" and ", names.size() - kListed, " more");
  throw OptionError(concat_text("no step matches the tap '", pattern, "': the model has ", list));
}

}  // namespace frieze
