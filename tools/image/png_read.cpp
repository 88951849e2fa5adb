#include <png.h>

#include <bit>
#include <csetjmp>
#include <new>

#include <frieze/core/error.h>

#include "tools/image/exif.h"
#include "tools/image/formats.h"
#include "tools/image/png_parts.h"

namespace frieze::tools {
namespace {

// The file, and behind it the end marker where that is missing.
struct Source {
  std::span<const std::byte> bytes;
  std::size_t at = 0, past_end = 0;
  bool supply_end = false;
};

// libpng leaves through longjmp, past frames that must then have nothing to destroy: what it calls and what calls it in guarded() only
// touches plain values.
void on_error(png_structp png, png_const_charp text) {
  static_cast<Complaints*>(png_get_error_ptr(png))->clear();
  static_cast<Complaints*>(png_get_error_ptr(png))->add(text);
  png_longjmp(png, 1);
}
void on_warning(png_structp png, png_const_charp text) { static_cast<Complaints*>(png_get_error_ptr(png))->add(text); }

void on_read(png_structp png, png_bytep to, png_size_t count) {
  auto& source = *static_cast<Source*>(png_get_io_ptr(png));
  for (; count > 0 && source.at < source.bytes.size(); --count) *to++ = std::to_integer<png_byte>(source.bytes[source.at++]);
  for (; count > 0 && source.supply_end && source.past_end < sizeof kPngEnd; --count) *to++ = kPngEnd[source.past_end++];
  if (count > 0) png_error(png, "the file ends too early");
}

// Runs `body`; false if libpng gave up in it. `body` must make nothing that has a destructor.
template <class Body>
[[gnu::noinline]] bool guarded(png_structp png, Body& body) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  body();
  return true;
}

struct Owner {
  png_structp png;
  png_infop info = nullptr;
  explicit Owner(Complaints& complaints) : png(png_create_read_struct(PNG_LIBPNG_VER_STRING, &complaints, on_error, on_warning)) {
    if (png != nullptr) info = png_create_info_struct(png);
    if (info != nullptr) return;
    png_destroy_read_struct(&png, nullptr, nullptr);
    throw std::bad_alloc();
  }
  ~Owner() { png_destroy_read_struct(&png, &info, nullptr); }
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;
};

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const PngParts& parts, const std::string& name)
      : name_(name), source_{bytes.first(parts.end), 0, 0, !parts.ended}, owner_(complaints_) {
    step([&] {
      png_set_user_limits(png(), PNG_UINT_31_MAX, PNG_UINT_31_MAX);             // the caller has checked the extent
      png_set_keep_unknown_chunks(png(), PNG_HANDLE_CHUNK_NEVER, nullptr, -1);  // only pixels and transparency: the rest is in PngParts
      png_set_chunk_malloc_max(png(), 0);                                       // of chunks that are skipped
      png_set_read_fn(png(), &source_, on_read);
      png_read_info(png(), info());
    });
  }

  template <class Body>
  void step(Body body) {
    if (guarded(owner_.png, body)) return;
    const std::string why = complaints_.text();
    const bool checksum = why.find("CRC error") != std::string::npos;
    throw IoError(name_ + (checksum ? ": damaged PNG: wrong checksum: " : ": cannot decode: ") + why);
  }
  png_structp png() { return owner_.png; }
  png_infop info() { return owner_.info; }
  const Complaints& complaints() const { return complaints_; }

 private:
  const std::string& name_;
  Complaints complaints_;
  Source source_;
  Owner owner_;
};

void check_size(const PngParts& parts, std::size_t raw_bytes, const std::string& name) {
  constexpr std::uint64_t kMostExpansion = 1032;  // deflate: 258 bytes of two bits
  check<IoError>(raw_bytes <= kMostExpansion * parts.data_bytes, name, ": truncated PNG: ", parts.data_bytes, " bytes of data cannot hold ",
                 parts.width, "x", parts.height, " pixels");
}

}  // namespace

std::string Complaints::text() const {
  return concat_text(printable(first_.data(), 150), count_ > 1 ? concat_text(" and ", count_ - 1, " more") : "");
}

DecodedImage decode_png(std::span<const std::byte> bytes, const std::string& name, const ReadOptions& options) {
  PngParts parts = read_png_parts(bytes, name);
  check_extent(parts.width, parts.height, name, options);
  const std::uint64_t raw_bytes = static_cast<std::uint64_t>(parts.width) * parts.height * static_cast<unsigned>(parts.bits) / 8;
  check_size(parts, raw_bytes, name);
  check<IoError>(!options.strict || (parts.ended && parts.sound), name,
                 ": damaged PNG: ", parts.ended ? "a chunk is damaged" : "the file ends before its end marker");
  Reader reader(bytes, parts, name);
  png_structp png = reader.png();
  png_infop info = reader.info();
  check<IoError>(!options.strict || reader.complaints().count() == 0, name, ": damaged PNG: ", reader.complaints().text());
  DecodedImage out;
  Image& image = out.image;
  image.width = static_cast<int>(parts.width);
  image.height = static_cast<int>(parts.height);
  const bool palette = png_get_color_type(png, info) == PNG_COLOR_TYPE_PALETTE, key = png_get_valid(png, info, PNG_INFO_tRNS) != 0;
  image.channels = (palette ? 3 : png_get_channels(png, info)) + (key ? 1 : 0);
  image.depth = png_get_bit_depth(png, info) == 16 ? 16 : 8;
  out.orientation = exif_orientation(parts.exif);
  if (!options.pixels) return out;
  // Little that claims to be much is checked to its end before there is memory for it, or for libpng's rows.
  constexpr std::uint64_t kMuch = 1 << 25, kSuspicious = 100;
  const std::uint64_t sample_bytes = static_cast<unsigned>(image.depth) / 8 + sizeof(float);
  const std::uint64_t needed = image.pixel_count() * static_cast<unsigned>(image.channels) * sample_bytes;
  if (needed > kMuch && needed / kSuspicious > parts.data_bytes) check_png_data(bytes, parts, name, options.strict);

  int passes = 1;
  reader.step([&] {
    png_set_expand(png);  // palettes, 1 to 4 bits, a transparent colour
    if constexpr (std::endian::native == std::endian::little) png_set_swap(png);
    passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
  });
  check<IoError>(image.depth == png_get_bit_depth(png, info) && image.channels == png_get_channels(png, info) && image.channels <= 4, name,
                 ": cannot decode: ", int{png_get_channels(png, info)}, " channels of ", int{png_get_bit_depth(png, info)}, " bits");
  const std::size_t row = image.pixel_count() / parts.height * static_cast<std::size_t>(image.channels * image.depth / 8);
  check<IoError>(png_get_rowbytes(png, info) == row, name, ": cannot decode: its sizes contradict each other");
  std::vector<std::uint16_t> samples((row * parts.height + 1) / 2);  // aligned for both depths
  auto* first = reinterpret_cast<png_byte*>(samples.data());
  reader.step([&] {
    for (int pass = 0; pass < passes; ++pass) {
      for (std::size_t y = 0; y < parts.height; ++y) png_read_row(png, first + y * row, nullptr);
    }
    png_read_end(png, nullptr);
  });
  const std::size_t count = image.pixel_count() * static_cast<std::size_t>(image.channels);
  image.pixels = image.depth == 16 ? to_values(std::span<const std::uint16_t>(samples.data(), count))
                                   : to_values(std::span<const png_byte>(first, count));
  check<IoError>(!options.strict || reader.complaints().count() == 0, name, ": damaged PNG: ", reader.complaints().text());
  image.tags = std::move(parts.tags);
  image.extras = std::move(parts.extras);
  image.notes = std::move(parts.notes);
  image.lost = std::move(parts.lost);
  if (reader.complaints().count() > 0) image.notes.push_back("it is damaged: " + reader.complaints().text());
  const auto is_xmp = [](const std::string& extra) { return extra.starts_with("iTXtXML:com.adobe.xmp"); };
  // They may tell the orientation too.
  if (out.orientation != 1 && std::erase_if(image.extras, is_xmp) > 0) image.lost.emplace_back("the XMP metadata are not kept");
  if (out.orientation != 1 && std::erase_if(image.extras, is_raw_exif) > 0)
    image.lost.emplace_back("the EXIF metadata in its text are not kept");
  return out;
}

}  // namespace frieze::tools
