#pragma once
/// What a PNG holds beside its pixels. libpng is not asked for it: profiles and gamma are carried over as they are.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tools/image/image.h"

namespace frieze::tools {

struct PngParts {
  std::uint32_t width = 0, height = 0;
  int bits = 0;                  ///< of a pixel
  std::uint64_t data_bytes = 0;  ///< of compressed data
  bool sound = true;             ///< no chunk beside the pixels is damaged
  bool ended = false;            ///< the end marker is there
  std::size_t end = 0;           ///< of the last chunk that is whole
  ColourTags tags;
  std::vector<std::byte> exif;
  std::vector<std::string> extras, notes, lost;  ///< as in Image
};

inline constexpr std::size_t kPngSignature = 8;
/// The end marker that every PNG has.
inline constexpr unsigned char kPngEnd[12] = {0, 0, 0, 0, 'I', 'E', 'N', 'D', 0xae, 0x42, 0x60, 0x82};

/// Walks over the chunks. Throws IoError if the signature or the header is wrong, or the file ends before the end of the last data chunk.
PngParts read_png_parts(std::span<const std::byte> bytes, const std::string& name);

}  // namespace frieze::tools
