// PixelShuffle, PixelUnshuffle and Upsample: copies between views of six axes. Those of 2, 4 and 16 streams with whole packs are
// woven in registers, all others go by packs or single elements; both are exact in every bit.
#include <frieze/layers/pixel_shuffle/pixel_shuffle.h>

#include <gtest/gtest.h>

#include <frieze/layers/upsample/upsample.h>
#include "support/parity_grid.h"

namespace frieze {
namespace {

using test::expect_parity;
using test::ParityCase;

// Sizes of the low-resolution side: whole packs of pixels (nchw weaves), and odd ones.
constexpr std::int64_t kSizes[][2] = {{1, 1}, {3, 5}, {5, 16}, {2, 24}};

void shuffle_and_back(std::int64_t factor, std::int64_t channels, std::int64_t n, const ParityCase& like) {
  for (const auto& [h, w] : kSizes) {
    ParityCase c = like;
    c.inputs = {{n, channels * factor * factor, h, w}};
    expect_parity(PixelShuffle(factor), c);
    c.inputs = {{n, channels, h * factor, w * factor}};
    expect_parity(PixelUnshuffle(factor), c);
  }
}

TEST(PixelShuffleGpu, FactorsChannelsAndFormats) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    const ParityCase like{.inputs = {}, .dtype = t, .format = format};
    for (const std::int64_t channels : {1, 3, 31, 32, 33, 64, 96}) {
      for (const std::int64_t factor : {1, 2, 3, 4}) shuffle_and_back(factor, channels, 1, like);
    }
    for (const std::int64_t channels : {384, 1025}) shuffle_and_back(2, channels, 1, like);
    for (const std::int64_t factor : {2, 4, 8, 16}) shuffle_and_back(factor, 2, 7, like);
  });
}

TEST(PixelShuffleGpu, PlacementsAndFills) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const std::int64_t factor : {2, 3, 4}) {
      for (const std::int64_t channels : {3, 16}) {
        const PixelShuffle shuffle(factor);
        const PixelUnshuffle unshuffle(factor);
        ParityCase wide{.inputs = {{2, channels * factor * factor, 3, 16}}, .dtype = t, .format = format};
        ParityCase fine{.inputs = {{2, channels, 3 * factor, 16 * factor}}, .dtype = t, .format = format};
        test::each_placement(wide, {.strided = true}, [&](const ParityCase& c) { expect_parity(shuffle, c); });
        test::each_placement(fine, {.strided = true}, [&](const ParityCase& c) { expect_parity(unshuffle, c); });
        for (const test::Fill fill : test::kFills) {
          wide.fill = fine.fill = fill;
          expect_parity(shuffle, wide);
          expect_parity(unshuffle, fine);
        }
      }
    }
  });
}

TEST(UpsampleGpu, FactorsChannelsAndFormats) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const auto& [h, w] : kSizes) {
      for (const std::int64_t channels : test::kChannels) {
        expect_parity(Upsample(2), {.inputs = {{1, channels, h, w}}, .dtype = t, .format = format});
      }
      for (const std::int64_t factor : {1, 3, 4, 5, 16}) {
        expect_parity(Upsample(factor), {.inputs = {{7, 3, h, w}}, .dtype = t, .format = format});
        expect_parity(Upsample(factor), {.inputs = {{1, 32, h, w}}, .dtype = t, .format = format});
      }
    }
  });
}

TEST(UpsampleGpu, PlacementsAndFills) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const std::int64_t factor : {2, 3, 4}) {
      for (const std::int64_t channels : {3, 16}) {
        const Upsample upsample(factor);
        ParityCase c{.inputs = {{2, channels, 3, 16}}, .dtype = t, .format = format};
        test::each_placement(c, {.strided = true}, [&](const ParityCase& placed) { expect_parity(upsample, placed); });
        for (const test::Fill fill : test::kFills) {
          c.fill = fill;
          expect_parity(upsample, c);
        }
      }
    }
  });
}

}  // namespace
}  // namespace frieze
