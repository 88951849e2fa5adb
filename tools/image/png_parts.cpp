#include "tools/image/png_parts.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <optional>
#include <utility>

#include <frieze/core/error.h>

namespace frieze::tools {
namespace {

std::uint32_t big_endian32(std::span<const std::byte> bytes, std::size_t at) {
  std::uint32_t v = 0;
  for (std::size_t i = 0; i < 4; ++i) v = v << 8 | std::to_integer<std::uint32_t>(bytes[at + i]);
  return v;
}

const Bytef* zlib_bytes(std::span<const std::byte> bytes) { return reinterpret_cast<const Bytef*>(bytes.data()); }

std::uint32_t checksum(std::span<const std::byte> bytes) {
  return static_cast<std::uint32_t>(::crc32(::crc32(0, nullptr, 0), zlib_bytes(bytes), static_cast<uInt>(bytes.size())));
}

// What a zlib stream holds; nothing if it is damaged or holds more than `limit` bytes.
std::optional<std::vector<std::byte>> inflated(std::span<const std::byte> stream, std::size_t limit) {
  z_stream z{};
  if (::inflateInit(&z) != Z_OK) return std::nullopt;
  z.next_in = const_cast<Bytef*>(zlib_bytes(stream));  // zlib's own signature; it does not write
  z.avail_in = static_cast<uInt>(stream.size());
  std::vector<std::byte> out;
  int status = Z_OK;
  while (status == Z_OK && out.size() < limit) {
    const std::size_t had = out.size(), more = std::min<std::size_t>(std::max<std::size_t>(had, 4096), limit - had);
    out.resize(had + more);
    z.next_out = reinterpret_cast<Bytef*>(out.data()) + had;
    z.avail_out = static_cast<uInt>(more);
    status = ::inflate(&z, Z_NO_FLUSH);
    out.resize(out.size() - z.avail_out);
  }
  ::inflateEnd(&z);
  if (status != Z_STREAM_END) return std::nullopt;
  return out;
}

std::string text_of(std::span<const std::byte> data) { return {reinterpret_cast<const char*>(data.data()), data.size()}; }

void add_once(std::vector<std::string>& notes, const std::string& note) {
  if (std::find(notes.begin(), notes.end(), note) == notes.end()) notes.push_back(note);
}

// Pairs of hexadecimal digits as bytes, blanks left out; up to the first other character.
std::vector<std::byte> from_hex(std::string_view text) {
  std::vector<std::byte> out;
  unsigned value = 0, digits = 0;
  for (const char c : text) {
    if (c == ' ' || c == '\n' || c == '\r') continue;
    const std::size_t digit = std::string_view("0123456789abcdefABCDEF").find(c);
    if (digit == std::string_view::npos) break;
    value = value << 4 | static_cast<unsigned>(digit < 16 ? digit : digit - 6);
    if (++digits % 2 == 0) out.push_back(static_cast<std::byte>(value & 0xff));
  }
  return out;
}

// EXIF as ImageMagick wrote it before PNG had a chunk for it: text of the name "Raw profile type exif" (or APP1): its kind, its length, and
// hexadecimal digits, each in lines of their own.
constexpr std::string_view kRawExif("Raw profile type exif\0", 22), kRawApp1("Raw profile type APP1\0", 22);

std::vector<std::byte> raw_exif(std::string_view type, std::span<const std::byte> data) {
  constexpr std::size_t kMostText = std::size_t{1} << 18;  // EXIF has 64 KiB
  data = data.subspan(kRawExif.size());
  std::string text;
  if (type == "tEXt") {
    text = text_of(data);
  } else if (type == "zTXt" && !data.empty()) {
    const std::optional<std::vector<std::byte>> inside = inflated(data.subspan(1), kMostText);
    if (inside) text = text_of(*inside);
  }
  std::size_t at = text.find_first_not_of('\n');
  for (int lines = 0; lines < 2 && at != std::string::npos; ++lines) at = text.find('\n', at + 1);
  return at == std::string::npos ? std::vector<std::byte>() : from_hex(std::string_view(text).substr(at));
}

// name · 0 · method 0 · zlib stream
void read_profile(std::span<const std::byte> data, PngParts& parts) {
  constexpr std::size_t kMostProfile = std::size_t{1} << 24;
  const auto end = std::find(data.begin(), data.end(), std::byte{0});
  const auto stream = static_cast<std::size_t>(end - data.begin()) + 2;
  std::optional<std::vector<std::byte>> profile;
  if (stream <= data.size() && data[stream - 1] == std::byte{0}) profile = inflated(data.subspan(stream), kMostProfile);
  if (profile) {
    parts.tags.icc = std::move(*profile);
  } else {
    parts.sound = false;
    add_once(parts.notes, "its colour profile is damaged and ignored");
  }
}

struct Chunk {
  std::string_view type;
  std::span<const std::byte> data;
  bool sound = false;  // its checksum is right
};

void read_ancillary(const Chunk& chunk, PngParts& parts) {
  const auto is = [&](std::string_view type) { return chunk.type == type; };
  if (is("acTL")) return add_once(parts.notes, "it is animated: only the picture that stands for it is used");
  if (is("fcTL") || is("fdAT") || is("iDOT")) return;  // frames; where a part of the data begins
  const bool square = is("pHYs") && chunk.data.size() == 9 && big_endian32(chunk.data, 0) == big_endian32(chunk.data, 4);
  if (is("pHYs") && !square) return add_once(parts.lost, "the shape of its pixels is not kept");
  const bool extra = is("tEXt") || is("zTXt") || is("iTXt") || square;
  std::string* kept = is("sRGB")   ? &parts.tags.srgb
                      : is("gAMA") ? &parts.tags.gamma
                      : is("cHRM") ? &parts.tags.chromaticities
                      : is("cICP") ? &parts.tags.cicp
                                   : nullptr;
  const std::size_t expected = is("sRGB") ? 1 : is("cHRM") ? 32 : 4;
  if (kept == nullptr && !extra && !is("iCCP") && !is("eXIf") && !is("tRNS")) return add_once(parts.dropped, std::string(chunk.type));
  parts.sound &= chunk.sound;
  if (!chunk.sound || (kept != nullptr && chunk.data.size() != expected)) {
    return add_once(parts.notes, concat_text("its ", chunk.type, " chunk is damaged and ignored"));
  }
  if (extra) parts.extras.push_back(std::string(chunk.type) + text_of(chunk.data));
  if (kept != nullptr && kept->empty()) *kept = text_of(chunk.data);
  if (is("iCCP") && parts.tags.icc.empty()) read_profile(chunk.data, parts);
  if (is("eXIf") && parts.exif.empty()) parts.exif.assign(chunk.data.begin(), chunk.data.end());
  if (extra && is_raw_exif(parts.extras.back()) && parts.old_exif.empty()) parts.old_exif = raw_exif(chunk.type, chunk.data);
}

// What cannot be decoded is known before there is memory for it.
void check_critical(const Chunk& chunk, bool first, const std::string& name) {
  check<IoError>(chunk.sound, name, ": damaged PNG: wrong checksum: ", chunk.type, ": CRC error");
  const bool known = chunk.type == "IDAT" || chunk.type == "PLTE" || chunk.type == "IEND" || (first && chunk.type == "IHDR");
  check<IoError>(known, name, ": cannot decode: ", chunk.type, ": a critical chunk that is unknown or out of place");
}

void read_header(std::span<const std::byte> data, PngParts& parts) {
  parts.width = big_endian32(data, 0);
  parts.height = big_endian32(data, 4);
  const unsigned colour = std::to_integer<unsigned>(data[9]);
  const int samples = colour == 2 ? 3 : colour == 4 ? 2 : colour == 6 ? 4 : 1;
  parts.bits = std::to_integer<int>(data[8]) * samples;
  parts.interlaced = data[12] != std::byte{0};
}

// The rows as they lie in the data, one after the other: how many bytes each has, its filter included.
class Rows {
 public:
  explicit Rows(const PngParts& parts) : parts_(parts) { skip_empty(); }
  bool done() const { return pass_ == passes(); }
  std::uint64_t bytes() const { return 1 + (static_cast<std::uint64_t>(width()) * static_cast<unsigned>(parts_.bits) + 7) / 8; }
  void next() {
    if (++row_ == height()) ++pass_, row_ = 0, skip_empty();
  }

 private:
  int passes() const { return parts_.interlaced ? 7 : 1; }
  // PNG specification, 8.2: Adam7.
  std::uint32_t part(std::uint32_t extent, const int (&begin)[7], const int (&step)[7]) const {
    if (!parts_.interlaced) return extent;
    const auto from = static_cast<std::uint32_t>(begin[pass_]), by = static_cast<std::uint32_t>(step[pass_]);
    return extent <= from ? 0 : (extent - from + by - 1) / by;
  }
  std::uint32_t width() const { return part(parts_.width, {0, 4, 0, 2, 0, 1, 0}, {8, 8, 4, 4, 2, 2, 1}); }
  std::uint32_t height() const { return part(parts_.height, {0, 0, 4, 0, 2, 0, 1}, {8, 8, 8, 4, 4, 2, 2}); }
  void skip_empty() {
    while (!done() && (width() == 0 || height() == 0)) ++pass_;
  }

  const PngParts& parts_;
  int pass_ = 0;
  std::uint32_t row_ = 0;
};

struct Inflater {
  z_stream z{};
  Inflater() {
    if (::inflateInit(&z) != Z_OK) throw std::bad_alloc();
  }
  ~Inflater() { ::inflateEnd(&z); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
};

}  // namespace

bool is_raw_exif(std::string_view chunk) {
  chunk.remove_prefix(std::min<std::size_t>(chunk.size(), 4));
  return chunk.starts_with(kRawExif) || chunk.starts_with(kRawApp1);
}

void check_png_data(std::span<const std::byte> bytes, const PngParts& parts, const std::string& name, bool strict) {
  const auto refuse = [&](const char* why) { throw IoError(concat_text(name, ": cannot decode: IDAT: ", why)); };
  Inflater inflater;
  z_stream& z = inflater.z;
  std::array<Bytef, 1 << 16> buffer{};
  Rows rows(parts);
  std::uint64_t left = 0;  // of the row
  std::size_t at = parts.data_at;
  for (int status = Z_OK; status != Z_STREAM_END;) {
    while (z.avail_in == 0) {  // chunks before parts.end are whole
      if (at == parts.end || std::memcmp(bytes.data() + at + 4, "IDAT", 4) != 0) {
        if (!rows.done() || strict) refuse("not enough image data");
        return;
      }
      const std::uint32_t length = big_endian32(bytes, at);
      z.next_in = const_cast<Bytef*>(zlib_bytes(bytes.subspan(at + 8, length)));  // zlib's own signature; it does not write
      z.avail_in = length;
      at += std::size_t{12} + length;
    }
    z.next_out = buffer.data();
    z.avail_out = static_cast<uInt>(buffer.size());
    status = ::inflate(&z, Z_NO_FLUSH);
    if (status != Z_OK && status != Z_STREAM_END) return refuse(z.msg != nullptr ? z.msg : "damaged");
    for (std::size_t got = buffer.size() - z.avail_out, i = 0; i < got;) {
      if (rows.done()) {
        if (strict) refuse("too much image data");
        return;
      }
      if (left == 0) {
        constexpr Bytef kFilters = 5;
        if (buffer[i] >= kFilters) return refuse("a row has an unknown filter");
        left = rows.bytes();
      }
      const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(left, got - i));
      left -= step, i += step;
      if (left == 0) rows.next();
    }
  }
  if (!rows.done()) refuse("not enough image data");
}

PngParts read_png_parts(std::span<const std::byte> bytes, const std::string& name) {
  static constexpr unsigned char kSignature[kPngSignature] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  check<IoError>(bytes.size() >= kPngSignature, name, ": truncated PNG: the file ends at byte ", bytes.size(), ", inside its signature");
  check<IoError>(std::memcmp(bytes.data(), kSignature, kPngSignature) == 0, name,
                 ": damaged PNG: its signature was changed, perhaps by a transfer as text");
  PngParts parts;
  bool has_data = false, cut = false;
  for (std::size_t at = kPngSignature; !parts.ended && !cut;) {
    const std::size_t left = bytes.size() - at, length = left < 8 ? 0 : big_endian32(bytes, at);
    const std::string_view type(reinterpret_cast<const char*>(bytes.data()) + at + 4, left < 8 ? 0 : 4);
    cut = left < 12 || length > left - 12;
    check<IoError>(at != kPngSignature || cut || (type == "IHDR" && length == 13), name,
                   ": damaged PNG: it does not begin with a header chunk");
    check<IoError>(!cut || (has_data && type != "IDAT"), name, ": truncated PNG: the file ends at byte ", bytes.size(), ", ",
                   left == 0 ? "before its end marker" : concat_text("inside the chunk that begins at byte ", at));
    if (cut) break;
    const std::span<const std::byte> data = bytes.subspan(at + 8, length);
    if (at == kPngSignature) read_header(data, parts);
    check<IoError>(std::all_of(type.begin(), type.end(), [](char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }), name,
                   ": damaged PNG: the chunk at byte ", at, " has no name");
    const Chunk chunk{type, data, checksum(bytes.subspan(at + 4, 4 + length)) == big_endian32(bytes, at + 8 + length)};
    if ((type[0] & 0x20) != 0) {
      read_ancillary(chunk, parts);
    } else {
      check_critical(chunk, at == kPngSignature, name);
    }
    if (type == "IDAT") {
      if (!std::exchange(has_data, true)) parts.data_at = at;
      parts.data_bytes += length;
    }
    parts.ended = type == "IEND";
    at += 12 + length;
    parts.end = at;
  }
  check<IoError>(has_data, name, ": damaged PNG: it holds no image data");
  if (!parts.ended) parts.notes.emplace_back("it ends before its end marker");
  if (!parts.exif.empty()) parts.lost.emplace_back("the EXIF metadata are not kept");
  if (parts.exif.empty()) parts.exif = std::move(parts.old_exif);
  if (!parts.dropped.empty()) {
    constexpr std::size_t kMostNames = 8;
    std::string names;
    for (std::size_t i = 0; i < std::min(parts.dropped.size(), kMostNames); ++i) names += (i == 0 ? "" : ", ") + parts.dropped[i];
    if (parts.dropped.size() > kMostNames) names += concat_text(" and ", parts.dropped.size() - kMostNames, " more");
    parts.lost.push_back(concat_text(parts.dropped.size() == 1 ? "its chunk " : "its chunks ", names,
                                     parts.dropped.size() == 1 ? " is not kept" : " are not kept"));
  }
  return parts;
}

}  // namespace frieze::tools
