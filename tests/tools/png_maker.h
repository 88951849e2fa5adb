#pragma once
/// PNG files byte by byte, for what the project's own writer does not make: 16 bits, palettes, damage.
#include <cstdint>
#include <string>

namespace frieze::test {

inline std::string big_endian(std::uint32_t v, int bytes = 4) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(v >> (8 * i) & 0xff);
  return out;
}

/// length · type · data · CRC-32
inline std::string png_chunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  std::uint32_t crc = 0xffffffffu;
  for (const char byte : body) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320u : 0u);
  }
  return big_endian(static_cast<std::uint32_t>(data.size())) + body + big_endian(crc ^ 0xffffffffu);
}

/// A zlib stream of one stored block. Source: RFC 1950, RFC 1951.
inline std::string zlib_stored(const std::string& data) {
  const auto length = static_cast<std::uint32_t>(data.size());
  std::uint32_t a = 1, b = 0;
  for (const char byte : data) {
    a = (a + static_cast<unsigned char>(byte)) % 65521;
    b = (b + a) % 65521;
  }
  std::string out = "\x78\x01\x01";
  for (const std::uint32_t v : {length, ~length}) {
    out += static_cast<char>(v & 0xff);
    out += static_cast<char>(v >> 8 & 0xff);
  }
  return out + data + big_endian(b << 16 | a);
}

inline const std::string kPngSignature("\x89PNG\r\n\x1a\n", 8);

inline std::string png_header(std::uint32_t width, std::uint32_t height, int depth, int colour_type) {
  return png_chunk(
      "IHDR", big_endian(width) + big_endian(height) + static_cast<char>(depth) + static_cast<char>(colour_type) + std::string(3, '\0'));
}

/// `rows` holds, for every row, one filter byte and the samples. `extra` goes between the header and the data.
inline std::string make_png(std::uint32_t width, std::uint32_t height, int depth, int colour_type, const std::string& rows,
                            const std::string& extra = "") {
  return kPngSignature + png_header(width, height, depth, colour_type) + extra + png_chunk("IDAT", zlib_stored(rows)) +
         png_chunk("IEND", "");
}

}  // namespace frieze::test
