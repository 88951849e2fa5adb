#include <csetjmp>
#include <cstdio>
#include <cstdlib>

#include <jpeglib.h>

#include <frieze/core/error.h>

#include "tools/image/formats.h"

namespace frieze::tools {
namespace {

// See jpeg_read.cpp: nothing that has a destructor may stand between setjmp and an error.
struct Manager {
  jpeg_error_mgr base;
  std::jmp_buf jump;
  Complaints complaints;
};
[[noreturn]] void on_error(j_common_ptr cinfo) {
  auto& errors = *reinterpret_cast<Manager*>(cinfo->err);
  char text[JMSG_LENGTH_MAX];
  cinfo->err->format_message(cinfo, text);
  errors.complaints.add(text);
  std::longjmp(errors.jump, 1);
}
void on_message(j_common_ptr, int) {}

struct Writer {
  Manager errors{};
  jpeg_compress_struct info{};
  unsigned char* data = nullptr;
  unsigned long size = 0;
  ~Writer() {
    jpeg_destroy_compress(&info);
    std::free(data);
  }
};

// From a PNG's pHYs, in pixels a metre.
void set_density(jpeg_compress_struct& info, const std::string& chunk) {
  if (!chunk.starts_with("pHYs") || chunk.size() != 13 || chunk[12] != 1) return;
  unsigned metre = 0;
  for (std::size_t i = 4; i < 8; ++i) metre = metre << 8 | static_cast<unsigned char>(chunk[i]);
  const bool centimetres = metre % 100 == 0;
  const unsigned long long density = centimetres ? metre / 100 : (metre * 254ULL + 5000) / 10'000;
  if (density == 0 || density > 0xffff) return;
  info.density_unit = centimetres ? 2 : 1;
  info.X_density = info.Y_density = static_cast<UINT16>(density);
}

template <class Body>
[[gnu::noinline]] bool guarded(Manager& errors, Body& body) {
  if (setjmp(errors.jump) != 0) return false;
  body();
  return true;
}

}  // namespace

std::vector<std::byte> encode_jpeg(const Image& image, std::span<const unsigned char> samples, int quality, const std::string& name) {
  Writer writer;
  jpeg_compress_struct& info = writer.info;
  info.err = jpeg_std_error(&writer.errors.base);
  writer.errors.base.error_exit = on_error;
  writer.errors.base.emit_message = on_message;
  const std::size_t row = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.channels);
  auto write = [&] {
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &writer.data, &writer.size);
    info.image_width = static_cast<JDIMENSION>(image.width);
    info.image_height = static_cast<JDIMENSION>(image.height);
    info.input_components = image.channels;
    info.in_color_space = image.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, quality, TRUE);
    info.optimize_coding = TRUE;
    if (quality >= 90 && image.channels == 3) info.comp_info[0].h_samp_factor = info.comp_info[0].v_samp_factor = 1;  // colours in full
    for (const std::string& extra : image.extras) set_density(info, extra);
    jpeg_start_compress(&info, TRUE);
    if (!image.tags.icc.empty()) {
      jpeg_write_icc_profile(&info, reinterpret_cast<const JOCTET*>(image.tags.icc.data()), static_cast<unsigned>(image.tags.icc.size()));
    }
    while (info.next_scanline < info.image_height) {
      auto* from = const_cast<JSAMPROW>(samples.data() + info.next_scanline * row);  // libjpeg's signature; it does not write
      jpeg_write_scanlines(&info, &from, 1);
    }
    jpeg_finish_compress(&info);
  };
  const bool written = guarded(writer.errors, write);  // by itself: arguments of one call are evaluated in any order
  check<IoError>(written, name, ": cannot write: ", writer.errors.complaints.text());
  const auto* bytes = reinterpret_cast<const std::byte*>(writer.data);
  return {bytes, bytes + writer.size};
}

}  // namespace frieze::tools
