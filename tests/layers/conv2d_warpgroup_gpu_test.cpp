// Conv2d by warp-group products (sm_90a) against the reference. Each case has tiles enough for the path to be the default on up to 144
// multiprocessors, and each expects its name.
#include <frieze/layers/conv2d/conv2d.h>

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/environment.h"
#include "support/parity_grid.h"

#if FRIEZE_WITH_CUDA
#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/conv2d/cuda/conv2d_kernels.h>
#endif

namespace frieze {
namespace {

using test::act;
using test::expect_parity;
using test::Fill;
using test::kAdd;
using test::kHalves;
using test::ParityCase;
using test::ParityReport;

bool has_warp_groups() {
#if FRIEZE_WITH_CUDA
  return cuda::device_info(0).compute_capability == 90;
#else
  return false;
#endif
}

#define FRIEZE_NEEDS_WARP_GROUPS() \
  FRIEZE_NEEDS_GPU();              \
  if (!has_warp_groups()) GTEST_SKIP() << "needs a GPU of compute capability 9.0"

class Conv2dWarpgroupGpu : public ::testing::Test {
 protected:
  static void run(std::int64_t in, std::int64_t out, Size2d kernel, const Conv2dOptions& options, const ParityCase& c,
                  const std::string& path = "own warp-group products") {
    Conv2d conv(in, out, kernel, options);
    init_random(conv, 11);
    const ParityReport report = expect_parity(conv, c);
    EXPECT_NE(report.describe.find(path), std::string::npos)
        << "ran: " << report.describe << "\nnot: " << path << "\nfor: " << conv.describe();
  }
  static ParityCase image(const Shape& shape, DType dtype, const std::vector<EpilogueOp>& chain = {}) {
    return {.inputs = {shape}, .dtype = dtype, .format = Format::nhwc, .epilogue = chain};
  }

 private:
  test::Environment no_cudnn_{"FRIEZE_CUDNN", "off"};
};

#if FRIEZE_WITH_CUDA
// wgmma is sm_90a's alone: newer GPUs do not run it. Its shared memory is held against 227 KiB when it is compiled.
TEST(Conv2dWarpgroup, OnlyForComputeCapability90) {
  cuda::ConvGeometry g;
  g.n = 1, g.in_c = g.out_c = 128, g.in_h = g.in_w = g.out_h = g.out_w = 256, g.pixels = 256 * 256;
  g.kernel_h = g.kernel_w = 3, g.pad_h = g.pad_w = 1;
  const bool built = cuda::takes_warpgroup_conv(DType::bf16, g, 90);
  for (const int capability : {80, 86, 89, 100, 120}) EXPECT_FALSE(cuda::takes_warpgroup_conv(DType::bf16, g, capability)) << capability;
  if (!built) GTEST_SKIP() << "this build has no code for sm_90a";
  EXPECT_FALSE(cuda::takes_warpgroup_conv(DType::f32, g, 90));
  for (int cuda::ConvGeometry::*field : {&cuda::ConvGeometry::stride_w, &cuda::ConvGeometry::dilation_h, &cuda::ConvGeometry::groups}) {
    cuda::ConvGeometry other = g;
    other.*field = 2;
    EXPECT_FALSE(cuda::takes_warpgroup_conv(DType::bf16, other, 90));
  }
  for (int cuda::ConvGeometry::*field : {&cuda::ConvGeometry::in_c, &cuda::ConvGeometry::out_c}) {
    cuda::ConvGeometry other = g;
    other.*field = 124;
    EXPECT_FALSE(cuda::takes_warpgroup_conv(DType::bf16, other, 90)) << "a tensor copy's rows are multiples of 16 bytes";
  }
}
#endif

// Images smaller than a tile, tiles cut off on both axes, several images.
TEST_F(Conv2dWarpgroupGpu, Images) {
  FRIEZE_NEEDS_WARP_GROUPS();
  for (const DType t : kHalves) {
    run(64, 128, 3, {.padding = 1}, image({72, 64, 5, 3}, t));
    run(64, 128, 3, {.padding = 1}, image({72, 64, 1, 1}, t));
    run(64, 128, 3, {.padding = 1}, image({1, 64, 137, 131}, t));
    run(64, 128, 3, {.padding = 1}, image({3, 64, 97, 65}, t));
    run(64, 128, 3, {.padding = 1}, image({1, 64, 3, 601}, t));
    run(64, 128, 3, {.padding = 1}, image({1, 64, 2303, 5}, t));
  }
}

// Channels that chunks of 64 of the input and groups of 128 of the output do not divide.
TEST_F(Conv2dWarpgroupGpu, Channels) {
  FRIEZE_NEEDS_WARP_GROUPS();
  for (const DType t : kHalves) {
    for (const std::int64_t in : {48, 56, 72, 128, 192, 264}) run(in, 128, 3, {.padding = 1}, image({9, in, 63, 31}, t));
    for (const std::int64_t out : {96, 104, 136, 200, 256, 392}) run(64, out, 3, {.padding = 1}, image({9, 64, 63, 31}, t));
    run(136, 264, 3, {.padding = 1, .bias = false}, image({6, 136, 33, 25}, t));
  }
}

TEST_F(Conv2dWarpgroupGpu, KernelsAndPaddings) {
  FRIEZE_NEEDS_WARP_GROUPS();
  for (const DType t : kHalves) {
    for (const int size : {2, 3}) {
      for (const Size2d& padding : {Size2d{0, 0}, Size2d{1, 1}, Size2d{0, 2}, Size2d{5, 3}}) {
        run(64, 128, size, {.padding = padding}, image({9, 64, 63, 31}, t));
        run(72, 136, size, {.padding = padding}, image({40, 72, 9, 7}, t));
      }
    }
  }
}

TEST_F(Conv2dWarpgroupGpu, Activations) {
  FRIEZE_NEEDS_WARP_GROUPS();
  for (const DType t : kHalves) {
    for (const Activation f : {Activation::silu, Activation::relu}) {
      run(64, 128, 3, {.padding = 1}, image({9, 64, 63, 31}, t, {act(f)}));
      run(72, 136, 2, {.padding = 1, .bias = false}, image({40, 72, 9, 7}, t, {act(f)}));
    }
    // What the path does not absorb goes to others.
    run(64, 128, 3, {.padding = 1}, image({9, 64, 63, 31}, t, {kAdd}), "implicit GEMM");
    run(64, 128, 3, {.padding = 1}, image({9, 64, 63, 31}, t, {act(Activation::gelu)}), "implicit GEMM");
  }
}

TEST_F(Conv2dWarpgroupGpu, SpecialValues) {
  FRIEZE_NEEDS_WARP_GROUPS();
  for (const DType t : kHalves) {
    for (const Fill fill : {Fill::special, Fill::zeros, Fill::one_hot, Fill::constant, Fill::subnormal, Fill::mixed}) {
      for (const auto& chain : {std::vector<EpilogueOp>{}, {act(Activation::relu)}, {act(Activation::silu)}}) {
        ParityCase c = image({9, 72, 63, 31}, t, chain);
        c.fill = fill;
        run(72, 136, 3, {.padding = 1}, c);
      }
    }
  }
  ParityCase c = image({9, 64, 63, 31}, DType::f16);
  c.fill = Fill::huge;
  run(64, 128, 3, {.padding = 1}, c);
}

TEST_F(Conv2dWarpgroupGpu, Misaligned) {
  FRIEZE_NEEDS_WARP_GROUPS();
  for (const DType t : kHalves) {
    ParityCase c = image({72, 64, 5, 3}, t, {act(Activation::silu)});
    c.misalign = 1;
    run(64, 128, 3, {.padding = 1}, c);
  }
}

TEST_F(Conv2dWarpgroupGpu, IsAmongTheTuned) {
  FRIEZE_NEEDS_WARP_GROUPS();
  for (const DType t : kHalves) {
    ParityCase c = image({1, 128, 257, 251}, t, {act(Activation::silu)});
    c.tune = true;
    run(128, 128, 3, {.padding = 1}, c, "warp-group products, tiles of 8x32 pixels x 128 channels (fastest of");
  }
}

}  // namespace
}  // namespace frieze
