#include "tools/frieze/pictures.h"

#include <charconv>
#include <iostream>
#include <utility>

#include <frieze/core/error.h>

#include "tools/frieze/outputs.h"
#include "tools/image/colour.h"

namespace frieze::tools {
namespace {

std::array<float, 3> parse_colour(const std::string& text) {
  if (text == "white") return {1, 1, 1};
  if (text == "black") return {0, 0, 0};
  if (text == "grey") return {0.5f, 0.5f, 0.5f};
  unsigned rgb = 0;
  const char* last = text.data() + text.size();
  const auto [end, status] = std::from_chars(text.data() + (text.empty() ? 0 : 1), last, rgb, 16);
  check<OptionError>(text.size() == 7 && text[0] == '#' && status == std::errc() && end == last,
                     "--flatten: expected white, black, grey or #RRGGBB, got '", printable(text, 40), "'");
  const auto part = [&](int shift) { return static_cast<float>(rgb >> shift & 0xff) / 255.0f; };
  return {part(16), part(8), part(0)};
}

ReadOptions read_options(const PictureOptions& options) { return {options.max_pixels, options.strict}; }

}  // namespace

WriteOptions write_options(const PictureOptions& options) {
  WriteOptions out;
  out.quality = options.quality;
  if (!options.flatten.empty()) out.flatten = parse_colour(options.flatten);
  return out;
}

void tell_notes(const std::string& what, const std::vector<std::string>& notes) {
  std::string line;
  for (const std::string& note : notes) line += (line.empty() ? ": " : "; ") + note;
  if (!line.empty()) std::cerr << "frieze: note: " << printable(what) << printable(line, 2000) << std::endl;
}

Image read_picture(const std::string& path, const PictureOptions& options) {
  Image image = read_image(path, read_options(options));
  tell_notes(path, std::exchange(image.notes, {}));
  return image;
}

Image read_srgb_picture(const std::string& path, const PictureOptions& options) {
  Image image = to_srgb(read_image(path, read_options(options)));
  tell_notes(path, std::exchange(image.notes, {}));
  return image;
}

void write_picture(Outputs& outputs, const std::string& path, const Image& image, const PictureOptions& options) {
  const EncodedImage encoded = encode_image(image, path, write_options(options));
  outputs.open(path).write(encoded.bytes);
  tell_notes(path, encoded.notes);
}

}  // namespace frieze::tools
