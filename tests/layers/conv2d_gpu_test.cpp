// Conv2d's kernels against the reference. Every path that prepare() can choose is reached here, by a test that asks the kernel for
// its name.
#include <frieze/layers/conv2d/conv2d.h>

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/environment.h"
#include "support/parity_grid.h"

namespace frieze {
namespace {

using test::act;
using test::expect_parity;
using test::Fill;
using test::kAdd;
using test::kFormats;
using test::kHalves;
using test::kMul;
using test::kTypes;
using test::ParityCase;
using test::ParityReport;

// Runs one case and expects its kernel's line to hold `path`.
ParityReport run(std::int64_t in, std::int64_t out, Size2d kernel, const Conv2dOptions& options, const ParityCase& c,
                 const std::string& path) {
  Conv2d conv(in, out, kernel, options);
  init_random(conv, 11);
  ParityReport report = expect_parity(conv, c);
  EXPECT_NE(report.describe.find(path), std::string::npos)
      << "ran: " << report.describe << "\nnot: " << path << "\nfor: " << conv.describe();
  return report;
}

ParityCase image(const Shape& shape, DType dtype, Format format = Format::nhwc) {
  return {.inputs = {shape}, .dtype = dtype, .format = format};
}

// Without cuDNN, which has tests of its own, and without what earlier runs found fastest.
class Conv2dGpu : public ::testing::Test {
  test::Environment no_cudnn_{"FRIEZE_CUDNN", "off"};
};

const std::vector<std::vector<EpilogueOp>> kChains{
    {act(Activation::relu)},
    {act(Activation::gelu_tanh)},
    {act(Activation::gelu)},
    {act(Activation::silu)},
    {act(Activation::sigmoid)},
    {kAdd},
    {kMul},
    {kAdd, act(Activation::relu)},
    {kAdd, act(Activation::gelu_tanh)},
    {act(Activation::relu), kAdd},
    {act(Activation::silu), kMul},
    {kAdd, act(Activation::silu), kMul, kAdd},
};

TEST_F(Conv2dGpu, PointwiseChannels) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const std::int64_t c : {1, 3, 31, 32, 33, 64, 96, 384, 1025}) {
      run(c, c, 1, {}, image({2, c, 5, 7}, t), "1x1 as GEMM");
      run(c, 40, 1, {.bias = false}, image({1, c, 1, 1}, t), "1x1 as GEMM");
      run(24, c, 1, {}, image({7, 24, 3, 3}, t), "1x1 as GEMM");
    }
    run(16, 8, 1, {}, image({1, 16, 1, 1}, t, Format::nchw), "1x1 as GEMM");  // the same memory in both formats
    run(16, 8, 1, {}, image({1, 16, 3, 5}, t, Format::nchw), "direct");
  }
}

TEST_F(Conv2dGpu, ThreeByThreeChannels) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const std::int64_t c : {1, 3, 31, 32, 33, 64, 96, 384, 1025}) {
      // Long sums over few pixels go to cuBLASLt, which can split them.
      const std::string path = t == DType::f32 || 9 * c >= 2048 ? "columns and GEMM" : "implicit GEMM";
      run(c, 33, 3, {.padding = 1}, image({1, c, 7, 5}, t), path);
      run(c, 64, 3, {.padding = 1, .bias = false}, image({2, c, 1, 1}, t), path);
      run(c, 20, 3, {.padding = 1}, image({1, c, 3, 5}, t, Format::nchw), "direct");
    }
    for (const std::int64_t out : {1, 3, 31, 96, 384, 1025}) {
      run(40, out, 3, {.padding = 1}, image({7, 40, 5, 3}, t), t == DType::f32 ? "columns and GEMM" : "implicit GEMM");
    }
  }
}

// Each tile, with pixels and channels that do not fill it. Sizes give up to 288 SMs a block each.
TEST_F(Conv2dGpu, ImplicitGemmTiles) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kHalves) {
    for (const std::int64_t in : {16, 5}) {
      run(in, 104, 3, {.padding = 1}, image({1, in, 193, 191}, t), "tiles of 128x128");
      run(in, 57, 3, {.padding = 1}, image({1, in, 193, 191}, t), "tiles of 128x64");
      run(in, 130, 3, {.padding = 1}, image({1, in, 9, 15}, t), "tiles of 64x64");
      run(in, 17, 3, {.padding = 1}, image({3, in, 21, 19}, t), "tiles of 128x32");
    }
    run(3, 32, 7, {.stride = 2, .padding = 3}, image({1, 3, 33, 65}, t), "channels copied to 8");
    run(64, 3, 3, {.padding = 1}, image({1, 64, 33, 31}, t), "tiles of 128x32");
  }
}

TEST_F(Conv2dGpu, KernelsStridesPaddingsDilations) {
  FRIEZE_NEEDS_GPU();
  struct Case {
    Size2d kernel;
    Conv2dOptions options;
    Shape x;
  };
  const std::vector<Case> cases{
      {3, {.stride = 2, .padding = 1}, {2, 24, 9, 8}},
      {3, {.padding = 3, .dilation = 3}, {1, 24, 11, 7}},
      {{1, 7}, {.padding = {0, 3}}, {1, 24, 4, 9}},
      {{5, 3}, {.stride = {1, 2}, .padding = {0, 4}, .dilation = {2, 1}}, {2, 24, 13, 9}},
      {2, {.stride = 2, .padding = 0}, {1, 24, 8, 6}},
      {4, {.padding = 1}, {1, 24, 5, 7}},
      {1, {.stride = 2}, {1, 24, 7, 9}},
      {1, {.padding = 2}, {1, 24, 3, 3}},
      {5, {.padding = 9}, {1, 24, 2, 3}},
      {3, {.stride = 5, .padding = 7}, {1, 24, 3, 4}},
      {3, {.padding = 0}, {1, 24, 3, 3}},
  };
  for (const DType t : kTypes) {
    for (const Case& c : cases) {
      for (const Format f : kFormats) {
        const std::string path = f == Format::nchw ? "direct" : t == DType::f32 ? "columns and GEMM" : "implicit GEMM";
        run(24, 40, c.kernel, c.options, image(c.x, t, f), path);
        run(5, 6, c.kernel, c.options, image(c.x.with(1, 5), t, f), path);
      }
    }
  }
}

TEST_F(Conv2dGpu, Depthwise) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const int k : {3, 5, 7}) {
      const std::string tiles = "own depthwise " + std::to_string(k) + "x" + std::to_string(k);
      for (const std::int64_t c : {8, 32, 64, 96, 384}) {
        const Conv2dOptions options{.padding = k / 2, .groups = static_cast<int>(c)};
        run(c, c, k, options, image({1, c, 7, 9}, t), tiles);
        run(c, c, k, options, image({2, c, 1, 1}, t), tiles);
        run(c, c, k, options, image({1, c, 5, 6}, t, Format::nchw), "direct, 4 pixels x 1 channels");
      }
      for (const std::int64_t c : {3, 31, 33, 1025}) {
        run(c, c, k, {.padding = k / 2, .groups = static_cast<int>(c)}, image({1, c, 5, 3}, t), "single pixels and channels");
      }
      run(16, 16, k, {.padding = 0, .groups = 16, .bias = false}, image({7, 16, 7, 12}, t), tiles);
      run(16, 16, k, {.padding = 8, .groups = 16}, image({1, 16, 3, 5}, t), tiles);
      if (k < 7) {  // long tiles, several along each axis, the last ones cut off; channels that chunks of a tile do not divide
        const std::string rows = ", tiles of " + std::string(t == DType::f32 ? "16x" : k == 3 ? "4x" : "8x");
        run(512, 512, k, {.padding = k / 2, .groups = 512}, image({2, 512, 40, 70}, t), tiles + rows);
        run(520, 520, k, {.padding = k / 2, .groups = 520}, image({4, 520, 34, 30}, t), tiles + rows);
      }
      run(16, 16, k, {.stride = 2, .padding = k / 2, .groups = 16}, image({1, 16, 9, 8}, t), "single pixels,");
      run(16, 16, k, {.padding = k - 1, .dilation = 2, .groups = 16}, image({1, 16, 9, 8}, t), "single pixels,");
    }
    run(16, 16, {1, 7}, {.padding = {0, 3}, .groups = 16}, image({1, 16, 3, 9}, t), "single pixels,");
    run(16, 16, 1, {.groups = 16}, image({2, 16, 3, 5}, t), "single pixels,");
  }
}

TEST_F(Conv2dGpu, Groups) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const Format f : kFormats) {
      run(32, 48, 3, {.padding = 1, .groups = 2}, image({1, 32, 5, 7}, t, f), "x 8 channels");
      run(12, 36, 3, {.stride = 2, .padding = 1, .groups = 4}, image({2, 12, 5, 7}, t, f), "x 8 channels");
      run(6, 12, 5, {.padding = 2, .groups = 6}, image({1, 6, 5, 7}, t, f), "x 4 channels");
      run(6, 3, 3, {.padding = 1, .groups = 3}, image({1, 6, 23, 29}, t, f), "x 1 channels");
    }
  }
}

TEST_F(Conv2dGpu, GroupsOf32Pointwise) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const bool bias : {false, true}) {
      run(96, 96, 1, {.groups = 3, .bias = bias}, image({2, 96, 1, 1}, t), "own grouped 1x1");
      run(96, 96, 1, {.groups = 3, .bias = bias}, image({2, 96, 23, 29}, t), t == DType::f32 ? "2 pixels a thread" : "tensor cores");
      run(96, 96, 1, {.groups = 3, .bias = bias}, image({1, 96, 5, 7}, t, Format::nchw), "direct");
    }
    run(96, 96, 1, {.stride = 2, .groups = 3}, image({1, 96, 5, 7}, t), "direct");
    run(64, 96, 1, {.groups = 2}, image({1, 64, 5, 7}, t), "direct");
    ParityCase misaligned = image({1, 96, 5, 7}, t);
    misaligned.misalign = 1;
    run(96, 96, 1, {.groups = 3}, misaligned, "own grouped 1x1");
  }
}

TEST_F(Conv2dGpu, EpiloguesOfEveryPath) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const auto& chain : kChains) {
      const auto c = [&](const Shape& shape, Format f = Format::nhwc) {
        ParityCase parity = image(shape, t, f);
        parity.epilogue = chain;
        return parity;
      };
      run(24, 40, 1, {}, c({2, 24, 5, 7}), "");               // GEMM or implicit GEMM, as the chain wants it
      run(24, 33, 1, {.bias = false}, c({2, 24, 5, 7}), "");  // rows that packs would cross
      run(24, 40, 3, {.padding = 1}, c({2, 24, 5, 7}), t == DType::f32 ? "columns" : "implicit");  // 16-byte accesses
      run(24, 33, 3, {.padding = 1}, c({2, 24, 5, 7}), t == DType::f32 ? "columns" : "implicit");  // single elements
      run(256, 40, 3, {.padding = 1}, c({1, 256, 3, 5}), "columns");
      run(16, 16, 3, {.padding = 1, .groups = 16}, c({1, 16, 5, 7}), "depthwise 3x3");
      run(16, 16, 3, {.stride = 2, .padding = 1, .groups = 16}, c({1, 16, 5, 7}), "depthwise, single pixels");
      run(16, 24, 3, {.padding = 1}, c({1, 16, 5, 7}, Format::nchw), "direct");
      run(16, 24, 3, {.padding = 1, .groups = 4}, c({1, 16, 5, 7}), "direct");
    }
  }
}

// What runs where, for 1x1: cuBLASLt's epilogue, f32 sums with an own pass, or the implicit GEMM.
TEST_F(Conv2dGpu, PointwiseEpilogueChoices) {
  FRIEZE_NEEDS_GPU();
  const auto c = [](const Shape& shape, DType t, const std::vector<EpilogueOp>& chain) {
    ParityCase parity = image(shape, t);
    parity.epilogue = chain;
    return parity;
  };
  for (const DType t : kHalves) {
    run(64, 64, 1, {}, c({1, 64, 9, 9}, t, {kAdd}), "residual");
    run(64, 64, 1, {}, c({1, 64, 9, 9}, t, {act(Activation::silu)}), "implicit GEMM");
    run(64, 1024, 1, {}, c({1, 64, 97, 95}, t, {act(Activation::silu), kAdd}), "f32 sums, own epilogue pass, 2 chunks");
  }
  run(64, 64, 1, {}, c({1, 64, 9, 9}, DType::f32, {kAdd, act(Activation::silu)}), "residual, own epilogue pass");
}

// More columns than the workspace holds: whole chunks and a smaller last one.
TEST_F(Conv2dGpu, ColumnsInChunks) {
  FRIEZE_NEEDS_GPU();
  ParityCase c = image({1, 64, 131, 129}, DType::f32);
  run(64, 16, 3, {.padding = 1}, c, "2 chunks");
  c.epilogue = {act(Activation::silu), kAdd};
  run(64, 16, 3, {.padding = 1}, c, "2 chunks");
}

TEST_F(Conv2dGpu, TunedColumnsInChunks) {
  FRIEZE_NEEDS_GPU();
  ParityCase c = image({2, 384, 81, 80}, DType::f16);
  c.epilogue = {act(Activation::silu)};
  c.tune = true;  // whatever wins
  run(384, 16, 3, {.padding = 1}, c, "fastest of");
}

TEST_F(Conv2dGpu, MisalignedTensors) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const std::int64_t elements : {1, 3}) {
      for (const auto& chain : {std::vector<EpilogueOp>{}, {kAdd, act(Activation::silu), kMul}}) {
        for (const Format f : kFormats) {
          ParityCase c = image({2, 16, 5, 7}, t, f);
          c.misalign = elements;
          c.epilogue = chain;
          run(16, 24, 1, {}, c, "");
          run(16, 24, 3, {.padding = 1}, c, "");
          run(16, 16, 3, {.padding = 1, .groups = 16}, c, "");
          run(16, 16, 5, {.stride = 2, .padding = 2, .groups = 16}, c, "");
          run(16, 24, 3, {.padding = 1, .groups = 2}, c, "direct");
          c.inputs = {{2, 5, 5, 7}};
          run(5, 7, 3, {.padding = 1}, c, "");
          c.inputs = {{1, 256, 3, 5}};
          run(256, 9, 3, {.padding = 1}, c, "");
        }
      }
    }
  }
}

// NaN and infinities reach exactly the outputs that see them, also through cuBLASLt's ReLU; zeros, subnormals and mixed sizes.
TEST_F(Conv2dGpu, SpecialValues) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const Fill fill : {Fill::special, Fill::zeros, Fill::one_hot, Fill::constant, Fill::subnormal, Fill::mixed}) {
      for (const auto& chain : {std::vector<EpilogueOp>{}, {act(Activation::relu)}, {act(Activation::gelu_tanh)}}) {
        for (const Format f : kFormats) {
          ParityCase c = image({1, 24, 9, 11}, t, f);
          c.fill = fill;
          c.epilogue = chain;
          run(24, 40, 1, {}, c, "");
          run(24, 40, 3, {.padding = 1}, c, "");
          run(24, 24, 3, {.padding = 1, .groups = 24}, c, "");
          run(24, 48, 3, {.stride = 2, .padding = 1, .groups = 3}, c, "direct");
          c.inputs = {{1, 256, 3, 3}};
          run(256, 16, 3, {.padding = 1}, c, "");
        }
      }
    }
  }
  // f16 sums of +-65504 stay finite in f32 and overflow, or do not, at the store.
  ParityCase c = image({1, 24, 9, 11}, DType::f16);
  c.fill = Fill::huge;
  run(24, 40, 3, {.padding = 1}, c, "implicit");
  run(24, 40, 1, {}, c, "GEMM");
  run(24, 24, 3, {.padding = 1, .groups = 24}, c, "depthwise");
}

// Whatever the timing says, the answer is right.
TEST_F(Conv2dGpu, Tuned) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const auto& chain : {std::vector<EpilogueOp>{}, {act(Activation::relu)}, {act(Activation::silu), kAdd}}) {
      ParityCase c = image({1, 64, 24, 24}, t);
      c.tune = true;
      c.epilogue = chain;
      run(64, 64, 1, {}, c, t == DType::f32 ? "1x1 as GEMM" : "fastest of");
      run(64, 64, 3, {.padding = 1}, c, t == DType::f32 ? "columns and GEMM" : "fastest of");
      run(64, 64, 3, {.padding = 1, .groups = 64}, c, "depthwise");
    }
  }
}

}  // namespace
}  // namespace frieze
