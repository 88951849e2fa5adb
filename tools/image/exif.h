#pragma once
/// The one thing that Frieze wants from EXIF: which way up a picture is.
#include <cstddef>
#include <span>

#include "tools/image/image.h"

namespace frieze::tools {

/// The orientation of a TIFF structure, as EXIF is one, with or without "Exif\0\0" in front: 1 to 8, or 1 if it has none or makes no sense.
/// Source: TIFF 6.0, section 2 and "Orientation"; EXIF 2.32 (CIPA DC-008), 4.6.4.
int exif_orientation(std::span<const std::byte> bytes);

/// The picture with its first row at the top and its first column on the left, stored with this orientation; unchanged for 1.
/// Source: TIFF 6.0, "Orientation": 2 mirrored, 3 turned by 180 degrees, 4 upside down, 5 transposed, 6 to be turned clockwise, 7
/// transposed across the other diagonal, 8 to be turned counterclockwise.
Image upright(Image image, int orientation);

}  // namespace frieze::tools
