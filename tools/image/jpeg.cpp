#include <algorithm>
#include <cmath>

#include <frieze/core/error.h>

#include "tools/image/image.h"
#include "tools/image/stb.h"

namespace frieze::tools {

void write_jpeg(const std::filesystem::path& path, const Image& image, int quality) {
  const std::size_t count = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height);
  check<ShapeError>(image.width > 0 && image.height > 0 && (image.channels == 1 || image.channels == 3) &&
                        image.pixels.size() == count * static_cast<std::size_t>(image.channels),
                    path.string(), ": a JPEG is grey or RGB, got ", image.width, "x", image.height, " pixels of ", image.channels,
                    " channels and ", image.pixels.size(), " values");
  std::vector<unsigned char> levels(image.pixels.size());
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const float v = image.pixels[i];
    check<IoError>(std::isfinite(v), path.string(), ": cannot write: value ", i, " of the picture is ", v);
    levels[i] = static_cast<unsigned char>(std::lround(std::clamp(v, 0.0f, 1.0f) * 255.0f));
  }
  std::vector<std::byte> file;
  const auto append = [](void* to, void* data, int size) {
    const auto* bytes = static_cast<const std::byte*>(data);
    static_cast<std::vector<std::byte>*>(to)->insert(static_cast<std::vector<std::byte>*>(to)->end(), bytes, bytes + size);
  };
  const int encoded = stbi_write_jpg_to_func(append, &file, image.width, image.height, image.channels, levels.data(), quality);
  check<IoError>(encoded != 0, path.string(), ": cannot write: a JPEG has at most 65535 pixels along each side");
  write_file(path, file);
}

}  // namespace frieze::tools
