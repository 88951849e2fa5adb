#pragma once
/// The values of arguments, one strict parser of each kind: the whole text is one value in plain decimal digits, or OptionError
/// "<option>: expected …, got '…'". No spaces, no leading '+', no hexadecimal, no "inf" or "nan", and an empty text is no value.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace frieze::tools {

/// 0 to 2^64-1.
std::uint64_t parse_seed(std::string_view option, std::string_view text);
/// `least` to `most`.
std::int64_t parse_whole(std::string_view option, std::string_view text, std::int64_t least, std::int64_t most);
/// A number such as 0.5, -3 or 1e-6, from `least` to `most`.
double parse_number(std::string_view option, std::string_view text, double least, double most);
/// Bytes: a whole number, or a number with K, M, G or T (1024 and its powers), as in 512M or 1.5G; at least 1 byte.
std::int64_t parse_bytes(std::string_view option, std::string_view text);
/// WIDTHxHEIGHT, both 1 to 2^31-1.
struct PictureSize {
  int width = 0, height = 0;
};
PictureSize parse_size(std::string_view option, std::string_view text);
/// A colour: white, black, grey or #RRGGBB; its parts from 0 to 1.
std::array<float, 3> parse_colour(std::string_view option, std::string_view text);
/// A name or a path: any text that is not empty and does not begin with '-', which would be an option whose value was forgotten.
std::string parse_text(std::string_view option, std::string text);

}  // namespace frieze::tools
