#include "tools/image/container.h"

#include <array>
#include <cstdint>
#include <cstring>

#include <frieze/core/error.h>

namespace frieze::tools {
namespace {

// CRC-32 of PNG chunks. Source: PNG specification (ISO/IEC 15948), annex D.
std::uint32_t crc32(std::span<const std::byte> bytes) {
  static const std::array<std::uint32_t, 256> table = [] {
    std::array<std::uint32_t, 256> t{};
    for (std::uint32_t n = 0; n < 256; ++n) {
      std::uint32_t c = n;
      for (int bit = 0; bit < 8; ++bit) c = (c & 1) != 0 ? 0xedb88320u ^ (c >> 1) : c >> 1;
      t[n] = c;
    }
    return t;
  }();
  std::uint32_t c = 0xffffffffu;
  for (const std::byte b : bytes) c = table[(c ^ std::to_integer<std::uint32_t>(b)) & 0xff] ^ (c >> 8);
  return c ^ 0xffffffffu;
}

std::uint32_t big_endian32(std::span<const std::byte> bytes, std::size_t at) {
  std::uint32_t v = 0;
  for (std::size_t i = 0; i < 4; ++i) v = v << 8 | std::to_integer<std::uint32_t>(bytes[at + i]);
  return v;
}

constexpr std::size_t kPngSignature = 8;

// Signature, then chunks of length · type · data · CRC, from IHDR to IEND, at least one IDAT between them.
void check_png(std::span<const std::byte> bytes, const std::string& name) {
  bool has_data = false;
  for (std::size_t at = kPngSignature;;) {
    check<IoError>(bytes.size() - at >= 12, name, ": truncated PNG: the file ends at byte ", bytes.size(), ", inside a chunk");
    const std::size_t length = big_endian32(bytes, at);
    const std::string type(reinterpret_cast<const char*>(bytes.data() + at + 4), 4);
    check<IoError>(length <= bytes.size() - at - 12, name, ": truncated PNG: the file ends at byte ", bytes.size(),
                   ", inside the chunk that begins at byte ", at);
    check<IoError>(at != kPngSignature || (type == "IHDR" && length == 13), name, ": damaged PNG: it does not begin with a header chunk");
    check<IoError>(crc32(bytes.subspan(at + 4, 4 + length)) == big_endian32(bytes, at + 8 + length), name,
                   ": damaged PNG: wrong checksum of the chunk that begins at byte ", at);
    has_data |= type == "IDAT";
    if (type == "IEND") break;
    at += 12 + length;
  }
  check<IoError>(has_data, name, ": damaged PNG: it holds no image data");
}

// Huffman tables: class and id · 16 counts of codes by length · the codes' symbols, one byte each. A table of more than 256
// codes overruns a buffer in stb_image up to 2.28.
void check_huffman_tables(std::span<const std::byte> tables, const std::string& name) {
  while (!tables.empty()) {
    check<IoError>(tables.size() >= 17, name, ": damaged JPEG: a Huffman table is cut off");
    unsigned codes = 0;
    for (const std::byte count : tables.subspan(1, 16)) codes += std::to_integer<unsigned>(count);
    check<IoError>(codes <= 256 && codes <= tables.size() - 17, name, ": damaged JPEG: a Huffman table of ", codes, " codes");
    tables = tables.subspan(17 + codes);
  }
}

// Segments FF · marker · length · data up to the end marker; entropy-coded data follows each start of a scan.
void check_jpeg(std::span<const std::byte> bytes, const std::string& name) {
  const auto byte_at = [&](std::size_t i) {
    check<IoError>(i < bytes.size(), name, ": truncated JPEG: the file ends at byte ", bytes.size(), ", before its end marker");
    return std::to_integer<unsigned>(bytes[i]);
  };
  constexpr unsigned kEnd = 0xd9, kScan = 0xda, kHuffman = 0xc4, kRestartFirst = 0xd0, kRestartLast = 0xd7, kTemporary = 0x01;
  for (std::size_t at = 2;;) {
    check<IoError>(byte_at(at) == 0xff, name, ": damaged JPEG: no marker at byte ", at);
    while (byte_at(at) == 0xff) ++at;  // any number of fill bytes may precede a marker
    const unsigned marker = byte_at(at++);
    if (marker == kEnd) return;
    if (marker == kTemporary || (marker >= kRestartFirst && marker <= kRestartLast)) continue;
    const unsigned length = byte_at(at) << 8 | byte_at(at + 1);
    check<IoError>(length >= 2, name, ": damaged JPEG: a segment of ", length, " bytes at byte ", at);
    check<IoError>(length <= bytes.size() - at, name, ": truncated JPEG: the file ends at byte ", bytes.size(), ", inside a segment");
    if (marker == kHuffman) check_huffman_tables(bytes.subspan(at + 2, length - 2), name);
    at += length;
    if (marker != kScan) continue;
    // FF 00 is a stuffed data byte and FF D0..D7 are restarts; the next other marker ends the scan.
    for (;; ++at) {
      if (byte_at(at) != 0xff) continue;
      const unsigned next = byte_at(at + 1);
      if (next != 0 && next != 0xff && (next < kRestartFirst || next > kRestartLast)) break;
    }
  }
}

}  // namespace

Container check_container(std::span<const std::byte> bytes, const std::string& name) {
  check<IoError>(!bytes.empty(), name, ": the file is empty");
  static constexpr unsigned char kSignature[kPngSignature] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  if (bytes.size() >= 4 && std::memcmp(bytes.data(), kSignature, 4) == 0) {
    check<IoError>(bytes.size() >= kPngSignature, name, ": truncated PNG: the file ends at byte ", bytes.size(), ", inside its signature");
    check<IoError>(std::memcmp(bytes.data(), kSignature, kPngSignature) == 0, name,
                   ": damaged PNG: its signature was changed, perhaps by a transfer as text");
    check_png(bytes, name);
    return Container::png;
  }
  static constexpr unsigned char kStartOfImage[3] = {0xff, 0xd8, 0xff};
  if (bytes.size() >= 3 && std::memcmp(bytes.data(), kStartOfImage, 3) == 0) {
    check_jpeg(bytes, name);
    return Container::jpeg;
  }
  throw IoError(name + ": neither a PNG nor a JPEG file");
}

std::pair<long long, long long> png_extent(std::span<const std::byte> bytes) {
  constexpr std::size_t kHeaderData = kPngSignature + 8;
  return {big_endian32(bytes, kHeaderData), big_endian32(bytes, kHeaderData + 4)};
}

}  // namespace frieze::tools
