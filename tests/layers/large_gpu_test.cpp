// Index arithmetic past 2^31 elements: every kernel that can meet such a tensor, 4 to 9 GB of device memory each.
#include <gtest/gtest.h>

#include <frieze/graph/reformat.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/concat/concat.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/elementwise/elementwise.h>
#include <frieze/layers/pixel_shuffle/pixel_shuffle.h>
#include <frieze/layers/pool/pool.h>
#include <frieze/layers/slice/slice.h>
#include <frieze/layers/softmax/softmax.h>
#include <frieze/layers/upsample/upsample.h>
#include "support/environment.h"
#include "support/large_tensor.h"

namespace frieze {
namespace {

using test::expect_large;

const Shape kThree{1, 3, 26755, 26755};  // planes of 2^29.4, an odd number of elements
const Shape kWhole{1, 3, 26760, 26760};  // the same in whole packs
const Shape kMany{1, 64, 5793, 5793};    // 64 channels, as nhwc has them
const Shape kBatch{7, 33, 3049, 3051};   // 7 images that end off every alignment

void expect_past_2_31(const Shape& shape) {
  ASSERT_GT(shape.elements(), test::kTwoTo31) << shape;
  ASSERT_LT(shape.elements(), test::kTwoTo31 + (test::kTwoTo31 >> 8)) << shape << " takes more memory than it need";
}

TEST(LargeGpu, ShapesAreJustPast2To31) {
  for (const Shape& shape : {kThree, kWhole, kMany, kBatch}) expect_past_2_31(shape);
  EXPECT_EQ(kThree.elements() % 2, 1);
  EXPECT_EQ(kWhole.w() % 8, 0);
}

TEST(LargeGpu, Activation) {
  FRIEZE_NEEDS_GPU();
  expect_large(SiLU(), {.inputs = {kThree}});
  expect_large(ReLU(), {.inputs = {kBatch}, .dtype = DType::bf16, .format = Format::nhwc});
}

TEST(LargeGpu, AddAndMul) {
  FRIEZE_NEEDS_GPU();
  expect_large(Add(), {.inputs = {kThree, kThree}});
  expect_large(Mul(), {.inputs = {kBatch, kBatch.with(1, 1)}, .dtype = DType::bf16});
  expect_large(Mul(), {.inputs = {kMany, kMany.with(1, 1)}, .format = Format::nhwc});
}

TEST(LargeGpu, Softmax) {
  FRIEZE_NEEDS_GPU();
  expect_large(Softmax(3), {.inputs = {kThree}}, "a block per line");
  expect_large(Softmax(1), {.inputs = {kBatch}}, "a block per tile of lines");
  expect_large(Softmax(1), {.inputs = {kMany}, .format = Format::nhwc}, "a warp per line");
}

TEST(LargeGpu, GlobalAvgPool) {
  FRIEZE_NEEDS_GPU();
  test::expect_large_means(GlobalAvgPool(), {.inputs = {kThree}}, "nchw, a block per row");
  test::expect_large_means(GlobalAvgPool(), {.inputs = {kWhole}}, "nchw, a block per row");
  test::expect_large_means(GlobalAvgPool(), {.inputs = {kMany}, .format = Format::nhwc}, "nhwc, a block per channel tile");
}

TEST(LargeGpu, PixelShuffle) {
  FRIEZE_NEEDS_GPU();
  const Shape odd{1, 12, 13379, 13379}, whole{1, 12, 13384, 13384}, nhwc{1, 64, 5800, 5800};
  for (const Shape& shape : {odd, whole, nhwc}) expect_past_2_31(shape);
  expect_large(PixelShuffle(2), {.inputs = {odd}});
  expect_large(PixelShuffle(2), {.inputs = {whole}});
  expect_large(PixelShuffle(2), {.inputs = {nhwc}, .format = Format::nhwc});
  expect_large(PixelUnshuffle(2), {.inputs = {kWhole}});
  expect_large(PixelUnshuffle(2), {.inputs = {nhwc}, .format = Format::nhwc});
}

TEST(LargeGpu, Upsample) {
  FRIEZE_NEEDS_GPU();
  expect_large(Upsample(2), {.inputs = {{1, 3, 13379, 13379}}});
  expect_large(Upsample(2), {.inputs = {{1, 3, 13384, 13384}}});
  expect_large(Upsample(2), {.inputs = {{1, 64, 2900, 2900}}, .format = Format::nhwc});
}

TEST(LargeGpu, ConcatAndSlice) {
  FRIEZE_NEEDS_GPU();
  for (const Format f : {Format::nchw, Format::nhwc}) {
    expect_large(Concat(), {.inputs = {kMany.with(1, 31), kMany.with(1, 33)}, .format = f});
    expect_large(Slice(57, 64), {.inputs = {kMany}, .format = f});
  }
}

TEST(LargeGpu, Reformat) {
  FRIEZE_NEEDS_GPU();
  for (const Format f : {Format::nchw, Format::nhwc}) {
    expect_large(Reformat(), {.inputs = {kThree}, .format = f}, "thread per pixel");
    expect_large(Reformat(), {.inputs = {kBatch}, .format = f}, "32x32 tiles");
  }
}

void expect_large_conv(std::int64_t out, Size2d kernel, const Conv2dOptions& options, const test::LargeCase& c, const std::string& path) {
  Conv2d conv(c.inputs[0].c(), out, kernel, options);
  init_random(conv, 3);
  expect_large(conv, c, path);
}

TEST(LargeGpu, Conv2d) {
  FRIEZE_NEEDS_GPU();
  const test::Environment no_cudnn("FRIEZE_CUDNN", "off");
  const test::LargeCase nhwc{.inputs = {kMany}, .format = Format::nhwc, .halo = 2};
  expect_large_conv(64, 1, {}, nhwc, "1x1 as GEMM");
  expect_large_conv(64, 3, {.padding = 1}, nhwc, "implicit GEMM");
  expect_large_conv(64, 3, {.padding = 1, .groups = 64}, nhwc, "depthwise 3x3");
  expect_large_conv(64, 5, {.padding = 2, .groups = 64}, {.inputs = {kMany}, .dtype = DType::bf16, .format = Format::nhwc, .halo = 2},
                    "depthwise 5x5");
  expect_large_conv(64, 3, {.padding = 1, .groups = 32}, nhwc, "direct");
  expect_large_conv(3, 3, {.padding = 1}, {.inputs = {kThree}, .halo = 1}, "direct");
}

}  // namespace
}  // namespace frieze
