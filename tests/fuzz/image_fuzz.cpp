// libFuzzer target for pictures: bytes to `decode_image`, PNG and JPEG.
#include <algorithm>
#include <string>

#include <frieze/core/error.h>

#include "fuzz.h"
#include "image_files.h"
#include "tools/image/colour.h"

using frieze::fuzz::require;
using frieze::tools::Image;

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
  return frieze::fuzz::mutate_picture(data, size, max_size, seed);
}

namespace {

void check_picture(const Image& image) {
  require(image.width > 0 && image.height > 0 && image.channels >= 1 && image.channels <= 4, "a picture has an extent");
  require(image.depth == 8 || image.depth == 16, "a picture has a depth");
  require(image.pixels.size() == image.pixel_count() * static_cast<std::size_t>(image.channels), "every pixel is there");
  require(std::all_of(image.pixels.begin(), image.pixels.end(), [](float v) { return v >= 0 && v <= 1; }), "values are in [0,1]");
  for (const std::string& note : image.notes) frieze::fuzz::check_message("x.png: " + note, "x.png");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr long long kMostPixels = 1 << 20;  // of a file of 16 KiB; more only costs time
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  bool accepted = false;
  try {
    const Image image = frieze::tools::decode_image(bytes, "x.png", {.max_pixels = kMostPixels});
    accepted = true;
    check_picture(image);
    if (image.pixel_count() <= 1 << 14) check_picture(frieze::tools::to_srgb(image));
  } catch (const frieze::IoError& e) {
    frieze::fuzz::check_message(e.what(), "x.png");  // any other exception is a finding
  }
  try {
    (void)frieze::tools::decode_image(bytes, "x.png", {.max_pixels = kMostPixels, .strict = true});
    require(accepted, "what is strictly right is accepted");
  } catch (const frieze::IoError& e) {
    frieze::fuzz::check_message(e.what(), "x.png");
  }
  return 0;
}
