#include <algorithm>
#include <csetjmp>
#include <cstdio>

#include <jpeglib.h>

#include <frieze/core/error.h>

#include "tools/image/colour.h"
#include "tools/image/exif.h"
#include "tools/image/formats.h"
#include "tools/image/jpeg_parts.h"

namespace frieze::tools {
namespace {

constexpr int kMaxScans = 100;  // progressive files of today have about ten

// libjpeg leaves through longjmp, past frames that must then have nothing to destroy: what it calls and what calls it in guarded() only
// touches plain values.
struct Manager {
  jpeg_error_mgr base;  // first: libjpeg knows this address
  std::jmp_buf jump;
  Complaints complaints;
  bool strict = false;
};
Manager& manager(j_common_ptr cinfo) { return *reinterpret_cast<Manager*>(cinfo->err); }

void add_message(j_common_ptr cinfo) {
  char text[JMSG_LENGTH_MAX];
  cinfo->err->format_message(cinfo, text);
  manager(cinfo).complaints.add(text);
}
[[noreturn]] void on_error(j_common_ptr cinfo) {
  manager(cinfo).complaints.clear();
  add_message(cinfo);
  std::longjmp(manager(cinfo).jump, 1);
}
void on_message(j_common_ptr cinfo, int level) {
  if (level >= 0) return;  // tracing
  if (manager(cinfo).strict) on_error(cinfo);
  ++cinfo->err->num_warnings;
  add_message(cinfo);
}

template <class Body>
[[gnu::noinline]] bool guarded(Manager& errors, Body& body) {
  if (setjmp(errors.jump) != 0) return false;
  body();
  return true;
}

struct Owner {
  jpeg_decompress_struct info{};
  Owner() = default;
  ~Owner() { jpeg_destroy_decompress(&info); }
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;
};

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& name, const ReadOptions& options) : name_(name) {
    owner_.info.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = on_error;
    errors_.base.emit_message = on_message;
    errors_.strict = options.strict;
    step([&] {
      jpeg_create_decompress(&owner_.info);
      jpeg_mem_src(&owner_.info, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
      jpeg_read_header(&owner_.info, TRUE);
    });
  }

  template <class Body>
  void step(Body body) {
    if (guarded(errors_, body)) return;
    const std::string why = errors_.complaints.text();
    throw IoError(name_ + ": cannot decode: " + why);
  }
  jpeg_decompress_struct& info() { return owner_.info; }
  const Complaints& complaints() const { return errors_.complaints; }

 private:
  const std::string& name_;
  Manager errors_{};
  Owner owner_;
};

// Every block of every component has a code in at least one scan: of one bit where the picture is progressive, of two where it is not, or
// of next to nothing where it is arithmetic.
void check_size(const jpeg_decompress_struct& info, const JpegParts& parts, const std::string& name) {
  // So many pixels cost little even where they are empty; arithmetic codes of an even surface are a few bytes at any size.
  const long long anyway = parts.arithmetic ? 1 << 24 : 1 << 20;
  if (parts.data_bytes > 0 && static_cast<long long>(info.image_width) * info.image_height <= anyway) return;
  unsigned long long blocks = 0;
  for (int c = 0; c < info.num_components; ++c) {
    blocks += static_cast<unsigned long long>(info.comp_info[c].width_in_blocks) * info.comp_info[c].height_in_blocks;
  }
  const unsigned long long bits = parts.arithmetic ? blocks / 100 : info.progressive_mode ? blocks : 2 * blocks;
  check<IoError>(parts.data_bytes > 0 && bits / 8 <= parts.data_bytes, name, ": truncated JPEG: ", parts.data_bytes,
                 " bytes of data cannot hold ", info.image_width, "x", info.image_height, " pixels");
}

// Whether all bits of all coefficients came; a progressive file that was cut between scans is otherwise without fault.
bool is_complete(const jpeg_decompress_struct& info) {
  if (!info.progressive_mode || info.coef_bits == nullptr) return true;
  for (int c = 0; c < info.num_components; ++c) {
    if (std::any_of(info.coef_bits[c], info.coef_bits[c] + DCTSIZE2, [](int bits) { return bits != 0; })) return false;
  }
  return true;
}

}  // namespace

DecodedImage decode_jpeg(std::span<const std::byte> bytes, const std::string& name, const ReadOptions& options) {
  JpegParts parts = read_jpeg_parts(bytes);
  check<IoError>(parts.scans <= kMaxScans, name, ": ", parts.scans, " scans, expected at most ", kMaxScans);
  check<IoError>(!options.strict || parts.ended, name, ": truncated JPEG: the file ends at byte ", bytes.size(), ", before its end marker");
  Reader reader(bytes, name, options);
  jpeg_decompress_struct& info = reader.info();
  check_extent(info.image_width, info.image_height, name, options);
  check_size(info, parts, name);
  check<IoError>(info.jpeg_color_space != JCS_UNKNOWN, name, ": cannot decode: ", info.num_components,
                 " colour channels of unknown meaning");
  if (info.jpeg_color_space == JCS_YCCK) info.out_color_space = JCS_CMYK;
  reader.step([&] { jpeg_start_decompress(&info); });
  DecodedImage out;
  Image& image = out.image;
  image.width = static_cast<int>(info.output_width);
  image.height = static_cast<int>(info.output_height);
  image.channels = info.output_components;
  check<IoError>(image.channels == 1 || image.channels == 3 || image.channels == 4, name, ": cannot decode: ", image.channels, " channels");
  const std::size_t row = image.pixel_count() / info.output_height * static_cast<std::size_t>(image.channels);
  std::vector<unsigned char> samples(row * info.output_height);
  bool complete = true;
  reader.step([&] {
    while (info.output_scanline < info.output_height) {
      JSAMPROW to = samples.data() + info.output_scanline * row;
      jpeg_read_scanlines(&info, &to, 1);
    }
    complete = is_complete(info);
    jpeg_finish_decompress(&info);
  });
  image.notes = std::move(parts.notes);
  image.lost = std::move(parts.lost);
  if (reader.complaints().count() > 0 || !parts.ended) {
    image.notes.push_back("it is damaged or cut off: " + (parts.ended ? reader.complaints().text() : "no end marker"));
  } else if (!complete || !parts.every_component) {
    image.notes.emplace_back("it is cut off: scans are missing");
  }
  check<IoError>(!options.strict || (complete && parts.every_component), name, ": truncated JPEG: scans are missing");
  image.tags.icc = std::move(parts.icc);
  if (image.channels == 4) {
    // Adobe's programs, and all that follow them, store the complement.
    image = cmyk_to_srgb(std::move(image), samples, info.saw_Adobe_marker != FALSE);
  } else {
    image.pixels = to_values(std::span<const unsigned char>(samples));
  }
  out.orientation = exif_orientation(parts.exif);
  return out;
}

}  // namespace frieze::tools
