#include <frieze/layers/pool/pool.h>

#include <gtest/gtest.h>

#include <string>

#include "support/parity_grid.h"

namespace frieze {
namespace {

using test::expect_parity;
using test::Fill;
using test::ParityCase;

// Runs one case and expects the kernel's line to hold `path`.
void run(const ParityCase& c, const std::string& path, bool keep_dims = false) {
  const test::ParityReport report = expect_parity(GlobalAvgPool(keep_dims), c);
  EXPECT_NE(report.describe.find(path), std::string::npos) << "ran: " << report.describe << "\nnot: " << path;
}

TEST(PoolGpu, ChannelsAndFormats) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const std::int64_t channels : test::kChannels) {
      for (const Shape& x : test::images(channels)) {
        for (const bool keep_dims : {false, true}) run({.inputs = {x}, .dtype = t, .format = format}, "", keep_dims);
      }
    }
  });
}

// Every kernel, with one range of pixels and with several, whose partial sums go through the workspace. On a device of up to 160
// SMs; rows of odd length, and of whole packs.
TEST(PoolGpu, Paths) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    for (const Fill fill : {Fill::normal, Fill::constant}) {
      const auto image = [&](const Shape& x, Format f) { return ParityCase{.inputs = {x}, .dtype = t, .format = f, .fill = fill}; };
      run(image({2, 33, 5, 7}, Format::nchw), "nchw, a warp per row, 1 range");
      run(image({1, 700, 41, 43}, Format::nchw), "nchw, a block per row, 1 range");
      run(image({1, 3, 161, 163}, Format::nchw), "nchw, a block per row, ");
      run(image({1, 3, 160, 168}, Format::nchw), "ranges of pixels");
      run(image({1, 3, 161, 163}, Format::nchw), "ranges of pixels");
      run(image({7, 33, 3, 1}, Format::nhwc), "nhwc, a block per channel tile, 1 range");
      run(image({1, 64, 4, 8}, Format::nhwc), "nhwc, a block per channel tile");
      run(image({1, 96, 61, 63}, Format::nhwc), "ranges of pixels");
      run(image({1, 33, 61, 63}, Format::nhwc), "ranges of pixels");
      run(image({2, 1025, 33, 35}, Format::nhwc), "nhwc, a block per channel tile");
    }
  }
}

TEST(PoolGpu, MisalignedTensors) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const Shape& x : {Shape{2, 33, 5, 7}, Shape{2, 32, 4, 8}, Shape{1, 8, 80, 80}}) {
      test::each_placement({.inputs = {x}, .dtype = t, .format = format}, {}, [](const ParityCase& c) { run(c, ""); });
    }
  });
}

TEST(PoolGpu, SpecialValues) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const Fill fill : test::kFills) {
      // Sums of the largest f32 and bf16 overflow in f32, by contract; those of f16 do not.
      if (fill == Fill::huge && t != DType::f16) continue;
      for (const Shape& x : {Shape{2, 33, 5, 7}, Shape{2, 32, 4, 8}, Shape{1, 8, 81, 80}}) {
        run({.inputs = {x}, .dtype = t, .format = format, .fill = fill}, "");
      }
    }
  });
}

}  // namespace
}  // namespace frieze
