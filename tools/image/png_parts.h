#pragma once
/// What a PNG holds beside its pixels. libpng is not asked for it: profiles and gamma are carried over as they are.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/image/image.h"

namespace frieze::tools {

struct PngParts {
  std::uint32_t width = 0, height = 0;
  int bits = 0;  ///< of a pixel
  bool interlaced = false;
  std::uint64_t data_bytes = 0;  ///< of compressed data
  std::size_t data_at = 0;       ///< where its first chunk begins
  bool sound = true;             ///< no chunk beside the pixels is damaged
  bool ended = false;            ///< the end marker is there
  std::size_t end = 0;           ///< of the last chunk that is whole
  ColourTags tags;
  std::vector<std::byte> exif;                   ///< of its chunk, or else as ImageMagick wrote it into text
  std::vector<std::byte> old_exif;               ///< the latter
  std::vector<std::string> dropped;              ///< names of chunks that are not kept
  std::vector<std::string> extras, notes, lost;  ///< as in Image
};

inline constexpr std::size_t kPngSignature = 8;
/// The end marker that every PNG has.
inline constexpr unsigned char kPngEnd[12] = {0, 0, 0, 0, 'I', 'E', 'N', 'D', 0xae, 0x42, 0x60, 0x82};

/// Whether a text chunk, type and data, holds EXIF.
bool is_raw_exif(std::string_view chunk);

/// Walks over the chunks. Throws IoError if the signature, the header or a checksum of a critical chunk is wrong, a chunk has no name, a
/// critical one is unknown, or the file ends before the end of the last data chunk.
PngParts read_png_parts(std::span<const std::byte> bytes, const std::string& name);

/// Decompresses the pixels and keeps none of them. Throws IoError if the data are damaged, end before the last row does, or have a row with
/// a filter that does not exist; `strict`: also if more follows.
void check_png_data(std::span<const std::byte> bytes, const PngParts& parts, const std::string& name, bool strict);

}  // namespace frieze::tools
