// Kernels of padding, other sizes and transposed convolutions against their references.
#include <gtest/gtest.h>

#include <string>

#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/conv_transpose2d/conv_transpose2d.h>
#include <frieze/layers/interpolate/interpolate.h>
#include <frieze/layers/pad/pad.h>
#include "support/environment.h"
#include "support/parity_grid.h"

namespace frieze {
namespace {

using test::expect_parity;
using test::Fill;
using test::ParityCase;

const PadMode kPadModes[] = {PadMode::zeros, PadMode::reflect, PadMode::replicate, PadMode::circular};
const Fill kSpatialFills[] = {Fill::zeros, Fill::constant, Fill::subnormal, Fill::mixed, Fill::special};

TEST(PadGpu, ChannelsModesAndFormats) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const std::int64_t channels : {1, 3, 31, 32, 33, 96, 265}) {
      for (const Shape& x : {Shape{1, channels, 1, 1}, Shape{2, channels, 5, 7}, Shape{1, channels, 3, 16}, Shape{7, channels, 3, 1}}) {
        for (const PadMode mode : kPadModes) {
          const auto most = [&](std::int64_t extent) { return static_cast<int>(mode == PadMode::reflect ? extent - 1 : extent); };
          const int w = most(x.w()), h = most(x.h());
          expect_parity(Pad({std::min(w, 2), std::min(w, 1), 0, std::min(h, 3)}, mode), {.inputs = {x}, .dtype = t, .format = format});
          expect_parity(Pad({w, 0, h, std::min(h, 1)}, mode), {.inputs = {x}, .dtype = t, .format = format});
        }
      }
    }
  });
}

// Long rows, whose insides are moved in packs; ends of the tensor inside of a pack; other ranks; values; misaligned tensors.
TEST(PadGpu, RowsRanksAndPlacements) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    for (const int left : {0, 1, 2, 3, 7, 8}) {
      for (const std::int64_t width : {63, 64, 65, 257}) {
        for (const PadMode mode : kPadModes) {
          expect_parity(Pad({left, 1, 2, 0}, mode), {.inputs = {{2, 3, 5, width}}, .dtype = t});
          expect_parity(Pad({left, 0, 0, 0}, mode), {.inputs = {{5, width}}, .dtype = t});
        }
      }
    }
    expect_parity(Pad({3, 2, 0, 0}), {.inputs = {{101}}, .dtype = t});
    expect_parity(Pad({3, 2, 1, 1}, PadMode::reflect), {.inputs = {{2, 3, 2, 3, 5, 9}}, .dtype = t});
    for (const Format format : test::kFormats) {
      for (const Fill fill : kSpatialFills) {
        expect_parity(Pad({1, 2, 0, 1}, PadMode::zeros, -0.7), {.inputs = {{2, 32, 5, 33}}, .dtype = t, .format = format, .fill = fill});
      }
      for (const std::int64_t channels : {32, 33}) {
        test::each_placement({.inputs = {{2, channels, 5, 40}}, .dtype = t, .format = format}, {}, [](const ParityCase& c) {
          expect_parity(Pad({1, 2, 0, 1}, PadMode::reflect), c);
        });
      }
    }
  }
}

// Zeros on each side its own, on every path of Conv2d; the other modes, whose padded copy is in the workspace.
TEST(Conv2dSidesGpu, PathsAndModes) {
  FRIEZE_NEEDS_GPU();
  const auto run = [](std::int64_t in, std::int64_t out, Size2d kernel, const Conv2dOptions& options, const ParityCase& c) {
    Conv2d conv(in, out, kernel, options);
    init_random(conv, 11);
    return expect_parity(conv, c);
  };
  for (const char* cudnn : {"off", "always"}) {
    const test::Environment use("FRIEZE_CUDNN", cudnn);
    for (const DType t : test::kTypes) {
      for (const Padding2d& sides : {Padding2d(0, 1, 0, 1), Padding2d(3, 0, 1, 2), Padding2d(0, 0, 0, 5)}) {
        for (const Format format : test::kFormats) {
          const auto image = [&](const Shape& x) { return ParityCase{.inputs = {x}, .dtype = t, .format = format}; };
          run(16, 32, 3, {.padding = sides}, image({2, 16, 9, 11}));
          run(16, 32, 3, {.stride = 2, .padding = sides}, image({2, 16, 9, 12}));
          run(64, 128, 3, {.padding = sides}, image({1, 64, 66, 70}));
          run(5, 7, {3, 2}, {.stride = {1, 2}, .padding = sides, .dilation = {2, 1}}, image({2, 5, 9, 11}));
          run(16, 32, 1, {.padding = sides}, image({2, 16, 9, 11}));
          run(64, 64, 1, {.padding = sides, .groups = 2}, image({2, 64, 5, 7}));
          run(32, 32, 3, {.padding = sides, .groups = 32}, image({2, 32, 9, 11}));
          run(33, 33, 3, {.stride = 2, .padding = sides, .groups = 33}, image({2, 33, 9, 11}));
          for (const PadMode mode : {PadMode::reflect, PadMode::replicate, PadMode::circular}) {
            ParityCase c = image({2, 16, 9, 11});
            c.epilogue = {test::kAdd, test::act(Activation::silu)};
            const test::ParityReport report = run(16, 32, 3, {.padding = sides, .padding_mode = mode}, c);
            EXPECT_NE(report.describe.find("a padded copy"), std::string::npos) << report.describe;
            run(33, 33, 3, {.padding = sides, .groups = 33, .padding_mode = mode}, image({2, 33, 9, 11}));
            run(6, 4, 3, {.padding = sides, .padding_mode = mode}, image({1, 6, 6, 6}));
          }
        }
      }
    }
  }
  ParityCase tuned{.inputs = {{1, 64, 33, 35}}, .dtype = DType::bf16, .format = Format::nhwc};
  tuned.tune = true;
  run(64, 64, 3, {.padding = {0, 1, 0, 1}}, tuned);
  run(64, 64, 3, {.padding = 1, .padding_mode = PadMode::reflect}, tuned);
}

const InterpolateOptions kResizes[] = {
    {.size = {11, 4}},
    {.scale_factor = {1.7, 0.6}, .mode = InterpolateMode::nearest_exact},
    {.size = {8, 16}, .mode = InterpolateMode::bilinear},
    {.scale_factor = {2, 2}, .mode = InterpolateMode::bilinear},
    {.scale_factor = {2, 3}, .mode = InterpolateMode::bilinear, .align_corners = true},
    {.scale_factor = {2.3, 0.45}, .mode = InterpolateMode::bicubic},
    {.size = {3, 12}, .mode = InterpolateMode::bicubic, .align_corners = true},
    {.scale_factor = {0.4, 0.7}, .mode = InterpolateMode::bilinear, .antialias = true},
    {.size = {17, 4}, .mode = InterpolateMode::bicubic, .antialias = true},
};

TEST(InterpolateGpu, ChannelsModesAndFormats) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const std::int64_t channels : {1, 3, 31, 32, 33, 96, 265}) {
      for (const Shape& x : {Shape{2, channels, 5, 7}, Shape{1, channels, 3, 16}, Shape{2, channels, 9, 3}}) {
        for (const InterpolateOptions& o : kResizes) expect_parity(Interpolate(o), {.inputs = {x}, .dtype = t, .format = format});
      }
      expect_parity(Interpolate({.size = {3, 4}, .mode = InterpolateMode::bicubic}),
                    {.inputs = {{1, channels, 1, 1}}, .dtype = t, .format = format});
    }
  });
}

// Large enough for several rows a thread, in whole and in broken packs; misaligned; special values.
TEST(InterpolateGpu, RowsPlacementsAndValues) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    const auto resize = [&](const Shape& x, const InterpolateOptions& o) {
      expect_parity(Interpolate(o), {.inputs = {x}, .dtype = t, .format = format});
    };
    resize({1, 8, 230, 228}, {.scale_factor = 2, .mode = InterpolateMode::bilinear});
    resize({1, 5, 301, 299}, {.scale_factor = 2.1});
    resize({1, 16, 101, 103}, {.scale_factor = {3.1, 0.3}, .mode = InterpolateMode::bilinear, .antialias = true});
    for (const InterpolateOptions& o : kResizes) {
      for (const std::int64_t channels : {32, 33}) {
        test::each_placement({.inputs = {{2, channels, 5, 8}}, .dtype = t, .format = format}, {},
                             [&](const ParityCase& c) { expect_parity(Interpolate(o), c); });
      }
      for (const Fill fill : kSpatialFills) {
        expect_parity(Interpolate(o), {.inputs = {{2, 32, 6, 8}}, .dtype = t, .format = format, .fill = fill});
      }
    }
  });
}

// In nchw in tiles, of one block a row and of several: on a GPU of up to 150 multiprocessors.
TEST(InterpolateGpu, TilesInNchw) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    for (const auto& [x, o] :
         {std::pair<Shape, InterpolateOptions>{{1, 40, 115, 114}, {.scale_factor = 2, .mode = InterpolateMode::bilinear}},
          {{1, 40, 70, 114}, {.scale_factor = {3.3, 2}, .mode = InterpolateMode::bicubic}},
          {{1, 10, 115, 333}, {.scale_factor = {2, 5.1}, .mode = InterpolateMode::bicubic, .align_corners = true}},
          {{1, 40, 130, 250}, {.scale_factor = {1.7, 0.85}, .mode = InterpolateMode::bilinear}},
          {{1, 40, 115, 99}, {.scale_factor = 2.1}},
          {{1, 40, 115, 260}, {.scale_factor = 0.5, .mode = InterpolateMode::bilinear, .antialias = true}},
          {{2, 20, 57, 800}, {.scale_factor = {1.1, 0.7}, .mode = InterpolateMode::bicubic, .antialias = true}}}) {
      const test::ParityReport report = expect_parity(Interpolate(o), {.inputs = {x}, .dtype = t});
      EXPECT_NE(report.describe.find("a tile a block"), std::string::npos) << report.describe;
    }
  }
}

struct TransposedCase {
  Size2d kernel;
  ConvTranspose2dOptions options;
};
const TransposedCase kTransposedCases[] = {
    {2, {.stride = 2}},
    {4, {.stride = 2, .padding = 1}},
    {3, {.stride = 2, .padding = 1, .output_padding = 1}},
    {{5, 2}, {.stride = {3, 4}, .padding = {2, 1}, .output_padding = {2, 3}}},
    {3, {.padding = 1}},
    {3, {.padding = 3}},
    {3, {.stride = 2, .padding = 1, .dilation = 2}},
    {{2, 1}, {.stride = 5, .output_padding = 4, .bias = false}},
};

TEST(ConvTranspose2dGpu, ShapesTypesAndFormats) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const TransposedCase& c : kTransposedCases) {
      for (const auto& [in, out] : {std::pair<std::int64_t, std::int64_t>{1, 5}, {3, 72}, {32, 16}, {65, 1}}) {
        ConvTranspose2d layer(in, out, c.kernel, c.options);
        init_random(layer, 13);
        expect_parity(layer, {.inputs = {{2, in, 5, 7}}, .dtype = t, .format = format});
      }
      ConvTranspose2dOptions grouped = c.options;
      grouped.groups = 3;
      ConvTranspose2d layer(12, 24, c.kernel, grouped);
      init_random(layer, 14);
      expect_parity(layer, {.inputs = {{2, 12, 9, 6}}, .dtype = t, .format = format});
      for (const Fill fill : kSpatialFills) expect_parity(layer, {.inputs = {{1, 12, 6, 5}}, .dtype = t, .format = format, .fill = fill});
      test::each_placement({.inputs = {{1, 12, 6, 5}}, .dtype = t, .format = format}, {},
                           [&](const ParityCase& moved) { expect_parity(layer, moved); });
    }
  });
}

// The routes that images of a U-Net's or a generator's sizes take; the stride of the kernel needs no zeros.
TEST(ConvTranspose2dGpu, Routes) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kHalves) {
    ConvTranspose2d doubling(128, 64, 2, {.stride = 2});
    init_random(doubling, 15);
    const auto report = expect_parity(doubling, {.inputs = {{1, 128, 32, 32}}, .dtype = t, .format = Format::nhwc});
    EXPECT_NE(report.describe.find("then put in place"), std::string::npos) << report.describe;
    EXPECT_EQ(report.describe.find("direct"), std::string::npos) << report.describe;
    ConvTranspose2d generator(128, 64, 4, {.stride = 2, .padding = 1});
    init_random(generator, 16);
    expect_parity(generator, {.inputs = {{1, 128, 32, 32}}, .dtype = t, .format = Format::nhwc});
    ConvTranspose2d flipped(64, 64, 3, {.padding = 1});
    init_random(flipped, 17);
    const auto plain = expect_parity(flipped, {.inputs = {{1, 64, 32, 32}}, .dtype = t, .format = Format::nhwc});
    EXPECT_EQ(plain.describe.find("put in place"), std::string::npos) << plain.describe;
  }
}

}  // namespace
}  // namespace frieze
