#pragma once
/// How close two pictures are, and how noisy one is.
#include <cstdint>

#include "tools/image/image.h"

namespace frieze::tools {

/// Throws the ShapeError that psnr and ssim would throw; pictures without pixels will do.
void check_comparable(const Image& a, const Image& b);

/// 10*log10(1 / mean of (a - b)^2) over all colours of all pixels; infinite for equal pictures. Values are compared as shares of 1,
/// whatever the depth, and as they are, whatever the colour tags. A pixel counts as
/// much as both show of it: the product of their alphas, 1 where there is none. Throws ShapeError unless both have the same size.
double psnr(const Image& a, const Image& b);

/// The structural similarity of two pictures, per colour channel and then the mean of the channels: windows of 11x11 weighted by a
/// Gaussian of 1.5 pixels, K1 = 0.01, K2 = 0.03, values in [0,1]; the mean over all windows that lie inside of the picture,
/// each weighted as psnr weights the pixel at its centre; colours that
/// one of them hides are taken for equal.
/// The same number as scikit-image's structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False).
/// Throws ShapeError unless both have the same size, of at least 11x11.
/// Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment", IEEE TIP 13(4), 2004.
double ssim(const Image& a, const Image& b);

/// The standard deviation of white Gaussian noise in a picture, in the units of its values, from its finest diagonal detail:
/// median(|HH|) / 0.6745 of the Haar wavelet over all colours. Texture of one pixel's size counts as noise. Pixels that alpha hides do not
/// count. 0 for a picture of one row or column, or with nothing to see. Source: Donoho, Johnstone, "Ideal spatial adaptation by wavelet
/// shrinkage", Biometrika 81(3), 1994.
double estimate_noise(const Image& image);

/// `image` with white Gaussian noise of standard deviation `sigma` on its colours, independent in each; alpha stays. The same
/// numbers for a seed on every machine but for the last bits of log, sin and cos.
Image add_noise(Image image, double sigma, std::uint64_t seed);

/// Pictures of one height next to each other, grey if all are, else RGB: transparent ones over white, in the largest depth, with the first
/// one's colour tags.
/// Throws ShapeError on an empty list or different heights.
Image side_by_side(const std::vector<Image>& images);

}  // namespace frieze::tools
