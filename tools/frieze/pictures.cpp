#include "tools/frieze/pictures.h"

#include <iostream>
#include <utility>

#include <frieze/core/error.h>

#include "tools/frieze/outputs.h"
#include "tools/image/colour.h"

namespace frieze::tools {
namespace {

ReadOptions read_options(const PictureOptions& options) { return {options.max_pixels, options.strict}; }

}  // namespace

WriteOptions write_options(const PictureOptions& options) {
  WriteOptions out;
  out.quality = options.quality;
  out.flatten = options.flatten;
  return out;
}

void tell_notes(const std::string& what, const std::vector<std::string>& notes) {
  std::string line;
  for (const std::string& note : notes) line += (line.empty() ? ": " : "; ") + note;
  if (!line.empty()) std::cerr << "frieze: note: " << printable(what) << printable(line, 2000) << std::endl;
}

Image read_header(const std::string& path, const PictureOptions& options) {
  ReadOptions header = read_options(options);
  header.pixels = false;
  return read_image(path, header);
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
