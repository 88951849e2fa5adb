#include <frieze/layers/softmax/softmax.h>

#include <gtest/gtest.h>

#include <string>

#include "support/parity_grid.h"

namespace frieze {
namespace {

using test::expect_parity;
using test::ParityCase;

// Runs one case and expects the kernel's line to hold `path`.
void run(int axis, const ParityCase& c, const std::string& path) {
  const test::ParityReport report = expect_parity(Softmax(axis), c);
  EXPECT_NE(report.describe.find(path), std::string::npos) << "ran: " << report.describe << "\nnot: " << path;
}

TEST(SoftmaxGpu, EveryAxisAndFormat) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const std::int64_t channels : test::kChannels) {
      for (const Shape& x : test::images(channels)) {
        for (int axis = 0; axis < 4; ++axis) run(axis, {.inputs = {x}, .dtype = t, .format = format}, "");
      }
    }
  });
}

// Lines of odd length and of whole packs, around the border between a warp and a block; strided lines in odd and whole tiles.
TEST(SoftmaxGpu, Paths) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    for (const std::int64_t length : {1, 7, 64, 1025, 2047, 2048}) run(-1, {.inputs = {{5, length}}, .dtype = t}, "a warp per line");
    for (const std::int64_t length : {2049, 4096, 10007}) run(-1, {.inputs = {{5, length}}, .dtype = t}, "a block per line");
    for (const std::int64_t channels : {1, 2, 33, 64, 1025}) {
      run(1, {.inputs = {{2, channels, 5, 7}}, .dtype = t}, "a block per tile of lines");
      run(1, {.inputs = {{2, channels, 4, 64}}, .dtype = t}, "a block per tile of lines");
      run(1, {.inputs = {{2, channels, 4, 8}}, .dtype = t, .format = Format::nhwc}, "a warp per line");
    }
    run(1, {.inputs = {{1, 4100, 2, 3}}, .dtype = t, .format = Format::nhwc}, "a block per line");
    run(2, {.inputs = {{2, 3, 130, 5}}, .dtype = t, .format = Format::nhwc}, "a block per tile of lines");
    run(0, {.inputs = {{4099}}, .dtype = t}, "a block per line");
  }
}

TEST(SoftmaxGpu, Placements) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    for (const Shape& x : {Shape{2, 32, 4, 8}, Shape{1, 33, 5, 7}, Shape{1, 2, 2, 2056}}) {
      for (const int axis : {1, 3}) {
        test::each_placement({.inputs = {x}, .dtype = t}, {.in_place = true}, [&](const ParityCase& c) { run(axis, c, ""); });
      }
    }
  }
}

// Lines with an infinity or a NaN; lines of -Inf alone; the largest values, whose differences overflow.
TEST(SoftmaxGpu, SpecialValues) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    for (const test::Fill fill : test::kFills) {
      for (const Shape& x : {Shape{7, 33, 5, 3}, Shape{2, 8, 4, 16}, Shape{2, 2, 3, 2064}}) {
        for (const int axis : {1, 3}) run(axis, {.inputs = {x}, .dtype = t, .fill = fill}, "");
      }
    }
  }
}

}  // namespace
}  // namespace frieze
