#include <charconv>
#include <cstdlib>

#include <frieze/core/error.h>

#include "tools/frieze/layer_registry.h"

namespace frieze::tools {
namespace {

template <class T>
bool parse_whole(std::string_view text, T& value) {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  return status == std::errc() && end == text.data() + text.size();
}

}  // namespace

Settings::Settings(const std::vector<std::string>& pairs) {
  for (const std::string& pair : pairs) {
    const std::size_t at = pair.find('=');
    check<OptionError>(at != std::string::npos && at > 0, "--set needs key=value, got '", pair, "'");
    check<OptionError>(values_.emplace(pair.substr(0, at), pair.substr(at + 1)).second, "--set ", pair.substr(0, at), " is given twice");
  }
}

const std::string* Settings::find(const std::string& key) {
  asked_[key] = true;
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

std::string Settings::text(const std::string& key, std::string fallback) {
  const std::string* value = find(key);
  return value == nullptr ? fallback : *value;
}

double Settings::number(const std::string& key, double fallback) {
  const std::string* value = find(key);
  if (value == nullptr) return fallback;
  double parsed = 0;
  check<OptionError>(parse_whole(*value, parsed), key, ": expected a number, got '", *value, "'");
  return parsed;
}

int Settings::integer(const std::string& key, int fallback) {
  const std::string* value = find(key);
  if (value == nullptr) return fallback;
  int parsed = 0;
  check<OptionError>(parse_whole(*value, parsed), key, ": expected a whole number, got '", *value, "'");
  return parsed;
}

bool Settings::flag(const std::string& key, bool fallback) {
  const std::string* value = find(key);
  if (value == nullptr) return fallback;
  check<OptionError>(*value == "true" || *value == "false", key, ": expected true or false, got '", *value, "'");
  return *value == "true";
}

std::pair<int, int> Settings::pair(const std::string& key, int fallback) {
  const std::string* value = find(key);
  if (value == nullptr) return {fallback, fallback};
  const std::size_t at = value->find('x');
  int rows = 0, columns = 0;
  const bool ok = parse_whole(std::string_view(*value).substr(0, at), rows) &&
                  (at == std::string::npos || parse_whole(std::string_view(*value).substr(at + 1), columns));
  check<OptionError>(ok, key, ": expected one whole number, or rows x columns as in 1x2, got '", *value, "'");
  return {rows, at == std::string::npos ? rows : columns};
}

std::vector<std::string> Settings::unused() const {
  std::vector<std::string> keys;
  for (const auto& [key, _] : values_) {
    if (!asked_.contains(key)) keys.push_back(key);
  }
  return keys;
}

}  // namespace frieze::tools
