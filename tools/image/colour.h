#pragma once
/// What the values of a picture mean, by its colour tags; conversions by Little CMS.
#include <span>
#include <string>
#include <vector>

#include "tools/image/image.h"

namespace frieze::tools {

/// Why an ICC profile cannot belong to a picture of `channels` colours (1 grey, 3 RGB, 4 CMYK): "is cut off", "is damaged", "is made for
/// other colours"; empty if it can. Looks at its header and its list of tags only.
std::string icc_fault(const std::vector<std::byte>& icc, int channels);

/// Whether two pictures' values can be compared as they are: equal tags, or sRGB both.
bool same_colours(const ColourTags& a, const ColourTags& b);

/// The picture in sRGB, by its cICP, ICC, sRGB, or gamma and chromaticities, in this order; relative colorimetric with black point
/// compensation. Grey stays grey, alpha and depth stay; values past the gamut are clamped. Adds a note about what was done, or could not
/// be done: the values are then taken for sRGB. Without tags, or in sRGB already, nothing is changed.
Image to_srgb(Image image);

/// The RGB picture of CMYK samples, 8 bits each, by the ICC profile of image.tags; R = (1-C)(1-K) without one. `inverted`: 255 is no ink.
/// The result is tagged as sRGB.
Image cmyk_to_srgb(Image image, std::span<const unsigned char> samples, bool inverted);

/// The ICC profile that says what these tags say, in the order of to_srgb, for formats that know nothing else; empty if none is needed
/// (sRGB), or none can be made.
std::vector<std::byte> icc_of(const ColourTags& tags, int channels);

}  // namespace frieze::tools
