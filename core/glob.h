#pragma once
/// Glob patterns for names: '*' matches any characters, including none, '?' matches one, all others match themselves.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace frieze {

/// True if `pattern` matches all of `text`.
bool matches(std::string_view pattern, std::string_view text);

/// What each wildcard of `pattern` matches in `text`, in order; nullopt if the pattern does not match. If there are several ways, each '*'
/// but the last matches as little as possible.
std::optional<std::vector<std::string_view>> captures(std::string_view pattern, std::string_view text);

/// Replaces the wildcards of `pattern` by `parts`, in order. There must be at least as many parts as wildcards.
std::string with_captures(std::string_view pattern, const std::vector<std::string_view>& parts);

/// How many wildcards `pattern` has.
std::size_t wildcards(std::string_view pattern);

}  // namespace frieze
