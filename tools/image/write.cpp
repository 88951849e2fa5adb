#include <algorithm>
#include <cmath>

#include <frieze/core/error.h>

#include "tools/image/image.h"
#include "tools/image/stb.h"

namespace frieze::tools {
namespace {

// Values in [0,1] as 8 bits. Throws IoError at one that is not finite.
std::vector<unsigned char> levels_of(const Image& image, const std::string& name) {
  std::vector<unsigned char> levels(image.pixels.size());
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const float v = image.pixels[i];
    check<IoError>(std::isfinite(v), name, ": cannot write: value ", i, " of the picture is ", v);
    levels[i] = static_cast<unsigned char>(std::lround(std::clamp(v, 0.0f, 1.0f) * 255.0f));
  }
  return levels;
}

bool holds_its_pixels(const Image& image) {
  const std::size_t count = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height);
  return image.width > 0 && image.height > 0 && image.pixels.size() == count * static_cast<std::size_t>(image.channels);
}

// What stb hands over, appended to the std::vector<std::byte> that `to` points at.
void append(void* to, void* data, int size) {
  const auto* bytes = static_cast<const std::byte*>(data);
  auto& file = *static_cast<std::vector<std::byte>*>(to);
  file.insert(file.end(), bytes, bytes + size);
}

}  // namespace

void write_png(const std::filesystem::path& path, const Image& image) {
  check<ShapeError>(holds_its_pixels(image) && image.channels >= 1 && image.channels <= 4, path.string(), ": an image of ", image.width,
                    "x", image.height, " pixels and ", image.channels, " channels cannot hold ", image.pixels.size(), " values");
  std::vector<std::byte> file;
  const int encoded =
      stbi_write_png_to_func(append, &file, image.width, image.height, image.channels, levels_of(image, path.string()).data(), 0);
  check<IoError>(encoded != 0, path.string(), ": cannot write: not enough memory for the PNG");
  write_file(path, file);
}

void write_jpeg(const std::filesystem::path& path, const Image& image, int quality) {
  check<ShapeError>(holds_its_pixels(image) && (image.channels == 1 || image.channels == 3), path.string(), ": a JPEG is grey or RGB, got ",
                    image.width, "x", image.height, " pixels of ", image.channels, " channels and ", image.pixels.size(), " values");
  std::vector<std::byte> file;
  const int encoded =
      stbi_write_jpg_to_func(append, &file, image.width, image.height, image.channels, levels_of(image, path.string()).data(), quality);
  check<IoError>(encoded != 0, path.string(), ": cannot write: a JPEG has at most 65535 pixels along each side");
  write_file(path, file);
}

}  // namespace frieze::tools
