#pragma once
/// What the commands that read and write pictures share: their options, and what they tell about a picture on stderr.
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "tools/image/image.h"

namespace CLI {
class App;
}

namespace frieze::tools {

class Outputs;

struct PictureOptions {
  long long max_pixels = ReadOptions{}.max_pixels;
  bool strict = false;
  int quality = WriteOptions{}.quality;
  std::optional<std::array<float, 3>> flatten{};  ///< a colour, or none
};

/// Adds --max-pixels and --strict; --quality; --flatten; the last two.
void add_reading_options(CLI::App* command, PictureOptions& options);
void add_quality_option(CLI::App* command, PictureOptions& options);
void add_flatten_option(CLI::App* command, PictureOptions& options);
void add_writing_options(CLI::App* command, PictureOptions& options);

WriteOptions write_options(const PictureOptions& options);

/// The picture without its pixels, see ReadOptions::pixels: for what can be refused before it is decoded.
Image read_header(const std::string& path, const PictureOptions& options);
/// read_image, whose notes it tells; read_srgb_picture also converts to sRGB.
Image read_picture(const std::string& path, const PictureOptions& options);
Image read_srgb_picture(const std::string& path, const PictureOptions& options);
/// Encodes a file that appears when `outputs` delivers it, and tells what it cannot keep.
void write_picture(Outputs& outputs, const std::string& path, const Image& image, const PictureOptions& options);

/// One line on stderr, "frieze: note: WHAT: a; b"; nothing for an empty list.
void tell_notes(const std::string& what, const std::vector<std::string>& notes);

}  // namespace frieze::tools
