// libFuzzer target for pictures in and out: what decode_image accepts is written as PNG and as JPEG, and read again.
#include <algorithm>
#include <cmath>
#include <string>

#include <frieze/core/error.h>

#include "fuzz.h"
#include "image_files.h"
#include "tools/image/alpha.h"
#include "tools/image/image.h"

using frieze::fuzz::require;
using namespace frieze::tools;

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
  return frieze::fuzz::mutate_picture(data, size, max_size, seed);
}

namespace {

Image again(const Image& image, const std::string& name, const WriteOptions& options = {}) {
  const EncodedImage file = encode_image(image, name, options);
  for (const std::string& note : file.notes) frieze::fuzz::check_message("x: " + note, "x");
  // What Frieze writes is right, whatever it has read.
  return decode_image(file.bytes, name, {.max_pixels = 1 << 20, .strict = true});
}

void check_round_trips(const Image& image) {
  const Image png = again(image, "y.png");
  require(png.notes.empty(), "a PNG that was written is without fault", png.notes.empty() ? "" : png.notes.front());
  require(png.width == image.width && png.height == image.height && png.channels == image.channels, "a PNG keeps the extent");
  require(png.depth == image.depth && png.pixels.size() == image.pixels.size(), "a PNG keeps the depth");
  const float half_a_level = 0.5001f / static_cast<float>((1 << image.depth) - 1);  // what was CMYK lies between levels
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    require(std::abs(png.pixels[i] - image.pixels[i]) <= half_a_level, "a PNG keeps every value");
  }
  require(again(png, "z.png").pixels == png.pixels, "a second round trip changes nothing");
  require(png.tags == image.tags && png.extras == image.extras, "a PNG keeps what it tells of the colours, and its text");

  WriteOptions flat;
  flat.flatten = {1, 1, 1};
  const Image jpeg = again(image, "y.jpg", flat);
  require(jpeg.width == image.width && jpeg.height == image.height, "a JPEG keeps the extent");
  require(jpeg.channels == (image.channels <= 2 ? 1 : 3) && jpeg.depth == 8, "a JPEG keeps grey and colour");
  if (!image.tags.icc.empty() && image.tags.cicp.empty()) require(jpeg.tags.icc == image.tags.icc, "a JPEG keeps the profile");

  const Image filled = with_hidden_filled(image);
  require(filled.pixels.size() == image.pixels.size(), "a filled picture has every pixel");
  require(std::all_of(filled.pixels.begin(), filled.pixels.end(), [](float v) { return v >= 0 && v <= 1.001f; }),
          "filled values are in [0,1]");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Image image;
  try {
    image = decode_image({reinterpret_cast<const std::byte*>(data), size}, "x.png", {.max_pixels = 1 << 16});
  } catch (const frieze::IoError&) {
    return 0;  // image_fuzz looks at refusals
  }
  if (image.width <= 65500 && image.height <= 65500) check_round_trips(image);
  return 0;
}
