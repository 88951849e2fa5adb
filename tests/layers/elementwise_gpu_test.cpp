#include <frieze/layers/elementwise/elementwise.h>

#include <gtest/gtest.h>

#include "support/parity_grid.h"

namespace frieze {
namespace {

using test::expect_parity;
using test::ParityCase;

TEST(ElementwiseGpu, ChannelsAndFormats) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const std::int64_t c : test::kChannels) {
      for (const Shape& x : test::images(c)) {
        expect_parity(Add(), {.inputs = {x, x}, .dtype = t, .format = format});
        expect_parity(Mul(), {.inputs = {x, x}, .dtype = t, .format = format});
        expect_parity(Scale(-1.7F), {.inputs = {x}, .dtype = t, .format = format});
      }
    }
  });
}

// Each extent repeated alone and with others, on either side; whole packs and odd extents.
TEST(ElementwiseGpu, Broadcasting) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const Shape& full : {Shape{3, 33, 5, 7}, Shape{2, 32, 4, 8}}) {
      for (int repeated = 1; repeated < 16; ++repeated) {
        Shape small = full;
        for (int axis = 0; axis < 4; ++axis) {
          if ((repeated >> axis & 1) != 0) small = small.with(axis, 1);
        }
        test::each_placement({.inputs = {full, small}, .dtype = t, .format = format}, {.strided = true, .in_place = true},
                             [](const ParityCase& c) { expect_parity(Mul(), c); });
        expect_parity(Add(), {.inputs = {small, full}, .dtype = t, .format = format});
      }
      // Both sides repeat: [N,1,H,1] + [1,C,1,W].
      expect_parity(Add(), {.inputs = {full.with(1, 1).with(3, 1), full.with(0, 1).with(2, 1)}, .dtype = t, .format = format});
    }
  });
  for (const DType t : test::kTypes) {
    expect_parity(Mul(), {.inputs = {{4097}, {1}}, .dtype = t});
    expect_parity(Add(), {.inputs = {{1, 1}, {31, 33}}, .dtype = t});
  }
}

TEST(ElementwiseGpu, Placements) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const Shape& x : {Shape{2, 33, 5, 7}, Shape{1, 32, 3, 16}}) {
      const test::Placements all{.strided = true, .in_place = true};
      test::each_placement({.inputs = {x, x}, .dtype = t, .format = format}, all, [](const ParityCase& c) { expect_parity(Add(), c); });
      test::each_placement({.inputs = {x}, .dtype = t, .format = format}, all, [](const ParityCase& c) { expect_parity(Scale(0.3F), c); });
    }
  });
}

TEST(ElementwiseGpu, SpecialValues) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    for (const test::Fill fill : test::kFills) {
      for (const Shape& x : {Shape{2, 33, 5, 7}, Shape{1, 32, 3, 16}}) {
        const ParityCase c{.inputs = {x, x}, .dtype = t, .fill = fill};
        expect_parity(Add(), c);
        expect_parity(Mul(), c);
        for (const float factor : {0.0F, 3.0F, 1e-6F, 1e30F}) expect_parity(Scale(factor), {.inputs = {x}, .dtype = t, .fill = fill});
      }
    }
  }
}

}  // namespace
}  // namespace frieze
