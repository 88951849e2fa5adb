#include "tools/frieze/arguments.h"

#include <charconv>
#include <cmath>
#include <limits>

#include <frieze/core/error.h>

namespace frieze::tools {
namespace {

[[noreturn]] void refuse(std::string_view option, const std::string& expected, std::string_view got) {
  throw OptionError(concat_text(option, ": expected ", expected, ", got ", got.empty() ? "nothing" : "'" + printable(got, 80) + "'"));
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// std::from_chars takes no spaces, no '+' and no locale. parse_all() also refuses trailing characters, and "inf" and "nan" by their first
// letter.
template <class T>
bool parse_all(std::string_view text, T& value) {
  if (text.empty() || !is_digit(text.back())) return false;
  const std::string_view digits = text.front() == '-' ? text.substr(1) : text;
  if (digits.empty() || !is_digit(digits.front())) return false;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  return status == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::uint64_t parse_seed(std::string_view option, std::string_view text) {
  std::uint64_t value = 0;
  if (!parse_all(text, value)) refuse(option, "a whole number from 0 to 18446744073709551615", text);
  return value;
}

std::int64_t parse_whole(std::string_view option, std::string_view text, std::int64_t least, std::int64_t most) {
  std::int64_t value = 0;
  if (!parse_all(text, value) || value < least || value > most) {
    refuse(option, concat_text("a whole number from ", least, " to ", most), text);
  }
  return value;
}

double parse_number(std::string_view option, std::string_view text, double least, double most) {
  double value = 0;
  if (!parse_all(text, value) || !std::isfinite(value) || value < least || value > most) {
    const bool any = least == std::numeric_limits<double>::lowest() && most == std::numeric_limits<double>::max();
    refuse(option, any ? "a number" : concat_text("a number from ", least, " to ", most), text);
  }
  return value + 0.0;  // "-0" is 0
}

std::int64_t parse_bytes(std::string_view option, std::string_view text) {
  constexpr const char* kExpected = "bytes as a whole number, or a number with K, M, G or T, of at least 1 byte";
  constexpr std::string_view kUnits = "KMGT";
  constexpr double kMost = 0x1p62;
  const std::size_t unit = text.empty() ? std::string_view::npos : kUnits.find(text.back());
  if (unit == std::string_view::npos) {
    std::int64_t whole = 0;
    if (!parse_all(text, whole) || whole < 1 || static_cast<double>(whole) > kMost) refuse(option, kExpected, text);
    return whole;
  }
  double number = 0;
  if (!parse_all(text.substr(0, text.size() - 1), number)) refuse(option, kExpected, text);
  const double bytes = std::ldexp(number, 10 * (static_cast<int>(unit) + 1));
  if (!(bytes >= 1 && bytes <= kMost)) refuse(option, kExpected, text);
  return static_cast<std::int64_t>(bytes);
}

PictureSize parse_size(std::string_view option, std::string_view text) {
  const std::size_t by = text.find('x');
  PictureSize size;
  const bool ok = by != std::string_view::npos && parse_all(text.substr(0, by), size.width) && parse_all(text.substr(by + 1), size.height);
  if (!ok || size.width < 1 || size.height < 1) {
    refuse(option, concat_text("WIDTHxHEIGHT, both from 1 to ", std::numeric_limits<int>::max()), text);
  }
  return size;
}

std::array<float, 3> parse_colour(std::string_view option, std::string_view text) {
  if (text == "white") return {1, 1, 1};
  if (text == "black") return {0, 0, 0};
  if (text == "grey") return {0.5f, 0.5f, 0.5f};
  unsigned rgb = 0;
  const bool sharp = text.size() == 7 && text.front() == '#';
  const auto [end, status] = std::from_chars(text.data() + (sharp ? 1 : 0), text.data() + text.size(), rgb, 16);
  if (!sharp || status != std::errc() || end != text.data() + text.size()) refuse(option, "white, black, grey or #RRGGBB", text);
  const auto part = [&](int shift) { return static_cast<float>(rgb >> shift & 0xff) / 255.0f; };
  return {part(16), part(8), part(0)};
}

std::string parse_text(std::string_view option, std::string text) {
  if (text.empty()) refuse(option, "a value", text);
  check<OptionError>(text.front() != '-', option, ": expected a value, got the option '", printable(text, 80),
                     "'; a file of that name is ./", printable(text, 80));
  return text;
}

}  // namespace frieze::tools
