#pragma once
/// Small JSON objects for reports; what graph/ reports as JSON goes in as it is.
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>
#include <type_traits>

namespace frieze::tools {

/// A JSON string literal: quotes, backslashes and control characters escaped.
inline std::string json_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += escaped;
    } else {
      out += c;
    }
  }
  return out + '"';
}

class JsonObject {
 public:
  JsonObject& add(std::string_view key, std::string_view text) { return raw(key, json_text(text)); }
  JsonObject& add(std::string_view key, const char* text) { return raw(key, json_text(text)); }
  /// Numbers and booleans; what is not finite becomes null.
  template <class T>
  requires std::is_arithmetic_v<T> JsonObject& add(std::string_view key, T value) {
    if constexpr (std::is_same_v<T, bool>) return raw(key, value ? "true" : "false");
    if constexpr (std::is_integral_v<T>) return raw(key, std::to_string(value));
    char text[40];
    std::snprintf(text, sizeof text, "%.9g", static_cast<double>(value));
    return raw(key, std::isfinite(static_cast<double>(value)) ? text : "null");
  }
  /// A value that is JSON already.
  JsonObject& raw(std::string_view key, std::string json) {
    while (!json.empty() && json.back() == '\n') json.pop_back();
    members_ += (members_.empty() ? "" : ",\n ") + json_text(key) + ": " + json;
    return *this;
  }
  std::string text() const { return "{" + members_ + "}"; }

 private:
  std::string members_;
};

}  // namespace frieze::tools
