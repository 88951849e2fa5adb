// Layer, group, instance and RMS normalisation on the GPU, every kernel; which one ran is read off its line.
#include <gtest/gtest.h>

#include <string>

#include <frieze/core/module.h>
#include <frieze/layers/group_norm/group_norm.h>
#include <frieze/layers/layer_norm/layer_norm.h>
#include <frieze/layers/rms_norm/rms_norm.h>
#include "support/parity_grid.h"

namespace frieze {
namespace {

using test::act;
using test::Fill;
using test::ParityCase;

// With random parameters; expects the kernel's line to hold `path`.
template <class L>
void run_norm(L layer, const ParityCase& c, const std::string& path) {
  init_random(layer, 3);
  const test::ParityReport report = test::expect_parity(layer, c);
  EXPECT_NE(report.describe.find(path), std::string::npos) << "ran: " << report.describe << "\nnot: " << path;
}

// By contract: squares of the largest f32 and bf16 leave f32's range, those of f16 do not; means of subnormal f32 lie between two of them.
bool in_contract(Fill fill, DType t) { return (fill != Fill::huge || t == DType::f16) && (fill != Fill::subnormal || t != DType::f32); }

// Lengths around packs, warps and blocks; odd ones go by single elements.
TEST(NormsGpu, LayerNormInRegisters) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    for (const std::int64_t length : {1, 2, 7, 8, 31, 32, 33, 64, 96, 120, 128, 192, 248, 256, 384, 768, 1024, 1025, 2056, 4096}) {
      for (const std::int64_t rows : {1, 5, 67}) run_norm(LayerNorm(length), {.inputs = {{rows, length}}, .dtype = t}, "in registers");
    }
    const std::int64_t longest = t == DType::f32 ? 8192 : 16384;
    for (const std::int64_t rows : {3, 67})
      run_norm(LayerNorm(longest), {.inputs = {{rows, longest}}, .dtype = t}, "512 lanes a row in registers");
    // Several rows for each thread, one after the other.
    run_norm(LayerNorm(33), {.inputs = {{20001, 33}}, .dtype = t}, "in registers");
    run_norm(LayerNorm(33), {.inputs = {{20001, 33}}, .dtype = t, .epilogue = {test::kAdd}}, "in registers");
  }
  run_norm(LayerNorm(520), {.inputs = {{9001, 520}}, .dtype = DType::bf16}, "in registers");
  run_norm(LayerNorm(260), {.inputs = {{9001, 260}}}, "in registers");
}

TEST(NormsGpu, LayerNormOfLongRows) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    for (const std::int64_t length : {65536, 200008, 100003}) {
      run_norm(LayerNorm(length), {.inputs = {{3, length}}, .dtype = t}, "segments of a row");
      run_norm(LayerNorm(length, {.affine = false}), {.inputs = {{2, length}}, .dtype = t, .epilogue = {act(Activation::gelu)}},
               "segments");
    }
    run_norm(LayerNorm(5001), {.inputs = {{320, 5001}}, .dtype = t, .epilogue = {test::kAdd}}, "a block per row");
  }
  run_norm(LayerNorm(16388), {.inputs = {{268, 16388}}}, "a block per row");  // by packs
}

TEST(NormsGpu, LayerNormOverSeveralAxesAndOptions) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    run_norm(LayerNorm(Shape{5, 24}), {.inputs = {{2, 3, 5, 24}}, .dtype = t}, "rows");
    run_norm(LayerNorm(Shape{3, 5, 7}), {.inputs = {{9, 3, 5, 7}}, .dtype = t}, "rows");
    run_norm(LayerNorm(Shape{9, 3, 5}), {.inputs = {{9, 3, 5}}, .dtype = t}, "rows");
    run_norm(LayerNorm(96, {.eps = 0.5, .bias = false}), {.inputs = {{3, 7, 96}}, .dtype = t}, "rows");
    run_norm(LayerNorm(96, {.affine = false}), {.inputs = {{3, 7, 96}}, .dtype = t}, "rows");
  }
}

TEST(NormsGpu, LayerNormOverChannels) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const std::int64_t channels : test::kChannels) {
      for (const Shape& x : test::images(channels)) {
        const bool rows = format == Format::nhwc || x.h() * x.w() == 1;
        run_norm(LayerNorm2d(channels), {.inputs = {x}, .dtype = t, .format = format},
                 rows ? "rows, " : "nchw, a block per tile of pixels");
      }
    }
    const std::string wide = format == Format::nhwc ? "rows, " : "nchw, a block per tile of packs of pixels";
    run_norm(LayerNorm2d(3), {.inputs = {{4, 3, 136, 136}}, .dtype = t, .format = format}, wide);
    run_norm(LayerNorm2d(5), {.inputs = {{4, 5, 136, 136}}, .dtype = t, .format = format, .epilogue = {act(Activation::silu)}}, wide);
  });
}

// nchw: groups are rows; nhwc: tiles of whole groups, several of one group, ranges of pixels.
TEST(NormsGpu, GroupNormPaths) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    const auto image = [&](const Shape& x, Format f) { return ParityCase{.inputs = {x}, .dtype = t, .format = f}; };
    run_norm(GroupNorm(4, 24), image({2, 24, 5, 7}, Format::nchw), "nchw, ");
    run_norm(GroupNorm(32, 64), image({3, 64, 16, 16}, Format::nchw), "in registers");
    run_norm(GroupNorm(8, 64), image({3, 64, 7, 8}, Format::nchw), "in registers");
    run_norm(GroupNorm(4, 64), image({1, 64, 64, 65}, Format::nchw), "segments of a row");
    run_norm(GroupNorm(2, 6), image({1, 6, 301, 303}, Format::nchw), "segments of a row");
    run_norm(GroupNorm(40, 80), image({7, 80, 47, 47}, Format::nchw), "a block per row");
    run_norm(GroupNorm(5, 35), image({4, 35}, Format::nchw), "nchw, ");
    run_norm(GroupNorm(2, 64), image({70, 64}, Format::nchw), "nchw, ");
    run_norm(GroupNorm(3, 12), image({2, 12, 33}, Format::nchw), "nchw, ");
    run_norm(GroupNorm(4, 24), image({2, 24, 5, 7}, Format::nhwc), "nhwc, a block per channel tile");
    run_norm(GroupNorm(32, 320), image({2, 320, 8, 8}, Format::nhwc), "nhwc, a block per channel tile");
    run_norm(GroupNorm(32, 320), image({2, 320, 33, 35}, Format::nhwc), "ranges of pixels");
    run_norm(GroupNorm(32, 128), image({1, 128, 96, 97}, Format::nhwc), "ranges of pixels");
    run_norm(GroupNorm(8, 1024), image({1, 1024, 40, 41}, Format::nhwc), "ranges of pixels");
    run_norm(GroupNorm(1, 8), image({1, 8, 200, 201}, Format::nhwc), "ranges of pixels");
    run_norm(GroupNorm(3, 99), image({1, 99, 61, 63}, Format::nhwc), "ranges of pixels");
    run_norm(GroupNorm(2, 8192), image({1, 8192, 5, 5}, Format::nhwc), " tiles, read twice");  // a group is several tiles, of packs
    run_norm(GroupNorm(2, 514), image({2, 514, 19, 17}, Format::nhwc), "4 tiles");             // and of single channels
  }
}

TEST(NormsGpu, GroupNormChannelsAndFormats) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const std::int64_t channels : test::kChannels) {
      for (const Shape& x : test::images(channels)) {
        run_norm(GroupNorm(1, channels), {.inputs = {x}, .dtype = t, .format = format}, "");
        run_norm(InstanceNorm2d(channels, {.affine = true}), {.inputs = {x}, .dtype = t, .format = format}, "");
      }
    }
  });
}

TEST(NormsGpu, InstanceNormPaths) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    run_norm(InstanceNorm2d(9), {.inputs = {{2, 9, 31, 33}}, .dtype = t}, "nchw, ");
    run_norm(InstanceNorm2d(64), {.inputs = {{1, 64, 40, 48}}, .dtype = t, .format = Format::nhwc}, "nhwc, ");
    run_norm(InstanceNorm2d(3, {.affine = true}), {.inputs = {{1, 3, 201, 203}}, .dtype = t, .format = Format::nhwc}, "ranges of pixels");
    run_norm(InstanceNorm2d(1200), {.inputs = {{1, 1200, 33, 31}}, .dtype = t, .format = Format::nhwc}, "nhwc, ");
  }
}

TEST(NormsGpu, EpiloguesOfEveryPath) {
  FRIEZE_NEEDS_GPU();
  const std::vector<std::vector<EpilogueOp>> chains = {{act(Activation::silu)},
                                                       {test::kAdd},
                                                       {test::kMul, act(Activation::gelu)},
                                                       {test::kAdd, act(Activation::relu), test::kMul, test::kAdd}};
  test::each_type_and_format([&](DType t, Format format) {
    for (const std::vector<EpilogueOp>& chain : chains) {
      const auto with = [&](const Shape& x) { return ParityCase{.inputs = {x}, .dtype = t, .format = format, .epilogue = chain}; };
      run_norm(GroupNorm(4, 32), with({2, 32, 8, 9}), "");
      run_norm(GroupNorm(1, 32), with({1, 32, 40, 41}), format == Format::nhwc ? "ranges" : "segments");
      run_norm(GroupNorm(5, 35), with({1, 35, 33, 35}), format == Format::nhwc ? "ranges" : "segments");
      run_norm(LayerNorm2d(40), with({2, 40, 9, 10}), "");
      if (format == Format::nhwc) continue;
      if (chain.size() == 4) run_norm(GroupNorm(40, 80), with({7, 80, 47, 47}), "a block per row");
      for (const std::int64_t length : {33, 96, 200, 768}) run_norm(LayerNorm(length), with({7, length}), "in registers");
      run_norm(LayerNorm(66000), with({2, 66000}), "segments");
    }
  });
}

TEST(NormsGpu, MisalignedTensors) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const Shape& x : {Shape{2, 32, 4, 8}, Shape{1, 24, 5, 7}, Shape{1, 16, 48, 64}, Shape{1, 64, 24, 32}}) {
      test::each_placement({.inputs = {x}, .dtype = t, .format = format}, {}, [&](const ParityCase& c) {
        run_norm(GroupNorm(4, x.c()), c, "");
        run_norm(LayerNorm2d(x.c()), c, "");
        if (format == Format::nchw) run_norm(LayerNorm(x.w()), c, "");
        if (format == Format::nchw) run_norm(LayerNorm(Shape{x.c(), x.h(), x.w()}), c, "");
      });
    }
  });
}

TEST(NormsGpu, SpecialValues) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const Fill fill : test::kFills) {
      if (!in_contract(fill, t)) continue;
      for (const Shape& x : {Shape{7, 32, 5, 3}, Shape{2, 32, 4, 16}, Shape{1, 32, 37, 40}, Shape{1, 8, 97, 97}}) {
        const ParityCase c{.inputs = {x}, .dtype = t, .format = format, .fill = fill};
        run_norm(GroupNorm(4, x.c()), c, "");
        run_norm(GroupNorm(8, x.c(), {.affine = false}), c, "");
        run_norm(LayerNorm2d(x.c()), c, "");
        if (format == Format::nchw) run_norm(LayerNorm(x.w()), c, "");
      }
    }
  });
}

// Deviations of 1/8 around 4096, in f32: a mean of squares would have no digits left.
TEST(NormsGpu, MeansFarFromZero) {
  FRIEZE_NEEDS_GPU();
  for (const Format format : test::kFormats) {
    for (const Shape& x : {Shape{2, 32, 8, 8}, Shape{1, 16, 60, 64}, Shape{1, 9, 61, 63}}) {
      std::vector<float> values(static_cast<std::size_t>(x.elements()));
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = 4096 + static_cast<float>(i * 2654435761U % 17) / 8;
      ParityCase c{.inputs = {x}, .format = format};
      c.values = {values};
      run_norm(GroupNorm(1, x.c()), c, "");
      run_norm(InstanceNorm2d(x.c()), c, "");
      run_norm(LayerNorm2d(x.c()), c, "");
      if (format == Format::nchw) run_norm(LayerNorm(Shape{x.c(), x.h(), x.w()}), c, "");
    }
  }
}

TEST(NormsGpu, RmsNormRunsAsPixels) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    for (const std::int64_t length : {1, 3, 33, 64, 384, 1025, 4096}) {
      for (const Shape& leading : {Shape{1}, Shape{7}, Shape{2, 3, 5}}) {
        std::vector<std::int64_t> extents(leading.extents().begin(), leading.extents().end());
        extents.push_back(length);
        test::each_placement({.inputs = {Shape(extents)}, .dtype = t}, {.in_place = true},
                             [&](const ParityCase& c) { run_norm(RMSNorm(length, {.eps = 1e-6}), c, "RMSNorm2d: "); });
      }
    }
    run_norm(RMSNorm(96), {.inputs = {{96}}, .dtype = t}, "RMSNorm2d: ");
    run_norm(RMSNorm(96, {.weight = false}), {.inputs = {{5, 96}}, .dtype = t, .epilogue = {act(Activation::silu), test::kAdd}},
             "RMSNorm2d: ");
    for (const Fill fill : test::kFills) run_norm(RMSNorm(96), {.inputs = {{7, 96}}, .dtype = t, .fill = fill}, "RMSNorm2d: ");
    run_norm(RMSNorm(96, {.rounding = Rounding::diffusers}), {.inputs = {{7, 96}}, .dtype = t}, "RMSNorm2d: ");
  }
}

}  // namespace
}  // namespace frieze
