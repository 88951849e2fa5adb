// Poolings on the CPU: windows by hand, shapes, refusals, and the index arithmetic that the kernels share.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include <frieze/core/error.h>
#include <frieze/layers/pool2d/pool2d.h>
#include <frieze/layers/shared/cuda/fast_div.h>
#include <frieze/layers/shared/pool_windows.h>
#include "support/reference.h"

namespace frieze {
namespace {

using test::inferred_shape;
using test::message_of;
using test::run_reference;
using Row = std::vector<float>;

TEST(Pool2dTest, MaximaAndMeansByHand) {
  const Row x{1, 2, 3, 4, 5, 6, 7, 8};
  for (const Format format : {Format::nchw, Format::nhwc}) {
    EXPECT_EQ(run_reference(MaxPool2d(2), {{{1, 1, 2, 4}, x}}, DType::f32, format), (Row{6, 8}));
    EXPECT_EQ(run_reference(AvgPool2d(2), {{{1, 1, 2, 4}, x}}, DType::f32, format), (Row{3.5F, 5.5F}));
    EXPECT_EQ(run_reference(MaxPool2d(2), {{{1, 2, 2, 2}, x}}, DType::f32, format), (Row{4, 8}));
    EXPECT_EQ(run_reference(AdaptiveAvgPool2d({1, 2}), {{{1, 2, 2, 2}, x}}, DType::f32, format), (Row{2, 3, 6, 7}));
    EXPECT_EQ(run_reference(AdaptiveMaxPool2d({1, 3}), {{{1, 1, 2, 4}, x}}, DType::f32, format), (Row{6, 7, 8}));
  }
}

// Padding of a mean counts or does not; what ceil_mode adds never counts.
TEST(Pool2dTest, Divisors) {
  const Row x{4, 8, 12};
  const Shape line{1, 1, 1, 3};
  const Size2d kernel(1, 2), padding(0, 1);
  EXPECT_EQ(run_reference(AvgPool2d(kernel, {.padding = padding}), {{line, x}}), (Row{2, 10}));
  EXPECT_EQ(run_reference(AvgPool2d(kernel, {.padding = padding, .count_include_pad = false}), {{line, x}}), (Row{4, 10}));
  EXPECT_EQ(run_reference(AvgPool2d(kernel, {.ceil_mode = true}), {{line, x}}), (Row{6, 12}));
  EXPECT_EQ(run_reference(AvgPool2d(kernel, {.divisor_override = -4}), {{line, x}}), (Row{-3}));
}

TEST(Pool2dTest, PaddingIsNoValueAndNanIsTheLargest) {
  EXPECT_EQ(run_reference(MaxPool2d(3, {.stride = 2, .padding = 1}), {{{1, 1, 2, 2}, {-5, -3, -9, -7}}}), Row{-3});
  const Row y = run_reference(MaxPool2d({1, 2}), {{{1, 1, 1, 6}, {NAN, 1, 1, NAN, -INFINITY, -INFINITY}}});
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_TRUE(std::isnan(y[1]));
  EXPECT_EQ(y[2], -INFINITY);
  // A window all of whose positions lie outside, as PyTorch has it.
  EXPECT_EQ(run_reference(MaxPool2d(2, {.padding = 1, .dilation = 3}), {{{1, 1, 2, 2}, {1, 2, 3, 4}}}), Row{-INFINITY});
}

TEST(Pool2dTest, Shapes) {
  EXPECT_EQ(inferred_shape(MaxPool2d(3, {.stride = 2, .padding = 1}), {{2, 64, 112, 112}}), (Shape{2, 64, 56, 56}));
  EXPECT_EQ(inferred_shape(MaxPool2d(2), {{2, 3, 7, 9}}), (Shape{2, 3, 3, 4}));
  EXPECT_EQ(inferred_shape(MaxPool2d(2, {.ceil_mode = true}), {{2, 3, 7, 9}}), (Shape{2, 3, 4, 5}));
  EXPECT_EQ(inferred_shape(AvgPool2d(2, {.stride = 3, .padding = 1, .ceil_mode = true}), {{1, 1, 2, 8}}), (Shape{1, 1, 1, 3}));
  EXPECT_EQ(inferred_shape(MaxPool2d({2, 3}, {.stride = 1, .dilation = {3, 2}}), {{1, 1, 9, 9}}), (Shape{1, 1, 6, 5}));
  EXPECT_EQ(inferred_shape(AdaptiveAvgPool2d({7, 5}), {{2, 3, 4, 100}}), (Shape{2, 3, 7, 5}));
}

TEST(Pool2dTest, Refusals) {
  EXPECT_THROW(MaxPool2d(0), OptionError);
  EXPECT_THROW(MaxPool2d(2, {.stride = 0}), OptionError);
  EXPECT_THROW(MaxPool2d(2, {.dilation = 0}), OptionError);
  EXPECT_THROW(MaxPool2d(2, {.padding = -1}), OptionError);
  EXPECT_EQ(message_of<OptionError>([] { MaxPool2d(3, {.padding = 2}); }),
            "MaxPool2d expects a padding from 0 to half of its window of 3, got 2 along H");
  EXPECT_THROW(AvgPool2d(2, {.padding = 2}), OptionError);
  EXPECT_THROW(AvgPool2d(2, {.divisor_override = 0}), OptionError);
  EXPECT_THROW(AdaptiveAvgPool2d(0), OptionError);
  EXPECT_THROW(AdaptiveMaxPool2d({2, -1}), OptionError);
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(MaxPool2d(5), {{1, 1, 9, 4}});
            }),
            "MaxPool2d expects at least 5 pixels along W for a window of 5 with padding 0, got 4");
  EXPECT_THROW(inferred_shape(MaxPool2d(2147483647, {.stride = 2147483647, .dilation = 2147483647}), {{1, 1, 9, 9}}), ShapeError);
  EXPECT_THROW(inferred_shape(MaxPool2d(2), {{1, 9, 9}}), ShapeError);
  EXPECT_THROW(inferred_shape(AdaptiveAvgPool2d(2147483647), {{1 << 20, 1 << 20, 1, 1}}), ShapeError);
}

TEST(Pool2dTest, FreeFunctions) {
  const Plan plan = test::trace_function({{2, 8, 6, 9}}, [](const std::vector<Value>& x) {
    return std::vector<Value>{max_pool2d(x[0], 2), avg_pool2d(x[0], 3, {.stride = 1, .padding = 1}), adaptive_avg_pool2d(x[0], 1),
                              adaptive_max_pool2d(x[0], {2, 3})};
  });
  EXPECT_EQ(plan.spec(plan.output("y0")).shape, (Shape{2, 8, 3, 4}));
  EXPECT_EQ(plan.spec(plan.output("y1")).shape, (Shape{2, 8, 6, 9}));
  EXPECT_EQ(plan.spec(plan.output("y2")).shape, (Shape{2, 8, 1, 1}));
  EXPECT_EQ(plan.spec(plan.output("y3")).shape, (Shape{2, 8, 2, 3}));
}

TEST(Pool2dTest, MaximaAreExactAndMeansGrowWithTheRoot) {
  const TensorSpec in{{2, 8, 32, 32}};
  EXPECT_EQ(MaxPool2d(3).budget({&in, 1}).roundings, 0);
  EXPECT_EQ(MaxPool2d(3).budget({&in, 1}).terms, 0);
  EXPECT_DOUBLE_EQ(AvgPool2d(4).budget({&in, 1}).terms, 4 + 4);
}

// The kernels' spans, in 32 bits, against every position looked at one by one.
TEST(Pool2dTest, SpansHoldEveryPositionInside) {
  for (int in = 1; in <= 9; ++in) {
    for (int kernel = 1; kernel <= 4; ++kernel) {
      for (int dilation = 1; dilation <= 3; ++dilation) {
        for (int padding = 0; padding <= ((kernel - 1) * dilation + 1) / 2; ++padding) {
          for (int stride = 1; stride <= 3; ++stride) {
            const PoolAxis<int> axis{in, 1, kernel, stride, padding, dilation};
            for (int o = 0; o * stride < in + padding; ++o) {
              std::vector<int> inside;
              for (int k = 0; k < kernel; ++k) {
                const int at = o * stride - padding + k * dilation;
                if (at >= 0 && at < in) inside.push_back(at);
              }
              const PoolSpan<int> span = axis.span(o);
              ASSERT_EQ(span.count, static_cast<int>(inside.size()))
                  << in << ' ' << kernel << ' ' << dilation << ' ' << padding << ' ' << o;
              for (int k = 0; k < span.count; ++k) ASSERT_EQ(span.first + k * span.step, inside[static_cast<std::size_t>(k)]);
            }
          }
        }
      }
    }
  }
}

TEST(Pool2dTest, BinsCoverTheInput) {
  for (const int in : {1, 2, 3, 7, 40, 50000}) {
    for (const int out : {1, 2, 3, 7, 40, 50000}) {
      PoolAxis<int> narrow{in, out};
      PoolAxis<std::int64_t> wide{in, out};
      narrow.adaptive = wide.adaptive = true;
      for (int o = 0; o < out; ++o) {
        const PoolSpan<int> a = narrow.span(o);
        const PoolSpan<std::int64_t> b = wide.span(o);
        ASSERT_EQ(a.first, static_cast<std::int64_t>(o) * in / out);
        ASSERT_EQ(a.first + a.count, ((static_cast<std::int64_t>(o) + 1) * in + out - 1) / out);
        ASSERT_TRUE(a.first == b.first && a.count == b.count && a.count >= 1);
      }
    }
  }
}

TEST(FastDivTest, IsDivision) {
  const std::uint32_t divisors[] = {1, 2, 3, 5, 7, 8, 10, 49, 255, 256, 257, 4160, 65535, 65536, 1000003, 0x40000000, 0x7FFFFFFF};
  for (const std::uint32_t d : divisors) {
    const cuda::FastDiv div(d);
    const auto check_at = [&](std::uint64_t n) {
      if (n > 0x7FFFFFFF) return;
      ASSERT_EQ(div.quotient(static_cast<std::uint32_t>(n)), n / d) << n << " / " << d;
    };
    for (std::uint64_t n = 0; n < 2000; ++n) check_at(n);
    for (std::uint64_t q = 1; q * d <= 0x7FFFFFFF; q = q * 3 / 2 + 1) {
      for (const std::uint64_t n : {q * d - 1, q * d, q * d + 1}) check_at(n);
    }
    for (const std::uint64_t n : {0x7FFFFFFEU, 0x7FFFFFFFU}) check_at(n);
  }
}

}  // namespace
}  // namespace frieze
