#include "tools/image/exif.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

namespace frieze::tools {

int exif_orientation(std::span<const std::byte> bytes) {
  static constexpr char kExif[6] = {'E', 'x', 'i', 'f', 0, 0};
  if (bytes.size() >= 6 && std::memcmp(bytes.data(), kExif, 6) == 0) bytes = bytes.subspan(6);
  const bool little = bytes.size() >= 2 && std::memcmp(bytes.data(), "II", 2) == 0;
  if (!little && (bytes.size() < 2 || std::memcmp(bytes.data(), "MM", 2) != 0)) return 1;
  // Callers check that the bytes are there.
  const auto number = [&](std::size_t at, std::size_t size) {
    std::uint32_t v = 0;
    for (std::size_t i = 0; i < size; ++i) v = v << 8 | std::to_integer<std::uint32_t>(bytes[at + (little ? size - 1 - i : i)]);
    return v;
  };
  if (bytes.size() < 8 || number(2, 2) != 42) return 1;
  constexpr std::size_t kEntry = 12;
  constexpr std::uint32_t kOrientation = 0x0112, kShort = 3, kLong = 4;
  const std::size_t directory = number(4, 4);
  if (directory > bytes.size() - 2) return 1;
  const std::size_t entries = std::min<std::size_t>(number(directory, 2), (bytes.size() - directory - 2) / kEntry);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t at = directory + 2 + i * kEntry;
    if (number(at, 2) != kOrientation) continue;
    const std::uint32_t type = number(at + 2, 2);
    if ((type != kShort && type != kLong) || number(at + 4, 4) != 1) return 1;
    const std::uint32_t value = number(at + 8, type == kShort ? 2 : 4);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Image upright(Image image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  const bool transposed = orientation >= 5;
  const std::size_t width = static_cast<std::size_t>(image.width), height = static_cast<std::size_t>(image.height);
  const std::size_t channels = static_cast<std::size_t>(image.channels);
  const std::size_t out_width = transposed ? height : width, out_height = transposed ? width : height;
  const bool flip_row = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool flip_column = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  std::vector<float> pixels(image.pixels.size());
  for (std::size_t y = 0; y < out_height; ++y) {
    for (std::size_t x = 0; x < out_width; ++x) {
      std::size_t row = transposed ? x : y, column = transposed ? y : x;  // in the file
      if (flip_row) row = height - 1 - row;
      if (flip_column) column = width - 1 - column;
      std::copy_n(image.pixels.begin() + static_cast<std::ptrdiff_t>((row * width + column) * channels), channels,
                  pixels.begin() + static_cast<std::ptrdiff_t>((y * out_width + x) * channels));
    }
  }
  image.pixels = std::move(pixels);
  image.width = static_cast<int>(out_width);
  image.height = static_cast<int>(out_height);
  return image;
}

}  // namespace frieze::tools
