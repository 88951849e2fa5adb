#pragma once
/// Small JSON objects for reports; what graph/ reports as JSON goes in as it is.
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>
#include <type_traits>

#include <frieze/core/error.h>

namespace frieze::tools {

/// A JSON string literal of printable UTF-8, whatever `text` holds. Control characters and marks that nobody sees are
/// escaped and stay what they are; a byte that is not UTF-8 becomes the text \xNN.
inline std::string json_text(std::string_view text) {
  std::string out = "\"";
  for (std::size_t at = 0; at < text.size();) {
    const TextUnit unit = text_unit(text.substr(at));
    char escaped[16] = {};
    if (!unit.valid) {
      std::snprintf(escaped, sizeof escaped, "\\\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(text[at])));
    } else if (unit.control && unit.code >= 0x10000) {
      const unsigned above = static_cast<unsigned>(unit.code) - 0x10000;
      std::snprintf(escaped, sizeof escaped, "\\u%04x\\u%04x", 0xD800 + (above >> 10), 0xDC00 + (above & 0x3FF));
    } else if (unit.control) {
      std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(unit.code));
    } else if (unit.code == '"' || unit.code == '\\') {
      out += '\\';
    }
    out += escaped[0] != '\0' ? std::string_view(escaped) : text.substr(at, unit.bytes);
    at += unit.bytes;
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
  /// The same in one line.
  std::string line() const {
    std::string out = text();
    std::erase(out, '\n');  // between members: within texts it is escaped
    return out;
  }
  /// The object without its end, for a report that is written piece by piece: a member must follow.
  std::string opened() const { return "{" + members_ + ",\n "; }

 private:
  std::string members_;
};

}  // namespace frieze::tools
