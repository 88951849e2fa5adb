#include <frieze/layers/linear/linear.h>

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include <frieze/core/error.h>
#include <frieze/graph/reference_step.h>
#include <frieze/graph/verify.h>

namespace frieze {
namespace {

std::vector<float> run(const Linear& linear, const Shape& shape, std::span<const float> x, DType dtype = DType::f32) {
  const TensorSpec spec{shape, dtype};
  const HostTensor in(spec, x);
  const HostTensor y(linear.infer({&spec, 1}).out[0]);
  const TensorView view = in.view();
  const TensorView out = y.view();
  linear.reference({{&view, 1}, {&out, 1}, dtype});
  return y.floats();
}

std::string infer_message(const Linear& linear, const Shape& shape) {
  try {
    const TensorSpec spec{shape, DType::f32};
    (void)linear.infer({&spec, 1});
  } catch (const ShapeError& e) {
    return e.what();
  }
  return "no error";
}

TEST(LinearReference, HandComputed) {
  Linear linear(2, 3);
  linear.parameters()[0]->values = {1, 2, 3, 4, 5, 6};
  linear.parameters()[1]->values = {0.5F, 0, -1};
  EXPECT_EQ(run(linear, {2}, std::vector<float>{10, 1}), (std::vector<float>{12.5F, 34, 55}));
  EXPECT_EQ(run(linear, {2, 2}, std::vector<float>{10, 1, 0, 0}), (std::vector<float>{12.5F, 34, 55, 0.5F, 0, -1}));
}

TEST(LinearReference, EqualsTheFormulaForEveryRank) {
  for (const Shape& shape : {Shape{33}, Shape{5, 33}, Shape{2, 3, 33}, Shape{2, 1, 3, 33}, Shape{1, 2, 1, 2, 1, 1, 2, 33}}) {
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
      for (const bool with_bias : {false, true}) {
        Linear linear(33, 7, {.bias = with_bias});
        init_random(linear, 2);
        std::mt19937 bits(5);
        std::vector<float> x(static_cast<std::size_t>(shape.elements()));
        for (float& v : x) v = round_to(dtype, static_cast<double>(bits()) * 0x1p-31 - 1);
        const std::vector<float> y = run(linear, shape, x, dtype);
        const std::vector<float> weight = linear.weight().rounded(dtype);
        ASSERT_EQ(y.size(), x.size() / 33 * 7);
        for (std::size_t i = 0; i < y.size(); ++i) {
          double sum = with_bias ? linear.bias().rounded(dtype)[i % 7] : 0.0;
          for (std::size_t k = 0; k < 33; ++k) sum += static_cast<double>(weight[i % 7 * 33 + k]) * x[i / 7 * 33 + k];
          ASSERT_NEAR(y[i], sum, 1.001 * unit_roundoff(dtype) * std::abs(sum) + 1e-10) << shape << " " << dtype << " at " << i;
        }
      }
    }
  }
}

TEST(LinearInfer, ShapesAndCost) {
  const Linear linear(6, 5, {.bias = false});
  const TensorSpec x{{2, 3, 6}, DType::f16};
  const Inferred inferred = linear.infer({&x, 1});
  EXPECT_EQ(inferred.out[0], (TensorSpec{{2, 3, 5}, DType::f16}));
  EXPECT_EQ(inferred.flops, 11.0 * 30);
  EXPECT_EQ(inferred.bytes, 2.0 * (36 + 30 + 30));
  EXPECT_EQ(linear.describe(), "6->5 no bias");
}

// The last axis is contiguous in a row-major tensor only.
TEST(LinearFormats, ImagesRunInNchw) {
  const Linear linear(6, 5);
  const TensorSpec image{{1, 2, 3, 6}, DType::f32}, rows{{2, 6}, DType::f32};
  EXPECT_FALSE(linear.formats({&image, 1}).nhwc);
  EXPECT_TRUE(linear.formats({&rows, 1}).nhwc);
}

TEST(LinearRefuses, ShapesAndOptions) {
  const Linear linear(6, 5);
  EXPECT_EQ(infer_message(linear, {2, 7}), "Linear expects 6 input features, got 7 (x [2,7] as [...,features], weight [5,6] as [out,in])");
  EXPECT_EQ(infer_message(linear, Shape{}), "Linear expects rank 1 to 8 as [...,features], got [] of rank 0");
  EXPECT_NE(infer_message(linear, {0, 6}).find("extents of at least 1"), std::string::npos);
  EXPECT_NE(infer_message(Linear(1, 1 << 20), {std::int64_t{1} << 45, 1}).find("2^63 - 1"), std::string::npos);
  EXPECT_THROW(Linear(0, 1), OptionError);
  EXPECT_THROW(Linear(1, -2), OptionError);
  EXPECT_THROW(Linear(std::int64_t{1} << 40, std::int64_t{1} << 40), ShapeError);
}

// The one output is zero but for its last product: what an f32 sum loses is large beside it, and small beside what was summed.
TEST(Linear, AnOutputThatCancelsIsMeasuredAgainstItsProducts) {
  constexpr std::int64_t kIn = 385;
  Linear linear(kIn, 1, {.bias = false});
  ParameterValues& weight = linear.parameters()[0]->values;
  std::vector<float> x(kIn);
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  float sum = 0;  // one long chain
  for (std::size_t i = 0; i < x.size(); ++i) {
    const bool last = i + 1 == x.size(), again = i % 2 == 1;
    x[i] = last ? 1e-3F : again ? -x[i - 1] : normal(random);
    weight[i] = last ? 1 : again ? weight[i - 1] : normal(random);
  }
  for (std::size_t i = 0; i + 1 < x.size(); i += 2) sum += x[i] * weight[i];
  for (std::size_t i = 1; i < x.size(); i += 2) sum += x[i] * weight[i];
  const float without_last = sum;
  sum += x.back() * weight.back();

  const TensorSpec spec{Shape{kIn}, DType::f32};
  const HostTensor in(spec, x);
  const HostTensor y(linear.infer({&spec, 1}).out[0]);
  Step step;
  step.layer = std::shared_ptr<const Layer>(std::shared_ptr<void>(), &linear);
  step.inputs = {0};
  step.outputs = {1};
  const TensorView view = in.view(), made = y.view();
  const double scale = reference_step(step, {&view, 1}, {&made, 1}, DType::f32);
  EXPECT_NEAR(scale, std::sqrt(385.0), 4);
  const ErrorBudget budget = linear.budget({&spec, 1});
  const std::vector<float> ref = y.floats(), got{sum}, wrong{without_last};
  EXPECT_FLOAT_EQ(ref[0], 1e-3F);
  EXPECT_GT(difference(got, ref, DType::f32, budget).share, 1) << "cancellation alone";
  EXPECT_LT(difference(got, ref, DType::f32, budget, scale).share, 0.1);
  EXPECT_GT(difference(wrong, ref, DType::f32, budget, scale).share, 1) << "the last product is missing";
}

}  // namespace
}  // namespace frieze
