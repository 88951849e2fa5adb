#include "tools/image/image.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include <frieze/core/error.h>

#include "tools/image/container.h"
#include "tools/image/stb.h"

namespace frieze::tools {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{1} << 29;  // also keeps stb's int lengths in range

void check_extent(long long width, long long height, const std::string& name) {
  check<IoError>(width > 0 && height > 0 && width <= kMaxImagePixels / height, name, ": ", width, "x", height, " pixels, expected 1 to ",
                 kMaxImagePixels, " of them");
}

}  // namespace

Image decode_image(std::span<const std::byte> bytes, const std::string& name) {
  check<IoError>(bytes.size() <= kMaxFileBytes, name, ": longer than the ", kMaxFileBytes, " bytes that are accepted");
  const Container container = check_container(bytes, name);
  const auto* data = reinterpret_cast<const stbi_uc*>(bytes.data());
  const int length = static_cast<int>(bytes.size());
  if (container == Container::png) {  // stb gives up on large ones without saying why
    const auto [width, height] = png_extent(bytes);
    check_extent(width, height, name);
  }
  Image image;
  check<IoError>(stbi_info_from_memory(data, length, &image.width, &image.height, &image.channels) != 0, name,
                 ": cannot decode: ", stbi_failure_reason());
  check_extent(image.width, image.height, name);
  const long long pixels = static_cast<long long>(image.width) * image.height;
  const auto fill = [&](const auto* decoded, float scale) {
    const std::size_t count = static_cast<std::size_t>(pixels) * static_cast<std::size_t>(image.channels);
    image.pixels.resize(count);
    for (std::size_t i = 0; i < count; ++i) image.pixels[i] = static_cast<float>(decoded[i]) / scale;
  };
  int width = 0, height = 0, channels = 0;
  const auto check_decoded = [&](bool ok) {
    check<IoError>(ok, name, ": cannot decode: ", stbi_failure_reason());
    check<IoError>(width == image.width && height == image.height, name, ": cannot decode: its sizes contradict each other");
  };
  // The channel count is asked for, so that a palette or a transparent colour cannot change it after the sizes were checked.
  if (stbi_is_16_bit_from_memory(data, length) != 0) {
    const std::unique_ptr<stbi_us, void (*)(void*)> decoded(
        stbi_load_16_from_memory(data, length, &width, &height, &channels, image.channels), stbi_image_free);
    check_decoded(decoded != nullptr);
    fill(decoded.get(), 65535.0f);
  } else {
    const std::unique_ptr<stbi_uc, void (*)(void*)> decoded(stbi_load_from_memory(data, length, &width, &height, &channels, image.channels),
                                                            stbi_image_free);
    check_decoded(decoded != nullptr);
    fill(decoded.get(), 255.0f);
  }
  return image;
}

Image read_image(const std::filesystem::path& path) { return decode_image(read_file(path, kMaxFileBytes), path.string()); }

std::vector<float> to_rgb_planes(const Image& image) {
  const std::size_t pixels = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height);
  const std::size_t channels = static_cast<std::size_t>(image.channels);
  std::vector<float> planes(3 * pixels);
  for (std::size_t c = 0; c < 3; ++c) {
    const std::size_t source = image.channels >= 3 ? c : 0;
    for (std::size_t p = 0; p < pixels; ++p) planes[c * pixels + p] = image.pixels[p * channels + source];
  }
  return planes;
}

Image from_planes(std::span<const float> values, int channels, int height, int width) {
  const std::size_t pixels = static_cast<std::size_t>(std::max(width, 0)) * static_cast<std::size_t>(std::max(height, 0));
  check<ShapeError>((channels == 1 || channels == 3) && pixels > 0 && values.size() == pixels * static_cast<std::size_t>(channels),
                    "a picture needs [1,1,H,W] or [1,3,H,W] values, got ", values.size(), " for ", channels, " channels of ", width, "x",
                    height, " pixels");
  Image image{width, height, channels, std::vector<float>(values.size())};
  for (std::size_t c = 0; c < static_cast<std::size_t>(channels); ++c) {
    for (std::size_t p = 0; p < pixels; ++p) image.pixels[p * static_cast<std::size_t>(channels) + c] = values[c * pixels + p];
  }
  return image;
}

Image with_alpha_of(Image image, const Image& other) {
  if (!other.has_alpha() || image.has_alpha() || image.width != other.width || image.height != other.height) return image;
  const std::size_t pixels = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height);
  const std::size_t from = static_cast<std::size_t>(image.channels), to = from + 1, alpha = static_cast<std::size_t>(other.channels);
  Image out{image.width, image.height, image.channels + 1, std::vector<float>(pixels * to)};
  for (std::size_t p = 0; p < pixels; ++p) {
    std::copy_n(image.pixels.begin() + static_cast<std::ptrdiff_t>(p * from), from,
                out.pixels.begin() + static_cast<std::ptrdiff_t>(p * to));
    out.pixels[p * to + from] = other.pixels[p * alpha + alpha - 1];
  }
  return out;
}

}  // namespace frieze::tools
