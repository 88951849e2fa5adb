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

unsigned long long blocks_of(const jpeg_decompress_struct& info) {
  unsigned long long blocks = 0;
  for (int c = 0; c < info.num_components; ++c) {
    blocks += static_cast<unsigned long long>(info.comp_info[c].width_in_blocks) * info.comp_info[c].height_in_blocks;
  }
  return blocks;
}

// Whether libjpeg decodes it with all coefficients in memory.
bool has_all_at_once(jpeg_decompress_struct& info) { return info.progressive_mode != FALSE || jpeg_has_multiple_scans(&info) != FALSE; }

// Every block of every component has a code in at least one scan: of one bit where the picture is progressive, of two where it is not, or
// of next to nothing where it is arithmetic. Two bits are asked for in each case where a picture must be without doubt.
void check_size(jpeg_decompress_struct& info, const JpegParts& parts, const std::string& name, bool strict) {
  // So many pixels cost little even where they are empty; arithmetic codes of an even surface are a few bytes at any size.
  constexpr long long kAnyway = 1 << 20, kArithmetic = 1 << 24, kStrictly = 10'000'000, kStrictlyAtOnce = 1 << 22;
  const long long anyway = !parts.arithmetic ? kAnyway : !strict ? kArithmetic : has_all_at_once(info) ? kStrictlyAtOnce : kStrictly;
  if (parts.data_bytes > 0 && static_cast<long long>(info.image_width) * info.image_height <= anyway) return;
  const unsigned long long blocks = blocks_of(info);
  const unsigned long long bits = strict ? 2 * blocks : parts.arithmetic ? blocks / 100 : info.progressive_mode ? blocks : 2 * blocks;
  check<IoError>(parts.data_bytes > 0 && bits / 8 <= parts.data_bytes, name, ": truncated JPEG: ", parts.data_bytes, " bytes of data ",
                 parts.arithmetic ? "can hardly hold " : "cannot hold ", info.image_width, "x", info.image_height, " pixels");
  // A scan may go over all blocks for a few bytes.
  constexpr unsigned long long kAnyBlocks = 1 << 24, kBlocksForAByte = 64;
  const auto scans = static_cast<unsigned long long>(parts.scans);
  check<IoError>(scans <= 1 || scans * blocks <= kAnyBlocks + kBlocksForAByte * parts.data_bytes, name, ": ", parts.scans, " scans of ",
                 info.image_width, "x", info.image_height, " pixels: more work than ", parts.data_bytes, " bytes of data may ask for");
}

// Decodes to one row, which is thrown away.
void decode_to_nothing(Reader& reader) {
  jpeg_decompress_struct& info = reader.info();
  info.out_color_space = info.jpeg_color_space;  // without conversion
  reader.step([&] { jpeg_start_decompress(&info); });
  std::vector<unsigned char> row(static_cast<std::size_t>(info.output_width) * static_cast<std::size_t>(info.output_components));
  reader.step([&] {
    while (info.output_scanline < info.output_height) {
      JSAMPROW to = row.data();
      jpeg_read_scanlines(&info, &to, 1);
    }
    jpeg_finish_decompress(&info);
  });
}

// Little that claims to be much is checked before there is memory for it: what must be refused is refused at once.
void check_cheaply(jpeg_decompress_struct& info, std::span<const std::byte> bytes, const std::string& name, const ReadOptions& options) {
  constexpr unsigned long long kMuch = 1 << 25, kSuspicious = 100, kSample = 1 + sizeof(float);
  const unsigned long long values = static_cast<unsigned long long>(info.image_width) * info.image_height * info.num_components;
  const bool at_once = has_all_at_once(info);
  const unsigned long long needed = kSample * values + (at_once ? sizeof(JBLOCK) * blocks_of(info) : 0);
  if (needed <= kMuch || needed / kSuspicious <= bytes.size()) return;
  const std::vector<std::byte> skeleton = jpeg_skeleton(bytes);
  ReadOptions lenient = options;
  lenient.strict = false;  // its data are missing
  Reader structure(skeleton, name, lenient);
  decode_to_nothing(structure);
  if (!options.strict || at_once) return;
  Reader once(bytes, name, options);
  decode_to_nothing(once);
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
  check<IoError>(!options.strict || parts.every_component, name, ": truncated JPEG: scans are missing");
  Reader reader(bytes, name, options);
  jpeg_decompress_struct& info = reader.info();
  check_extent(info.image_width, info.image_height, name, options);
  check_size(info, parts, name, options.strict);
  check<IoError>(info.jpeg_color_space != JCS_UNKNOWN, name, ": cannot decode: ", info.num_components,
                 " colour channels of unknown meaning");
  if (info.jpeg_color_space == JCS_YCCK) info.out_color_space = JCS_CMYK;
  DecodedImage out;
  Image& image = out.image;
  out.orientation = exif_orientation(parts.exif);
  if (!options.pixels) {
    image.width = static_cast<int>(info.image_width);
    image.height = static_cast<int>(info.image_height);
    image.channels = info.num_components == 1 ? 1 : 3;
    return out;
  }
  check_cheaply(info, bytes, name, options);
  reader.step([&] { jpeg_start_decompress(&info); });
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
  image.extras = std::move(parts.extras);
  if (reader.complaints().count() > 0 || !parts.ended) {
    image.notes.push_back("it is damaged or cut off: " + (parts.ended ? reader.complaints().text() : "no end marker"));
  } else if (!complete || !parts.every_component) {
    image.notes.emplace_back("it is cut off: scans are missing");
  }
  check<IoError>(!options.strict || complete, name, ": truncated JPEG: scans are missing");
  image.tags.icc = std::move(parts.icc);
  if (image.channels == 4) {
    // Adobe's programs, and all that follow them, store the complement.
    image = cmyk_to_srgb(std::move(image), samples, info.saw_Adobe_marker != FALSE);
  } else {
    image.pixels = to_values(std::span<const unsigned char>(samples));
  }
  return out;
}

}  // namespace frieze::tools
