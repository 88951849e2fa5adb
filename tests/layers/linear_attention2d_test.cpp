#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include <frieze/core/error.h>
#include <frieze/layers/linear_attention2d/linear_attention2d.h>
#include "support/parity.h"
#include "support/reference.h"
#include "testing/kernel_watch.h"

namespace frieze {
namespace {

using test::expect_parity;
using test::Fill;
using test::inferred_shape;
using test::message_of;
using test::run_reference;
using Floats = std::vector<float>;

// The definition with its T x T weights, one output at a time.
Floats quadratic(const Floats& x, const Shape& shape, int d, double eps) {
  const std::int64_t tokens = shape.h() * shape.w(), groups = shape.c() / (3 * d);
  const auto at = [&](std::int64_t n, std::int64_t g, int part, int e, std::int64_t t) {
    const double v = x[static_cast<std::size_t>(((n * groups + g) * 3 * d + part * d + e) * tokens + t)];
    return part < 2 ? std::max(v, 0.0) : v;
  };
  Floats y;
  for (std::int64_t n = 0; n < shape.n(); ++n) {
    for (std::int64_t g = 0; g < groups; ++g) {
      for (int e = 0; e < d; ++e) {
        for (std::int64_t t = 0; t < tokens; ++t) {
          double top = 0, bottom = 0;
          for (std::int64_t s = 0; s < tokens; ++s) {
            double weight = 0;
            for (int f = 0; f < d; ++f) weight += at(n, g, 1, f, s) * at(n, g, 0, f, t);
            top += at(n, g, 2, e, s) * weight;
            bottom += weight;
          }
          y.push_back(static_cast<float>(top / (bottom + eps)));
        }
      }
    }
  }
  return y;
}

TEST(LinearAttention2dTest, IsTheWeightedMeanOfItsDefinition) {
  struct Case {
    Shape x;
    int d;
  };
  // Fewer and more pixels than d, several images, groups and odd sizes.
  for (const Case& c :
       {Case{{2, 24, 2, 2}, 4}, Case{{1, 3, 3, 5}, 1}, Case{{1, 96, 1, 1}, 32}, Case{{2, 48, 7, 9}, 8}, Case{{1, 9, 4, 4}, 3}}) {
    const Floats x = test::random_values(static_cast<std::size_t>(c.x.elements()), 3, Fill::normal, DType::f32, c.x.c());
    const Floats expected = quadratic(x, c.x, c.d, 1e-15);
    for (const Format format : {Format::nchw, Format::nhwc}) {
      const Floats got = run_reference(LinearAttention2d(c.d), {{c.x, x}}, DType::f32, format);
      ASSERT_EQ(got.size(), expected.size());
      for (std::size_t i = 0; i < got.size(); ++i)
        EXPECT_NEAR(got[i], expected[i], 1e-6 * (1 + std::abs(expected[i]))) << c.x << " at " << i;
    }
  }
}

TEST(LinearAttention2dTest, NothingPositiveGivesZero) {
  // One group of d = 2 and two pixels: q, q, k, k, v, v.
  EXPECT_EQ(run_reference(LinearAttention2d(2), {{{1, 6, 1, 2}, {-1, -2, -3, 0, 5, 5, 5, 5, 7, 8, 9, 10}}}), (Floats{0, 0, 0, 0}));
  EXPECT_EQ(run_reference(LinearAttention2d(2), {{{1, 6, 1, 2}, {1, 2, 3, 4, -5, -5, -5, 0, 7, 8, 9, 10}}}), (Floats{0, 0, 0, 0}));
  EXPECT_EQ(run_reference(LinearAttention2d(1), {{{1, 3, 1, 1}, {2, 3, -7}}}), (Floats{-7})) << "v keeps its sign";
}

TEST(LinearAttention2dTest, EpsIsAddedBelowTheLine) {
  EXPECT_EQ(run_reference(LinearAttention2d(1, 3), {{{1, 3, 1, 1}, {1, 3, 8}}}), (Floats{4}));
}

TEST(LinearAttention2dTest, NaNSpreadsOverItsGroupOnly) {
  Floats x(24, 1);
  x[2 * 4 + 1] = std::numeric_limits<float>::quiet_NaN();  // v of the first group, second pixel
  const Floats y = run_reference(LinearAttention2d(1), {{{1, 6, 2, 2}, x}});
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(std::isnan(y[i])) << i;
  for (std::size_t i = 4; i < 8; ++i) EXPECT_EQ(y[i], 1) << i;
}

TEST(LinearAttention2dTest, ShapesAndRefusals) {
  EXPECT_EQ(inferred_shape(LinearAttention2d(4), {{2, 24, 5, 7}}), (Shape{2, 8, 5, 7}));
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(LinearAttention2d(4), {{1, 16, 2, 2}});
            }),
            "LinearAttention2d expects channels in groups of 12 (q, k and v of 4 each), got 16 (x [1,16,2,2] as [N,C,H,W])");
  EXPECT_THROW(inferred_shape(LinearAttention2d(4), {{12, 4}}), ShapeError);
  EXPECT_THROW(LinearAttention2d(0), OptionError);
  EXPECT_THROW(LinearAttention2d(65), OptionError);
  EXPECT_THROW(LinearAttention2d(4, -1), OptionError);
  const Plan plan =
      test::trace_function({{1, 12, 3, 5}}, [](const std::vector<Value>& x) { return std::vector<Value>{linear_attention2d(x[0], 4)}; });
  EXPECT_EQ(dynamic_cast<const LinearAttention2d&>(*plan.steps[0].layer).head_dim(), 4);
}

TEST(LinearAttention2dGpu, HeadsGroupsAndSizes) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    for (const Format f : {Format::nchw, Format::nhwc}) {
      for (const int d : {1, 3, 8, 16, 31, 32, 33, 64}) {
        for (const Shape& x : {Shape{1, 3 * d, 1, 1}, Shape{2, 6 * d, 5, 7}, Shape{1, 9 * d, 33, 31}}) {
          if (test::each_kernel_once() && x.h() > 5) continue;  // minutes under racecheck
          expect_parity(LinearAttention2d(d), {.inputs = {x}, .dtype = t, .format = f});
        }
      }
      if (!test::each_kernel_once()) {
        expect_parity(LinearAttention2d(32), {.inputs = {{1, 192, 97, 101}}, .dtype = t, .format = f});  // several segments
      }
      for (const Fill fill : {Fill::zeros, Fill::constant, Fill::one_hot, Fill::special}) {
        expect_parity(LinearAttention2d(8), {.inputs = {{2, 48, 9, 9}}, .dtype = t, .format = f, .fill = fill});
      }
      expect_parity(LinearAttention2d(8), {.inputs = {{2, 48, 9, 9}}, .dtype = t, .format = f, .misalign = 1});
    }
  }
}

TEST(LinearAttention2dGpu, HeadsOf32InRegisters) {
  FRIEZE_NEEDS_GPU();
  const LinearAttention2d layer(32);
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    for (const Fill fill : {Fill::zeros, Fill::constant, Fill::one_hot, Fill::special}) {
      expect_parity(layer, {.inputs = {{2, 192, 9, 29}}, .dtype = t, .format = Format::nhwc, .fill = fill});
    }
    const auto report = expect_parity(layer, {.inputs = {{2, 192, 9, 29}}, .dtype = t, .format = Format::nhwc});
    EXPECT_NE(report.describe.find("in registers"), std::string::npos) << report.describe;
    expect_parity(layer, {.inputs = {{2, 192, 9, 29}}, .dtype = t, .format = Format::nhwc, .misalign = 1});
  }
  // So many pixels that a block multiplies a thousand of them.
  if (!test::each_kernel_once()) expect_parity(layer, {.inputs = {{1, 1536, 161, 163}}, .dtype = DType::bf16, .format = Format::nhwc});
}

TEST(LinearAttention2dGpu, LongSumsAreSplit) {
  FRIEZE_NEEDS_GPU();
  const auto report = expect_parity(LinearAttention2d(32), {.inputs = {{1, 96, 97, 101}}, .format = Format::nhwc});
  EXPECT_NE(report.describe.find("segments of pixels"), std::string::npos) << report.describe;
}

}  // namespace
}  // namespace frieze
