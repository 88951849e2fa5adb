#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include <frieze/core/error.h>
#include <frieze/layers/pool/pool.h>
#include "support/reference.h"

namespace frieze {
namespace {

using test::inferred_shape;
using test::message_of;
using test::run_reference;
using Floats = std::vector<float>;

TEST(GlobalAvgPoolTest, MeansOfEveryChannelOfEveryImage) {
  for (const Format format : {Format::nchw, Format::nhwc}) {
    const Floats x{1, 2, 3, 4, 10, 20, 30, 40, -1, -1, -1, -1, 0, 0, 0, 2};
    EXPECT_EQ(run_reference(GlobalAvgPool(), {{{2, 2, 2, 2}, x}}, DType::f32, format), (Floats{2.5F, 25, -1, 0.5F})) << format;
  }
}

TEST(GlobalAvgPoolTest, SumsInDouble) {
  // In f32 the ones would vanish beside 2^25.
  EXPECT_EQ(run_reference(GlobalAvgPool(), {{{1, 1, 2, 2}, {0x1p25F, 1, 1, -0x1p25F}}}), Floats{0.5F});
}

TEST(GlobalAvgPoolTest, SpecialValuesPropagate) {
  const float inf = std::numeric_limits<float>::infinity();
  const Floats y = run_reference(GlobalAvgPool(), {{{1, 3, 1, 2}, {inf, 1, inf, -inf, NAN, 1}}});
  EXPECT_EQ(y[0], inf);
  EXPECT_TRUE(std::isnan(y[1]));
  EXPECT_TRUE(std::isnan(y[2]));
}

double typical_size(const Shape& shape, const Floats& x, Format format = Format::nchw, bool keep_dims = false) {
  const HostTensor in(TensorSpec{shape, DType::f32, format}, x);
  const TensorView view = in.view();
  return GlobalAvgPool(keep_dims).typical_size({&view, 1});
}

// rms(x) / sqrt(H*W), whatever N and C are.
TEST(GlobalAvgPoolTest, TypicalSizeIsThatOfAMean) {
  Floats x(std::size_t{2 * 3 * 4 * 5});
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = i % 4 == 0 ? 3.0F : i % 4 == 1 ? -5.0F : 1.0F;  // rms 3: (9 + 25 + 1 + 1) / 4
  for (const Format format : {Format::nchw, Format::nhwc}) {
    EXPECT_DOUBLE_EQ(typical_size({2, 3, 4, 5}, x, format), 3 / std::sqrt(20.0)) << format;
    EXPECT_DOUBLE_EQ(typical_size({2, 15, 2, 2}, x, format, true), 3.0 / 2) << format;
    EXPECT_DOUBLE_EQ(typical_size({1, 1, 8, 15}, x, format), 3 / std::sqrt(120.0)) << format;
  }
  for (float& v : x) v *= 16;
  EXPECT_DOUBLE_EQ(typical_size({2, 3, 4, 5}, x), 48 / std::sqrt(20.0));
  EXPECT_DOUBLE_EQ(typical_size({120, 1, 1, 1}, x), 48);  // means of one value each
}

// What the name says: random values do not cancel, and the means' rms is the typical size.
TEST(GlobalAvgPoolTest, TypicalSizeIsTheRmsOfRandomMeans) {
  const Shape shape{2, 1000, 7, 9};
  std::mt19937 bits(5);
  Floats x(static_cast<std::size_t>(shape.elements()));
  for (float& v : x) v = static_cast<float>(static_cast<double>(bits()) * 0x1p-31 - 1);
  double squares = 0;
  const Floats y = run_reference(GlobalAvgPool(), {{shape, x}});
  for (const float v : y) squares += double{v} * v;
  EXPECT_NEAR(typical_size(shape, x) / std::sqrt(squares / static_cast<double>(y.size())), 1, 0.05);
}

TEST(GlobalAvgPoolTest, ShapesAndRefusals) {
  EXPECT_EQ(inferred_shape(GlobalAvgPool(), {{7, 33, 5, 3}}), (Shape{7, 33}));
  EXPECT_EQ(inferred_shape(GlobalAvgPool(true), {{7, 33, 5, 3}}), (Shape{7, 33, 1, 1}));
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(GlobalAvgPool(), {{7, 33, 5}});
            }),
            "GlobalAvgPool expects rank 4 as [N,C,H,W], got [7,33,5] of rank 3");
  EXPECT_THROW(inferred_shape(GlobalAvgPool(), {{1, 2, 2, 2}, {1, 2, 2, 2}}), ShapeError);
  const TensorSpec in[] = {{{2, 3, 4, 5}}};
  EXPECT_EQ(GlobalAvgPool().infer(in).flops, 120);
}

TEST(GlobalAvgPoolTest, FreeFunction) {
  const Plan plan = test::trace_function({{2, 8, 3, 5}}, [](const std::vector<Value>& x) {
    return std::vector<Value>{global_avg_pool(x[0]), global_avg_pool(x[0], true)};
  });
  EXPECT_EQ(plan.spec(plan.output("y0")).shape, (Shape{2, 8}));
  EXPECT_EQ(plan.spec(plan.output("y1")).shape, (Shape{2, 8, 1, 1}));
}

}  // namespace
}  // namespace frieze
