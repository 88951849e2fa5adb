#pragma once
/// Transparency around filters that look at neighbours: what nobody sees must not reach what is seen.
#include <array>
#include <vector>

#include "tools/image/image.h"

namespace frieze::tools {

/// How far each pixel's colour counts: 0 where it is hidden (alpha 0), 1 from an alpha of 1/8 on, (8 alpha)^2 between; all 1 without
/// alpha.
std::vector<float> visibility(const Image& image);

/// `image` with the colours of hidden pixels, and of barely visible ones in proportion, replaced by a smooth continuation of the visible
/// colours around them (pull-push over halved sizes). Alpha stays. Unchanged without alpha; black where nothing is visible at all.
/// Source: Gortler et al., "The Lumigraph", SIGGRAPH 1996, section 3.4.
Image with_hidden_filled(Image image);

/// `image` laid over one colour, without alpha: c * alpha + colour * (1 - alpha), of values as they are stored. A grey picture stays grey
/// over a grey colour and becomes RGB over another.
Image flattened(Image image, const std::array<float, 3>& colour);

}  // namespace frieze::tools
