#include "tools/image/png_parts.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <optional>

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
    parts.notes.emplace_back("its colour profile is damaged and ignored");
  }
}

void add_once(std::vector<std::string>& notes, const std::string& note) {
  if (std::find(notes.begin(), notes.end(), note) == notes.end()) notes.push_back(note);
}

std::string text_of(std::span<const std::byte> data) { return {reinterpret_cast<const char*>(data.data()), data.size()}; }

struct Chunk {
  std::string_view type;
  std::span<const std::byte> data;
  bool sound = false;  // its checksum is right
};

void read_ancillary(const Chunk& chunk, PngParts& parts) {
  const auto is = [&](std::string_view type) { return chunk.type == type; };
  if (is("acTL")) return add_once(parts.notes, "it is animated: only the picture that stands for it is used");
  const bool square = is("pHYs") && chunk.data.size() == 9 && big_endian32(chunk.data, 0) == big_endian32(chunk.data, 4);
  if (is("pHYs") && !square) return add_once(parts.lost, "the shape of its pixels is not kept");
  const bool extra = is("tEXt") || is("zTXt") || is("iTXt") || square;
  std::string* kept = is("sRGB")   ? &parts.tags.srgb
                      : is("gAMA") ? &parts.tags.gamma
                      : is("cHRM") ? &parts.tags.chromaticities
                      : is("cICP") ? &parts.tags.cicp
                                   : nullptr;
  const std::size_t expected = is("sRGB") ? 1 : is("cHRM") ? 32 : 4;
  if (kept == nullptr && !extra && !is("iCCP") && !is("eXIf") && !is("tRNS")) return;
  parts.sound &= chunk.sound;
  if (!chunk.sound || (kept != nullptr && chunk.data.size() != expected)) {
    return add_once(parts.notes, concat_text("its ", chunk.type, " chunk is damaged and ignored"));
  }
  if (extra) parts.extras.push_back(std::string(chunk.type) + text_of(chunk.data));
  if (kept != nullptr && kept->empty()) *kept = text_of(chunk.data);
  if (is("iCCP") && parts.tags.icc.empty()) read_profile(chunk.data, parts);
  if (is("eXIf") && parts.exif.empty()) parts.exif.assign(chunk.data.begin(), chunk.data.end());
}

void read_header(std::span<const std::byte> data, PngParts& parts) {
  parts.width = big_endian32(data, 0);
  parts.height = big_endian32(data, 4);
  const unsigned colour = std::to_integer<unsigned>(data[9]);
  const int samples = colour == 2 ? 3 : colour == 4 ? 2 : colour == 6 ? 4 : 1;
  parts.bits = std::to_integer<int>(data[8]) * samples;
}

}  // namespace

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
    if (type == "IDAT") has_data = true, parts.data_bytes += length;
    if ((type[0] & 0x20) != 0) {  // not critical; libpng checks those that are
      read_ancillary({type, data, checksum(bytes.subspan(at + 4, 4 + length)) == big_endian32(bytes, at + 8 + length)}, parts);
    }
    parts.ended = type == "IEND";
    at += 12 + length;
    parts.end = at;
  }
  check<IoError>(has_data, name, ": damaged PNG: it holds no image data");
  if (!parts.ended) parts.notes.emplace_back("it ends before its end marker");
  if (!parts.exif.empty()) parts.lost.emplace_back("the EXIF metadata are not kept");
  return parts;
}

}  // namespace frieze::tools
