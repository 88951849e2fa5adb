#pragma once
/// What a JPEG holds beside its pixels, and how much work it asks for; found without decoding anything.
#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace frieze::tools {

struct JpegParts {
  int scans = 0;
  bool arithmetic = false;               ///< coded so, not with Huffman codes
  bool ended = false;                    ///< the end marker is there
  std::size_t data_bytes = 0;            ///< of entropy-coded data
  bool every_component = true;           ///< each component of the frame is in at least one scan
  std::vector<std::string> extras;       ///< as in Image: the size of a pixel, as a PNG tells it
  std::vector<std::byte> exif;           ///< TIFF structure, behind "Exif\0\0"
  std::vector<std::byte> icc;            ///< put together from its segments
  std::vector<std::string> notes, lost;  ///< as in Image
};

/// Walks over the segments up to the end marker or the end of the file. Accepts everything: libjpeg decides what is a JPEG.
/// Source: ITU-T T.81, B.1 and B.2; ICC.1:2010, B.4 (APP2); EXIF 2.32, 4.5.4 (APP1); CIPA DC-007 (APP2 "MPF"); JFIF 1.02 (APP0).
JpegParts read_jpeg_parts(std::span<const std::byte> bytes);

/// The file with a frame of 8x8 pixels and without the data of its scans: what libjpeg refuses in the one, it refuses in the other, and
/// this one costs nothing.
std::vector<std::byte> jpeg_skeleton(std::span<const std::byte> bytes);

}  // namespace frieze::tools
