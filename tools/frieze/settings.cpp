#include <limits>

#include <frieze/core/error.h>

#include "tools/frieze/arguments.h"
#include "tools/frieze/layer_registry.h"

namespace frieze::tools {
namespace {

int whole(const std::string& key, const std::string& text) {
  return static_cast<int>(parse_whole("--set " + key, text, std::numeric_limits<int>::min(), std::numeric_limits<int>::max()));
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
  return parse_number("--set " + key, *value, std::numeric_limits<double>::lowest(), std::numeric_limits<double>::max());
}

int Settings::integer(const std::string& key, int fallback) {
  const std::string* value = find(key);
  if (value == nullptr) return fallback;
  return whole(key, *value);
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
  const int rows = whole(key, value->substr(0, at));
  return {rows, at == std::string::npos ? rows : whole(key, value->substr(at + 1))};
}

std::vector<std::string> Settings::unused() const {
  std::vector<std::string> keys;
  for (const auto& [key, _] : values_) {
    if (!asked_.contains(key)) keys.push_back(key);
  }
  return keys;
}

}  // namespace frieze::tools
