// Concat and Slice: strided copies of channel ranges, exact in every bit.
#include <frieze/layers/concat/concat.h>

#include <gtest/gtest.h>

#include <frieze/layers/slice/slice.h>
#include "support/parity_grid.h"

namespace frieze {
namespace {

using test::expect_parity;
using test::ParityCase;

// Ranges that begin on a pack, and ranges that begin between two.
const std::vector<std::vector<std::int64_t>> kParts{{1}, {1, 1}, {32, 64}, {33, 31}, {3, 1, 2, 5}, {8, 8, 16}, {1025, 384}, {96, 3, 1, 31}};

TEST(ConcatGpu, ChannelsAndFormats) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const auto& parts : kParts) {
      for (const Shape& like : test::images(1)) {
        ParityCase c{.inputs = {}, .dtype = t, .format = format};
        for (const std::int64_t channels : parts) c.inputs.push_back(like.with(1, channels));
        expect_parity(Concat(), c);
      }
    }
  });
}

TEST(ConcatGpu, PlacementsAndFills) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const auto& parts : {std::vector<std::int64_t>{16, 32}, {3, 5, 1}}) {
      ParityCase c{.inputs = {}, .dtype = t, .format = format};
      for (const std::int64_t channels : parts) c.inputs.push_back({2, channels, 4, 8});
      test::each_placement(c, {.strided = true}, [](const ParityCase& placed) { expect_parity(Concat(), placed); });
      for (const test::Fill fill : test::kFills) {
        c.fill = fill;
        expect_parity(Concat(), c);
      }
    }
  });
}

TEST(ConcatGpu, OtherRanks) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    expect_parity(Concat(), {.inputs = {{7, 33}, {7, 31}}, .dtype = t});
    expect_parity(Concat(), {.inputs = {{2, 8, 5}, {2, 3, 5}}, .dtype = t});
    expect_parity(Concat(), {.inputs = {{2, 1, 3, 5, 2, 2, 1, 3}, {2, 4, 3, 5, 2, 2, 1, 3}}, .dtype = t});
  }
}

TEST(SliceGpu, RangesAndFormats) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const std::int64_t channels : test::kChannels) {
      for (const Shape& x : test::images(channels)) {
        expect_parity(Slice(0, channels), {.inputs = {x}, .dtype = t, .format = format});
        expect_parity(Slice(channels - 1, channels), {.inputs = {x}, .dtype = t, .format = format});
        expect_parity(Slice(channels / 3, channels / 3 + (channels + 1) / 2), {.inputs = {x}, .dtype = t, .format = format});
        if (channels % 32 == 0) expect_parity(Slice(channels / 2, channels), {.inputs = {x}, .dtype = t, .format = format});
      }
    }
  });
}

TEST(SliceGpu, PlacementsFillsAndRanks) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const Slice& slice : {Slice(16, 32), Slice(5, 12)}) {
      ParityCase c{.inputs = {{2, 40, 4, 8}}, .dtype = t, .format = format};
      test::each_placement(c, {.strided = true}, [&](const ParityCase& placed) { expect_parity(slice, placed); });
      for (const test::Fill fill : test::kFills) {
        c.fill = fill;
        expect_parity(slice, c);
      }
    }
    expect_parity(Slice(3, 8), {.inputs = {{5, 33}}, .dtype = t, .format = format});
    expect_parity(Slice(1, 2), {.inputs = {{2, 3, 5, 2, 2}}, .dtype = t, .format = format});
  });
}

}  // namespace
}  // namespace frieze
