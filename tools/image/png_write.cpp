#include <png.h>
#include <zlib.h>

#include <bit>
#include <csetjmp>
#include <cstdlib>
#include <cstring>
#include <new>

#include <frieze/core/error.h>

#include "tools/image/formats.h"

namespace frieze::tools {
namespace {

// See png_read.cpp: nothing that has a destructor may stand between setjmp and an error.
void on_error(png_structp png, png_const_charp text) {
  static_cast<Complaints*>(png_get_error_ptr(png))->clear();
  static_cast<Complaints*>(png_get_error_ptr(png))->add(text);
  png_longjmp(png, 1);
}
void on_warning(png_structp, png_const_charp) {}

// A buffer that grows without exceptions, as it is filled from within libpng.
struct Sink {
  std::byte* data = nullptr;
  std::size_t size = 0, room = 0;
  ~Sink() { std::free(data); }
};
void on_write(png_structp png, png_bytep from, png_size_t count) {
  auto& sink = *static_cast<Sink*>(png_get_io_ptr(png));
  if (sink.room - sink.size < count) {
    const std::size_t room = 2 * sink.room + count + 4096;
    auto* moved = static_cast<std::byte*>(std::realloc(sink.data, room));
    if (moved == nullptr) png_error(png, "not enough memory for the PNG");
    sink.data = moved;
    sink.room = room;
  }
  std::memcpy(sink.data + sink.size, from, count);
  sink.size += count;
}
void on_flush(png_structp) {}

template <class Body>
[[gnu::noinline]] bool guarded(png_structp png, Body& body) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  body();
  return true;
}

struct Writer {
  png_structp png;
  png_infop info = nullptr;
  explicit Writer(Complaints& complaints) : png(png_create_write_struct(PNG_LIBPNG_VER_STRING, &complaints, on_error, on_warning)) {
    if (png != nullptr) info = png_create_info_struct(png);
    if (info != nullptr) return;
    png_destroy_write_struct(&png, nullptr);
    throw std::bad_alloc();
  }
  ~Writer() { png_destroy_write_struct(&png, &info); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
};

// name · 0 · method 0 · zlib stream
std::vector<png_byte> profile_chunk(const std::vector<std::byte>& icc) {
  constexpr char kName[] = "ICC profile";
  uLongf size = ::compressBound(icc.size());
  std::vector<png_byte> chunk(sizeof kName + 1 + size);
  std::memcpy(chunk.data(), kName, sizeof kName);
  const int status =
      ::compress2(chunk.data() + sizeof kName + 1, &size, reinterpret_cast<const Bytef*>(icc.data()), icc.size(), Z_DEFAULT_COMPRESSION);
  if (status != Z_OK) throw std::bad_alloc();
  chunk.resize(sizeof kName + 1 + size);
  return chunk;
}

int colour_type(int channels) {
  return channels == 1   ? PNG_COLOR_TYPE_GRAY
         : channels == 2 ? PNG_COLOR_TYPE_GRAY_ALPHA
         : channels == 3 ? PNG_COLOR_TYPE_RGB
                         : PNG_COLOR_TYPE_RGB_ALPHA;
}

}  // namespace

std::vector<std::byte> encode_png(const Image& image, std::span<const unsigned char> samples, const std::string& name) {
  Complaints complaints;
  Sink sink;
  Writer writer(complaints);
  png_structp png = writer.png;
  png_infop info = writer.info;
  const std::vector<png_byte> profile = image.tags.icc.empty() ? std::vector<png_byte>() : profile_chunk(image.tags.icc);
  const std::size_t row =
      image.pixel_count() / static_cast<std::size_t>(image.height) * static_cast<std::size_t>(image.channels * image.depth / 8);
  const auto text_chunk = [&](const char* type, const std::string& data) {
    if (!data.empty())
      png_write_chunk(png, reinterpret_cast<png_const_bytep>(type), reinterpret_cast<png_const_bytep>(data.data()), data.size());
  };
  const auto write = [&] {
    png_set_write_fn(png, &sink, on_write, on_flush);
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_compression_level(png, 3);  // photographs: three times as fast as 6, and 2% larger
    png_set_filter(png, PNG_FILTER_TYPE_BASE, PNG_FILTER_SUB | PNG_FILTER_UP | PNG_FILTER_PAETH);
    png_set_IHDR(png, info, static_cast<png_uint_32>(image.width), static_cast<png_uint_32>(image.height), image.depth,
                 colour_type(image.channels), PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    // Byte for byte what was read, which libpng would interpret.
    text_chunk("cICP", image.tags.cicp);
    text_chunk("gAMA", image.tags.gamma);
    text_chunk("cHRM", image.tags.chromaticities);
    text_chunk("sRGB", image.tags.srgb);
    if (!profile.empty()) png_write_chunk(png, reinterpret_cast<png_const_bytep>("iCCP"), profile.data(), profile.size());
    for (const std::string& extra : image.extras) {
      png_write_chunk(png, reinterpret_cast<png_const_bytep>(extra.data()), reinterpret_cast<png_const_bytep>(extra.data()) + 4,
                      extra.size() - 4);
    }
    if constexpr (std::endian::native == std::endian::little) {
      if (image.depth == 16) png_set_swap(png);
    }
    for (int y = 0; y < image.height; ++y) png_write_row(png, samples.data() + static_cast<std::size_t>(y) * row);
    png_write_end(png, nullptr);
  };
  const bool written = guarded(png, write);  // by itself: arguments of one call are evaluated in any order
  check<IoError>(written, name, ": cannot write: ", complaints.text());
  return {sink.data, sink.data + sink.size};
}

}  // namespace frieze::tools
