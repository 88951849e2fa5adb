#include "tools/image/image.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <utility>

#include <frieze/core/error.h>
#include <frieze/core/input_file.h>

#include "tools/image/colour.h"
#include "tools/image/exif.h"
#include "tools/image/formats.h"

namespace frieze::tools {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{1} << 29;

bool begins_with(std::span<const std::byte> bytes, std::string_view text) {
  return bytes.size() >= text.size() && std::memcmp(bytes.data(), text.data(), text.size()) == 0;
}

}  // namespace

void check_extent(long long width, long long height, const std::string& name, const ReadOptions& options) {
  constexpr long long kLongest = 1 << 30;
  check<IoError>(width > 0 && height > 0 && width <= kLongest && height <= kLongest && width <= options.max_pixels / height, name, ": ",
                 width, "x", height, " pixels, expected 1 to ", options.max_pixels, " of them (--max-pixels)");
}

Image decode_image(std::span<const std::byte> bytes, const std::string& name, const ReadOptions& options) {
  check<IoError>(!bytes.empty(), name, ": the file is empty");
  check<IoError>(bytes.size() <= kMaxFileBytes, name, ": longer than the ", kMaxFileBytes, " bytes that are accepted");
  const bool png = begins_with(bytes, "\x89PNG"), jpeg = begins_with(bytes, "\xff\xd8\xff");
  check<IoError>(png || jpeg, name, ": neither a PNG nor a JPEG file");
  DecodedImage decoded = png ? decode_png(bytes, name, options) : decode_jpeg(bytes, name, options);
  if (!options.pixels) {
    if (decoded.orientation >= 5) std::swap(decoded.image.width, decoded.image.height);
    return std::move(decoded.image);
  }
  Image image = upright(std::move(decoded.image), decoded.orientation);
  if (!image.tags.icc.empty()) {
    const std::string fault = icc_fault(image.tags.icc, image.channels - (image.has_alpha() ? 1 : 0));
    if (!fault.empty()) {
      image.tags.icc.clear();
      image.notes.push_back("its colour profile " + fault + " and is ignored");
    }
  }
  return image;
}

Image read_image(const std::filesystem::path& path, const ReadOptions& options) {
  return decode_image(read_file(path, kMaxFileBytes), printable(path.string()), options);
}

Image top_left(const Image& image, int width, int height) {
  check<ShapeError>(width > 0 && width <= image.width && height > 0 && height <= image.height, "a picture of ", image.width, "x",
                    image.height, " pixels has no corner of ", width, "x", height);
  const auto channels = static_cast<std::size_t>(image.channels);
  const std::size_t row = static_cast<std::size_t>(width) * channels, from_row = static_cast<std::size_t>(image.width) * channels;
  Image out = image;
  out.width = width;
  out.height = height;
  out.pixels.resize(row * static_cast<std::size_t>(height));
  for (std::size_t y = 0; y < static_cast<std::size_t>(height); ++y) {
    std::copy_n(image.pixels.begin() + static_cast<std::ptrdiff_t>(y * from_row), row,
                out.pixels.begin() + static_cast<std::ptrdiff_t>(y * row));
  }
  return out;
}

std::vector<float> to_rgb_planes(const Image& image) {
  const std::size_t pixels = image.pixel_count(), channels = static_cast<std::size_t>(image.channels);
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

Image with_properties_of(Image image, const Image& source) {
  image.depth = source.depth;
  image.tags = source.tags;
  image.extras = source.extras;
  image.lost = source.lost;
  if (!source.has_alpha() || image.has_alpha() || image.width != source.width || image.height != source.height) return image;
  const std::size_t from = static_cast<std::size_t>(image.channels), to = from + 1, alpha = static_cast<std::size_t>(source.channels);
  std::vector<float> pixels(image.pixel_count() * to);
  for (std::size_t p = 0; p < image.pixel_count(); ++p) {
    std::copy_n(image.pixels.begin() + static_cast<std::ptrdiff_t>(p * from), from, pixels.begin() + static_cast<std::ptrdiff_t>(p * to));
    pixels[p * to + from] = source.pixels[p * alpha + alpha - 1];
  }
  image.pixels = std::move(pixels);
  ++image.channels;
  return image;
}

}  // namespace frieze::tools
