#include <frieze/core/glob.h>

#include <algorithm>

namespace frieze {
namespace {

struct Range {
  std::size_t begin, end;
};

// Greedy, with one point to go back to: the last '*' takes one character more. `taken`, if any, gets what each wildcard took.
bool fit(std::string_view pattern, std::string_view text, std::vector<Range>* taken) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0, taken_at_star = 0;
  const auto take = [&](std::size_t begin, std::size_t end) {
    if (taken != nullptr) taken->push_back({begin, end});
  };
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
      if (taken != nullptr) taken_at_star = taken->size();
      take(t, t);
    } else if (p < pattern.size() && pattern[p] == '?') {
      take(t, t + 1);
      ++p;
      ++t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
      if (taken != nullptr) {
        taken->resize(taken_at_star + 1, {});
        taken->back().end = resume;
      }
    } else {
      return false;
    }
  }
  for (; p < pattern.size() && pattern[p] == '*'; ++p) take(t, t);
  return p == pattern.size();
}

bool is_wildcard(char c) { return c == '*' || c == '?'; }

}  // namespace

bool matches(std::string_view pattern, std::string_view text) { return fit(pattern, text, nullptr); }

std::optional<std::vector<std::string_view>> captures(std::string_view pattern, std::string_view text) {
  std::vector<Range> taken;
  if (!fit(pattern, text, &taken)) return std::nullopt;
  std::vector<std::string_view> parts;
  for (const Range& range : taken) parts.push_back(text.substr(range.begin, range.end - range.begin));
  return parts;
}

std::string with_captures(std::string_view pattern, const std::vector<std::string_view>& parts) {
  std::string out;
  std::size_t next = 0;
  for (const char c : pattern) {
    if (is_wildcard(c)) {
      out += parts.at(next++);
    } else {
      out += c;
    }
  }
  return out;
}

std::size_t wildcards(std::string_view pattern) {
  return static_cast<std::size_t>(std::count_if(pattern.begin(), pattern.end(), is_wildcard));
}

}  // namespace frieze
