// Poolings on the GPU, every kernel; which one ran is read off its line.
#include <gtest/gtest.h>

#include <string>

#include <frieze/layers/pool2d/pool2d.h>
#include "support/parity_grid.h"

namespace frieze {
namespace {

using test::Fill;
using test::ParityCase;

void run_pool(const Layer& layer, const ParityCase& c, const std::string& path) {
  const test::ParityReport report = test::expect_parity(layer, c);
  EXPECT_NE(report.describe.find(path), std::string::npos) << "ran: " << report.describe << "\nnot: " << path;
}

// Sums of the largest f32 and bf16 overflow in f32, by contract; those of f16 do not.
bool pool_in_contract(Fill fill, DType t) { return fill != Fill::huge || t == DType::f16; }

TEST(Pool2dGpu, ChannelsAndFormats) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const std::int64_t channels : test::kChannels) {
      for (const Shape& x : {Shape{1, channels, 2, 3}, Shape{2, channels, 5, 7}, Shape{1, channels, 4, 16}}) {
        const ParityCase c{.inputs = {x}, .dtype = t, .format = format};
        run_pool(MaxPool2d(2), c, "");
        run_pool(MaxPool2d(3, {.stride = 2, .padding = 1}), c, "");
        run_pool(AvgPool2d(2, {.stride = 1}), c, "");
        run_pool(AvgPool2d(3, {.stride = 2, .padding = 1, .count_include_pad = false}), c, "");
        run_pool(AdaptiveAvgPool2d({3, 2}), c, "");
        run_pool(AdaptiveMaxPool2d({2, 5}), c, "");
      }
    }
  });
}

TEST(Pool2dGpu, Paths) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    for (const Fill fill : {Fill::normal, Fill::special}) {
      const auto image = [&](const Shape& x, Format f) { return ParityCase{.inputs = {x}, .dtype = t, .format = f, .fill = fill}; };
      for (const Shape& x : {Shape{2, 5, 9, 32}, Shape{1, 3, 8, 64}, Shape{3, 1, 7, 8}}) {
        const std::string packs = "nchw, a thread per strip of outputs";
        run_pool(MaxPool2d(2), image(x, Format::nchw), packs);
        run_pool(AvgPool2d(2), image(x, Format::nchw), packs);
        run_pool(MaxPool2d(3, {.stride = 2, .padding = 1}), image(x, Format::nchw), packs);
        run_pool(AvgPool2d(3, {.stride = 2, .padding = 1}), image(x, Format::nchw), packs);
        run_pool(AvgPool2d(3, {.stride = 2, .padding = 1, .count_include_pad = false}), image(x, Format::nchw), packs);
        run_pool(MaxPool2d(3, {.stride = 1, .padding = 1}), image(x, Format::nchw), packs);
        run_pool(AvgPool2d(3, {.stride = 1, .padding = 1, .divisor_override = 5}), image(x, Format::nchw), packs);
        run_pool(AvgPool2d(3, {.stride = Size2d(3, 2), .padding = Size2d(0, 1)}), image(x, Format::nchw), "nchw, a thread per output");
        run_pool(AvgPool2d(3, {.stride = 2, .padding = Size2d(0, 1)}), image(x, Format::nchw), packs);
        run_pool(MaxPool2d(3, {.stride = 2, .padding = 1, .ceil_mode = true}), image(x, Format::nchw), "nchw, a thread per output");
        run_pool(MaxPool2d(3, {.stride = 2}), image(x, Format::nchw), "nchw, a thread per output");
        run_pool(MaxPool2d(2, {.stride = 2, .dilation = 2}), image(x, Format::nchw), "nchw, a thread per output");
      }
      run_pool(MaxPool2d(3, {.stride = 2, .padding = 1}), image({1, 3, 9, 33}, Format::nchw), "nchw, a thread per output");
      run_pool(MaxPool2d(8, {.stride = 3, .padding = 4}), image({2, 3, 21, 33}, Format::nchw), "nchw, a warp per output");
      run_pool(AvgPool2d(11, {.stride = 5, .padding = 5}), image({2, 3, 21, 33}, Format::nchw), "nchw, a warp per output");
      run_pool(AdaptiveAvgPool2d(2), image({2, 3, 21, 33}, Format::nchw), "nchw, a warp per row of bins");
      run_pool(AdaptiveMaxPool2d(3), image({2, 3, 41, 39}, Format::nchw), "nchw, a warp per row of bins");
      run_pool(AdaptiveAvgPool2d({3, 45}), image({1, 3, 9, 1031}, Format::nchw), "nchw, a warp per output");
      for (const std::int64_t channels : {1, 8, 33, 64, 264}) {
        run_pool(MaxPool2d(3, {.stride = 2, .padding = 1}), image({2, channels, 9, 11}, Format::nhwc),
                 channels == 1 ? "" : "a thread per strip");
        run_pool(AvgPool2d(3, {.stride = 1, .padding = 1}), image({2, channels, 9, 11}, Format::nhwc),
                 channels == 1 ? "" : "a thread per strip");
        run_pool(AvgPool2d(2), image({2, channels, 9, 11}, Format::nhwc), channels == 1 ? "" : "a thread per strip");
        run_pool(MaxPool2d(3, {.stride = 3}), image({2, channels, 9, 11}, Format::nhwc), channels == 1 ? "" : "a thread per output");
        run_pool(MaxPool2d(Size2d(2, 5), {.stride = 2, .dilation = 2}), image({2, channels, 9, 11}, Format::nhwc), "");
        run_pool(AvgPool2d(9, {.stride = 4, .padding = 4}), image({2, channels, 21, 33}, Format::nhwc),
                 channels == 1 ? "" : "a block per output");
        run_pool(AdaptiveAvgPool2d(2), image({2, channels, 21, 33}, Format::nhwc), channels == 1 ? "" : "a block per output");
        run_pool(AdaptiveMaxPool2d(2), image({2, channels, 21, 33}, Format::nhwc), channels == 1 ? "" : "a block per output");
        run_pool(AdaptiveAvgPool2d(1), image({2, channels, 21, 33}, Format::nhwc), "range");  // GlobalAvgPool's kernels
      }
      run_pool(AdaptiveAvgPool2d({40, 3}), image({1, 8, 7, 8}, Format::nhwc), "a thread per output");  // fewer pixels than bins
      run_pool(AdaptiveAvgPool2d({40, 3}), image({1, 8, 7, 8}, Format::nchw), "a thread per output");
    }
  }
}

// Windows that no pixel is in: -Inf, or 0.
TEST(Pool2dGpu, EmptyAndOneSidedWindows) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    const ParityCase c{.inputs = {{2, 8, 2, 8}}, .dtype = t, .format = format};
    run_pool(MaxPool2d(2, {.stride = 1, .padding = 1, .dilation = 3}), c, "");
    run_pool(MaxPool2d(2, {.stride = 3, .padding = 1, .ceil_mode = true}), c, "");
    run_pool(AvgPool2d(2, {.stride = 3, .padding = 1, .ceil_mode = true}), c, "");
    run_pool(AvgPool2d(2, {.stride = 3, .padding = 1, .ceil_mode = true, .count_include_pad = false}), c, "");
  });
}

TEST(Pool2dGpu, MisalignedTensors) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const Shape& x : {Shape{2, 8, 6, 16}, Shape{1, 33, 5, 7}}) {
      test::each_placement({.inputs = {x}, .dtype = t, .format = format}, {}, [](const ParityCase& c) {
        run_pool(MaxPool2d(3, {.stride = 2, .padding = 1}), c, "");
        run_pool(AvgPool2d(5, {.stride = 1, .padding = 2}), c, "");
        run_pool(AdaptiveAvgPool2d(2), c, "");
      });
    }
  });
}

TEST(Pool2dGpu, SpecialValues) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const Fill fill : test::kFills) {
      for (const Shape& x : {Shape{2, 33, 9, 7}, Shape{2, 8, 10, 16}}) {
        const ParityCase c{.inputs = {x}, .dtype = t, .format = format, .fill = fill};
        run_pool(MaxPool2d(3, {.stride = 2, .padding = 1}), c, "");
        run_pool(MaxPool2d(9, {.stride = 1, .padding = 4}), c, "");
        run_pool(AdaptiveMaxPool2d(3), c, "");
        if (!pool_in_contract(fill, t)) continue;
        run_pool(AvgPool2d(3, {.stride = 2, .padding = 1}), c, "");
        run_pool(AdaptiveAvgPool2d(3), c, "");
      }
    }
  });
}

}  // namespace
}  // namespace frieze
