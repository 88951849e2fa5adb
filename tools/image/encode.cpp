// Which format a picture is written in, and what that cannot hold.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <limits>

#include <frieze/core/error.h>
#include <frieze/core/output_file.h>

#include "tools/image/alpha.h"
#include "tools/image/colour.h"
#include "tools/image/formats.h"

namespace frieze::tools {
namespace {

constexpr int kLongestJpeg = 65500;  // JPEG_MAX_DIMENSION

// Values in [0,1] as samples of 8 or 16 bits. Throws IoError at one that is not finite.
template <class Sample>
std::vector<unsigned char> to_samples(const Image& image, const std::string& name) {
  constexpr float kScale = std::numeric_limits<Sample>::max();
  std::vector<unsigned char> samples(image.pixels.size() * sizeof(Sample));
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    const float v = image.pixels[i];
    check<IoError>(std::isfinite(v), name, ": cannot write: value ", i, " of the picture is ", v);
    const auto sample = static_cast<Sample>(std::lround(std::clamp(v, 0.0f, 1.0f) * kScale));
    std::memcpy(samples.data() + i * sizeof sample, &sample, sizeof sample);
  }
  return samples;
}

bool holds_its_pixels(const Image& image) {
  return image.width > 0 && image.height > 0 && image.channels >= 1 && image.channels <= 4 && (image.depth == 8 || image.depth == 16) &&
         image.pixels.size() == image.pixel_count() * static_cast<std::size_t>(image.channels);
}

}  // namespace

std::optional<PictureFormat> format_of_name(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (extension == ".png") return PictureFormat::png;
  if (extension == ".jpg" || extension == ".jpeg") return PictureFormat::jpeg;
  return std::nullopt;
}

PictureFormat output_format(const std::filesystem::path& path) {
  const std::optional<PictureFormat> format = format_of_name(path);
  check<OptionError>(format.has_value(), printable(path.string()), ": a picture can be written as .png, .jpg or .jpeg, got ",
                     path.has_extension() ? "'" + printable(path.extension().string(), 40) + "'" : "no ending");
  return *format;
}

void check_can_hold(const Image& like, const std::filesystem::path& path, const WriteOptions& options) {
  check<OptionError>(options.quality >= 1 && options.quality <= 100, "--quality: expected 1 to 100, got ", options.quality);
  if (output_format(path) == PictureFormat::png) return;
  check<IoError>(like.width <= kLongestJpeg && like.height <= kLongestJpeg, printable(path.string()), ": cannot write: a JPEG has at most ",
                 kLongestJpeg, " pixels along each side, got ", like.width, "x", like.height);
  if (options.flatten) return;
  const char* both = like.has_alpha() && like.depth > 8 ? " and " : "";
  check<OptionError>(!like.has_alpha() && like.depth == 8, printable(path.string()), ": a JPEG cannot hold ",
                     like.has_alpha() ? "transparency" : "", both, like.depth > 8 ? "16 bits a sample" : "",
                     ": write a .png, or give them up with --flatten");
}

EncodedImage encode_image(const Image& image, const std::filesystem::path& path, const WriteOptions& options) {
  const std::string name = printable(path.string());
  check_can_hold(image, path, options);
  check<ShapeError>(holds_its_pixels(image), name, ": an image of ", image.width, "x", image.height, " pixels, ", image.channels,
                    " channels and ", image.depth, " bits cannot hold ", image.pixels.size(), " values");
  EncodedImage out;
  out.notes = image.lost;
  if (output_format(path) == PictureFormat::png) {
    const auto samples = image.depth == 16 ? to_samples<std::uint16_t>(image, name) : to_samples<std::uint8_t>(image, name);
    out.bytes = encode_png(image, samples, name);
    return out;
  }
  Image flat = image;
  if (image.has_alpha()) {
    const std::array<float, 3>& over = *options.flatten;
    if (image.channels == 2 && !(over[0] == over[1] && over[1] == over[2])) {
      flat = to_srgb(std::move(flat));  // three colours cannot have a profile of one
      out.notes.insert(out.notes.end(), flat.notes.begin() + static_cast<std::ptrdiff_t>(image.notes.size()), flat.notes.end());
    }
    flat = flattened(std::move(flat), over);
    out.notes.emplace_back("the transparency is laid over one colour");
  }
  if (flat.depth == 16) {
    flat.depth = 8;
    out.notes.emplace_back("the 16 bits a sample become 8");
  }
  const auto is_text = [](const std::string& extra) { return !extra.starts_with("pHYs"); };
  if (std::any_of(image.extras.begin(), image.extras.end(), is_text)) out.notes.emplace_back("the text cannot be kept in a JPEG");
  flat.tags.icc = icc_of(flat.tags, flat.channels);
  if (flat.tags.icc.empty() && !same_colours(flat.tags, {})) out.notes.emplace_back("the colour description cannot be kept in a JPEG");
  out.bytes = encode_jpeg(flat, to_samples<std::uint8_t>(flat, name), options.quality, name);
  return out;
}

std::vector<std::string> write_image(const std::filesystem::path& path, const Image& image, const WriteOptions& options) {
  EncodedImage encoded = encode_image(image, path, options);
  write_file(path, encoded.bytes);
  return std::move(encoded.notes);
}

}  // namespace frieze::tools
