#include "tools/image/quality.h"

#include <gtest/gtest.h>

#include <cmath>

#include <frieze/core/error.h>

namespace frieze::tools {
namespace {

// The two pictures of tools/golden/quality.py.
Image made_up(bool second) {
  Image image{53, 37, 3, {}};
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      for (int c = 0; c < 3; ++c) {
        const int v = x * 3 + y * 5 + c * 40 + (x * y) % 17 + (second ? (x * x + 7 * y) % 23 : 0);
        image.pixels.push_back(static_cast<float>(v % 256) / 255.0f);
      }
    }
  }
  return image;
}

TEST(Quality, EqualsScikitImage) {
  EXPECT_NEAR(psnr(made_up(false), made_up(true)), 13.3018348948, 1e-6);
  EXPECT_NEAR(ssim(made_up(false), made_up(true)), 0.6076192427, 1e-6);
}

TEST(Quality, OfEqualPictures) {
  EXPECT_TRUE(std::isinf(psnr(made_up(true), made_up(true))));
  EXPECT_NEAR(ssim(made_up(true), made_up(true)), 1, 1e-12);
}

TEST(Quality, RefusesWhatCannotBeCompared) {
  const Image small{10, 40, 1, std::vector<float>(400, 0.5f)};
  EXPECT_THROW(psnr(made_up(false), small), ShapeError);
  EXPECT_THROW(ssim(small, small), ShapeError);
}

TEST(Quality, NoiseIsWhatWasAskedForAndIsFoundAgain) {
  for (const double levels : {5.0, 25.0, 50.0}) {
    const Image flat{200, 150, 3, std::vector<float>(200 * 150 * 3, 0.5f)};
    const Image noisy = add_noise(flat, levels / 255, 7);
    EXPECT_NEAR(psnr(flat, noisy), -20 * std::log10(levels / 255), 0.1);
    EXPECT_NEAR(estimate_noise(noisy) * 255, levels, 0.03 * levels);
    EXPECT_EQ(add_noise(flat, levels / 255, 7).pixels, noisy.pixels);
    EXPECT_NE(add_noise(flat, levels / 255, 8).pixels, noisy.pixels);
  }
  EXPECT_EQ(estimate_noise({1, 1, 1, {0.5f}}), 0);
}

TEST(Quality, NoiseLeavesAlphaAlone) {
  const Image noisy = add_noise({2, 1, 4, std::vector<float>(8, 0.5f)}, 0.1, 1);
  EXPECT_EQ(noisy.pixels[3], 0.5f);
  EXPECT_EQ(noisy.pixels[7], 0.5f);
  EXPECT_NE(noisy.pixels[4], 0.5f);
}

TEST(Quality, SideBySide) {
  const Image grey{1, 2, 1, {0.25f, 0.5f}}, colour{1, 2, 4, {0, 1, 0, 0.5f, 1, 0, 0, 0.5f}};
  const Image both = side_by_side({grey, colour});
  EXPECT_EQ(both.width, 2);
  EXPECT_EQ(both.height, 2);
  EXPECT_EQ(both.pixels, (std::vector<float>{0.25f, 0.25f, 0.25f, 0.5f, 1, 0.5f, 0.5f, 0.5f, 0.5f, 1, 0.5f, 0.5f}));  // over white
  EXPECT_THROW(side_by_side({grey, {1, 1, 1, {0}}}), ShapeError);
}

}  // namespace
}  // namespace frieze::tools
