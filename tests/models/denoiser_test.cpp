/// The denoiser: against PyTorch on the trained weights, and pictures in tiles against the same pictures whole.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include <frieze/core/error.h>
#include <frieze/core/weights.h>
#include <frieze/models/denoiser/denoise.h>
#include "support/parity.h"
#include "support/paths.h"

namespace frieze {
namespace {

struct Golden {
  HostTensor x, y;
};
Golden golden() {
  const Weights file = Weights::open(test::source_path("tests/golden/denoiser.safetensors"));
  return {file.tensor("x"), file.tensor("y")};
}

// The largest difference as a share of the range of the expected values.
double worst_share(const std::vector<float>& got, const std::vector<float>& expected) {
  const auto [low, high] = std::minmax_element(expected.begin(), expected.end());
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (!std::isfinite(got[i])) return INFINITY;
    worst = std::max(worst, std::abs(double{got[i]} - double{expected[i]}));
  }
  return worst / (double{*high} - double{*low});
}

std::vector<float> run(const HostTensor& x, DType dtype, const Device& device) {
  Denoiser model;
  load_trained(model);
  Session net = compile(model, {{"x", x.spec().shape, dtype}}, device);
  net.input().copy_from(x);
  net.run();
  return net.output().floats();
}

// RGB planes with edges, gradients and fine texture.
std::vector<float> picture(Size2d extent) {
  std::vector<float> planes;
  for (int c = 0; c < 3; ++c) {
    for (int y = 0; y < extent.h; ++y) {
      for (int x = 0; x < extent.w; ++x) {
        const double edges = (x / 23 + y / 31) % 2 == 0 ? 0.2 : 0.7, texture = 0.1 * std::sin(0.9 * x + 0.4 * y * (c + 1));
        const double grain = 0.08 * std::sin(12.9898 * x + 78.233 * y + 37.7 * c + 0.013 * x * y);
        planes.push_back(static_cast<float>(std::clamp(edges + texture + grain, 0.0, 1.0)));
      }
    }
  }
  return planes;
}

TEST(Denoiser, EqualsPyTorchInF32OnTheCpu) {
  const Golden g = golden();
  const double worst = worst_share(run(g.x, DType::f32, Device::reference()), g.y.floats());
  RecordProperty("share_of_range", std::to_string(worst));
  EXPECT_LT(worst, 1e-5);  // the promise is 1e-4; the reference sums in double
}

TEST(Denoiser, EqualsPyTorchInF32OnTheGpu) {
  FRIEZE_NEEDS_GPU();
  const Golden g = golden();
  EXPECT_LT(worst_share(run(g.x, DType::f32, Device::cuda()), g.y.floats()), 1e-4);
}

long level(float v) { return std::lround(std::clamp(v, 0.0f, 1.0f) * 255.0f); }

// The share of values that differ once both are rounded to 8 bits; no step is greater than one.
double differing_share(const std::vector<float>& a, const std::vector<float>& b) {
  std::size_t differ = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const long step = std::abs(level(a[i]) - level(b[i]));
    EXPECT_LE(step, 1) << "at " << i;
    differ += step != 0 ? 1 : 0;
  }
  return static_cast<double>(differ) / static_cast<double>(a.size());
}

// What f16 alone costs: from 0.5 on its values lie 1/8 of a level of 255 apart, so rounding the exact answer to it moves some values
// over the border between two levels. A whole network in f16 may cost as much again, in PyTorch as here.
void expect_eight_bits_like_pytorch(const Device& device) {
  const Golden g = golden();
  const std::vector<float> exact = g.y.floats();
  std::vector<float> rounded = exact;
  for (float& v : rounded) v = round_to(DType::f16, v);
  const double least = differing_share(rounded, exact), ours = differing_share(run(g.x, DType::f16, device), exact);
  ::testing::Test::RecordProperty("percent_by_rounding_alone", std::to_string(100 * least));
  ::testing::Test::RecordProperty("percent_of_ours", std::to_string(100 * ours));
  EXPECT_GT(least, 0.01);
  EXPECT_LE(ours, 2 * least);
}
TEST(Denoiser, EightBitPicturesInF16AreAsNearToPyTorchAsF16Allows) { expect_eight_bits_like_pytorch(Device::reference()); }
TEST(Denoiser, EightBitPicturesInF16AreAsNearToPyTorchAsF16AllowsOnTheGpu) {
  FRIEZE_NEEDS_GPU();
  expect_eight_bits_like_pytorch(Device::cuda());
}

// The golden pictures by the class that adds what the network changes in f32.
std::vector<float> photographs(const HostTensor& x, DType dtype, const Device& device) {
  PhotoDenoiser denoiser(device, {.dtype = dtype});
  const std::vector<float> all = x.floats();
  const Size2d extent{static_cast<int>(x.spec().shape.h()), static_cast<int>(x.spec().shape.w())};
  const auto size = all.size() / static_cast<std::size_t>(x.spec().shape.n());
  std::vector<float> out;
  for (std::size_t at = 0; at < all.size(); at += size) {
    const std::vector<float> y = denoiser(std::span(all).subspan(at, size), extent);
    out.insert(out.end(), y.begin(), y.end());
  }
  return out;
}

TEST(PhotoDenoiser, IsTheNetworkToTheBitInF32) {
  const Golden g = golden();
  EXPECT_EQ(photographs(g.x, DType::f32, Device::reference()), run(g.x, DType::f32, Device::reference()));
}

// The store of the picture in f16 is half of the variance of the error, so without it the share is 0.7 of what it was.
void expect_nearer_than_a_picture_in_f16(const Device& device) {
  const Golden g = golden();
  const std::vector<float> exact = g.y.floats();
  const double ours = differing_share(photographs(g.x, DType::f16, device), exact),
               stored = differing_share(run(g.x, DType::f16, device), exact);
  ::testing::Test::RecordProperty("percent", std::to_string(100 * ours));
  ::testing::Test::RecordProperty("percent_stored_in_f16", std::to_string(100 * stored));
  EXPECT_GT(ours, 0.0);
  EXPECT_LT(ours, 0.85 * stored);
}
TEST(PhotoDenoiser, AddsTheChangeInF32) { expect_nearer_than_a_picture_in_f16(Device::reference()); }
TEST(PhotoDenoiser, AddsTheChangeInF32OnTheGpu) {
  FRIEZE_NEEDS_GPU();
  expect_nearer_than_a_picture_in_f16(Device::cuda());
}

TEST(Denoiser, EightBitPicturesOfTheGpuInF16EqualThoseOfTheReference) {
  FRIEZE_NEEDS_GPU();
  const Golden g = golden();
  EXPECT_LE(differing_share(run(g.x, DType::f16, Device::cuda()), run(g.x, DType::f16, Device::reference())), 0.02);
}

TEST(Denoiser, RefusesSizesThatAreNoMultipleOfItsStride) {
  const Denoiser model;
  EXPECT_THROW(trace(model, {{"x", {1, 3, 40, 48}}}), ShapeError);
  EXPECT_THROW(trace(model, {{"x", {1, 4, 48, 48}}}), ShapeError);
}

TEST(Tiles, SharesOfEveryPixelAddUpToOne) {
  for (const auto& [extent, tile, overlap, stride] : {std::tuple{128, 128, 64, 1},
                                                      {129, 128, 64, 1},
                                                      {200, 128, 64, 1},
                                                      {1000, 128, 64, 1},
                                                      {304, 256, 128, 16},
                                                      {5, 1, 0, 1},
                                                      {1024, 1024, 128, 16},
                                                      {4112, 1024, 128, 16},
                                                      {10, 4, 2, 1},
                                                      {3008, 256, 128, 16}}) {
    std::vector<double> sums(static_cast<std::size_t>(extent), 0.0);
    int end = 0;
    for (const TileSpan& span : tile_spans(extent, tile, overlap, stride)) {
      ASSERT_EQ(span.weights.size(), static_cast<std::size_t>(tile));
      ASSERT_GE(span.begin, 0);
      EXPECT_EQ(span.begin % stride, 0);
      ASSERT_LE(span.begin + tile, extent);
      if (span.begin > 0) {
        EXPECT_GE(end - span.begin, overlap) << extent << " " << tile;
        if (overlap >= 8) {
          EXPECT_EQ(span.weights[static_cast<std::size_t>(overlap * 3 / 8 - 1)], 0.0f);  // the rim of a tile counts for nothing
        }
      }
      end = span.begin + tile;
      for (int i = 0; i < tile; ++i) sums[static_cast<std::size_t>(span.begin + i)] += span.weights[static_cast<std::size_t>(i)];
    }
    EXPECT_EQ(end, extent);
    for (const double sum : sums) ASSERT_NEAR(sum, 1.0, 1e-6) << extent << " " << tile << " " << overlap;
  }
  EXPECT_THROW(tile_spans(300, 128, 64, 16), OptionError);
  EXPECT_THROW(tile_spans(100, 128, 64, 1), OptionError);
  EXPECT_THROW(tile_spans(300, 128, 65, 1), OptionError);
}

TEST(Tiles, PaddingIsTheMirrorImage) {
  const std::vector<float> row = {1, 2, 3};
  EXPECT_EQ(padded(row, {1, 3}, {1, 8}), (std::vector<float>{1, 2, 3, 2, 1, 2, 3, 2}));
  EXPECT_EQ(padded(row, {3, 1}, {5, 2}), (std::vector<float>{1, 1, 2, 2, 3, 3, 2, 2, 1, 1}));
  EXPECT_EQ(padded(std::vector<float>{7, 8, 9}, {1, 1}, {2, 2}), (std::vector<float>{7, 7, 7, 7, 8, 8, 8, 8, 9, 9, 9, 9}));
  EXPECT_THROW(padded(row, {1, 2}, {2, 2}), ShapeError);
}

void expect_no_seam(const Device& device, Size2d extent, Size2d tile) {
  const std::vector<float> planes = picture(extent);
  PhotoDenoiser whole(device), tiled(device, {.tile = 256});
  ASSERT_EQ(tiled.tile_for(extent), tile);
  std::int64_t tiles = 0;
  const std::vector<float> a = whole(planes, extent), b = tiled(planes, extent, [&](std::int64_t done, std::int64_t all) {
                                                        EXPECT_EQ(done, ++tiles);
                                                        EXPECT_EQ(all, 2);
                                                      });
  EXPECT_EQ(tiles, 2);
  EXPECT_EQ(tiled.captures(), 1u);
  float worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  EXPECT_LT(worst * 255, 0.5f) << "in levels of 255";
}
TEST(PhotoDenoiser, TilesShowNoSeam) {
  expect_no_seam(Device::reference(), {60, 380}, {64, 256});
  expect_no_seam(Device::reference(), {300, 90}, {256, 96});
}
TEST(PhotoDenoiser, TilesShowNoSeamOnTheGpu) {
  FRIEZE_NEEDS_GPU();
  expect_no_seam(Device::cuda(), {60, 380}, {64, 256});
  expect_no_seam(Device::cuda(), {300, 90}, {256, 96});
}

TEST(PhotoDenoiser, TilesShrinkToTheMemoryThereIs) {
  const Size2d extent{3000, 4000};
  const PhotoDenoiser free_choice(Device::reference(), {.tile = 1024});
  EXPECT_EQ(free_choice.tile_for(extent), (Size2d{1024, 1024}));
  const std::int64_t half = free_choice.planned_bytes({512, 512});
  EXPECT_LT(half, free_choice.planned_bytes({1024, 1024}));
  EXPECT_EQ(PhotoDenoiser(Device::reference(), {.tile = 1024, .max_memory = half}).tile_for(extent), (Size2d{512, 512}));
  EXPECT_EQ(PhotoDenoiser(Device::reference(), {.tile = 1024, .max_memory = half - 1}).tile_for(extent), (Size2d{256, 256}));
  EXPECT_THROW(PhotoDenoiser(Device::reference(), {.max_memory = 1 << 20}).tile_for(extent), OptionError);
  EXPECT_THROW(PhotoDenoiser(Device::reference(), {.tile = 100}), OptionError);
}

TEST(PhotoDenoiser, RemovesNoMoreThanItIsAllowedTo) {
  const std::vector<float> noisy = {0.5f, 0.5f, 0.2f, 0.2f};
  std::vector<float> denoised = {0.6f, 0.4f, 0.3f, 0.1f};  // 0.1 was removed at each
  limit_removed(noisy, denoised, 0.2);
  EXPECT_EQ(denoised, (std::vector<float>{0.6f, 0.4f, 0.3f, 0.1f}));
  limit_removed(noisy, denoised, 0.025);
  const float expected[] = {0.525f, 0.475f, 0.225f, 0.175f};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(denoised[i], expected[i], 1e-6f);
  limit_removed(noisy, denoised, 0);
  EXPECT_EQ(denoised, noisy);
  std::vector<float> other(3);
  EXPECT_THROW(limit_removed(noisy, other, 1), ShapeError);
  // Two planes of two pixels, of which the second one does not count.
  std::vector<float> weighted{0.9f, 0.5f, 0.7f, 0.5f};
  const std::vector<float> before{0.5f, 0.5f, 0.5f, 0.5f}, first_only{1, 0};
  limit_removed(before, weighted, std::sqrt(0.1) / 2, first_only);
  EXPECT_NEAR(weighted[0], 0.7f, 1e-6);
  EXPECT_NEAR(weighted[2], 0.6f, 1e-6);
  EXPECT_THROW(limit_removed(before, weighted, 1, std::vector<float>(3)), ShapeError);
}

TEST(PhotoDenoiser, TakesPicturesOfAnySize) {
  PhotoDenoiser denoiser(Device::reference());
  for (const Size2d extent : {Size2d{1, 1}, {1, 40}, {17, 3}}) {
    const std::vector<float> planes(static_cast<std::size_t>(3 * extent.h * extent.w), 0.5f);
    const std::vector<float> y = denoiser(planes, extent);
    ASSERT_EQ(y.size(), planes.size());
    for (const float v : y) EXPECT_NEAR(v, 0.5f, 0.02f) << extent.h << "x" << extent.w;
  }
  EXPECT_THROW(denoiser(std::vector<float>(5), {1, 2}), ShapeError);
}

}  // namespace
}  // namespace frieze
