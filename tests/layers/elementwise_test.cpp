#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include <frieze/core/error.h>
#include <frieze/layers/elementwise/elementwise.h>
#include "support/constants.h"
#include "support/reference.h"

namespace frieze {
namespace {

using test::inferred_shape;
using test::message_of;
using test::run_reference;
using Floats = std::vector<float>;
using test::kInf;

TEST(AddTest, AddsElementByElement) {
  EXPECT_EQ(run_reference(Add(), {{{1, 1, 2, 2}, {1, 2, 3, 4}}, {{1, 1, 2, 2}, {10, 20, 30, -4}}}), (Floats{11, 22, 33, 0}));
}

TEST(AddTest, RoundsOnceToTheTypeOfTheRun) {
  EXPECT_EQ(run_reference(Add(), {{{1}, {2048}}, {{1}, {1}}}, DType::f16), Floats{2048}) << "a tie goes to even";
  EXPECT_EQ(run_reference(Add(), {{{1}, {2048}}, {{1}, {3}}}, DType::f16), Floats{2052});
  EXPECT_EQ(run_reference(Add(), {{{1}, {65504}}, {{1}, {65504}}}, DType::f16), Floats{kInf});
}

TEST(AddTest, SpecialValuesAreThoseOfIeee754) {
  const Floats y = run_reference(Add(), {{{4}, {kInf, kInf, NAN, -kInf}}, {{4}, {1, -kInf, 1, -kInf}}});
  EXPECT_EQ(y[0], kInf);
  EXPECT_TRUE(std::isnan(y[1]));
  EXPECT_TRUE(std::isnan(y[2]));
  EXPECT_EQ(y[3], -kInf);
}

TEST(BroadcastTest, AGatePerChannelScalesEveryPixel) {
  for (const Format format : {Format::nchw, Format::nhwc}) {
    const Floats y = run_reference(Mul(), {{{1, 2, 1, 3}, {1, 2, 3, 4, 5, 6}}, {{1, 2, 1, 1}, {10, -1}}}, DType::f32, format);
    EXPECT_EQ(y, (Floats{10, 20, 30, -4, -5, -6})) << format;
  }
}

TEST(BroadcastTest, AMaskPerPixelScalesEveryChannel) {
  for (const Format format : {Format::nchw, Format::nhwc}) {
    const Floats y = run_reference(Mul(), {{{1, 1, 1, 3}, {1, 0, 2}}, {{1, 2, 1, 3}, {1, 2, 3, 4, 5, 6}}}, DType::f32, format);
    EXPECT_EQ(y, (Floats{1, 0, 6, 4, 0, 12})) << format;
  }
}

TEST(BroadcastTest, BothInputsMayRepeat) {
  EXPECT_EQ(run_reference(Add(), {{{2, 1}, {10, 20}}, {{1, 3}, {1, 2, 3}}}), (Floats{11, 12, 13, 21, 22, 23}));
  EXPECT_EQ(inferred_shape(Mul(), {{7, 1, 5, 1}, {1, 3, 1, 9}}), (Shape{7, 3, 5, 9}));
  EXPECT_EQ(inferred_shape(Mul(), {{5, 1}, {2, 3, 1, 9}}), (Shape{2, 3, 5, 9}));
  EXPECT_EQ(inferred_shape(Add(), {{2, 3}, Shape{}}), (Shape{2, 3}));
  EXPECT_EQ(run_reference(Add(), {{{2, 2}, {1, 2, 3, 4}}, {{2}, {10, 20}}}), (Floats{11, 22, 13, 24}));
}

TEST(BroadcastTest, RefusesWhatDoesNotFitNamingBothShapes) {
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(Add(), {{1, 2, 3, 3}, {1, 3, 3, 3}});
            }),
            "Add expects extents that are equal or 1, got [1,2,3,3] and [1,3,3,3], which differ at axis 1");
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(Mul(), {{1, 2, 3, 3}, {2, 3}});
            }),
            "Mul expects extents that are equal or 1, got [1,2,3,3] and [2,3], which differ at axis 2 of the result");
  EXPECT_EQ(message_of<ShapeError>([] { inferred_shape(Add(), {{1, 2}}); }), "Add takes 2 inputs, got 1");
  EXPECT_EQ(message_of<ShapeError>([] { inferred_shape(Mul(), {{1, 0}, {1, 2}}); }), "Mul expects extents of at least 1, got [1,0]");
  const TensorSpec mixed[] = {{Shape{2}, DType::f16}, {Shape{2}, DType::bf16}};
  EXPECT_EQ(message_of<DTypeError>([&] { Add().infer(mixed); }), "Add expects inputs of one dtype, got f16 and bf16");
}

TEST(BroadcastTest, AProducerMayAbsorbEqualShapesOnly) {
  const TensorSpec x{{1, 2, 3, 3}}, gate{{1, 2, 1, 1}};
  const TensorSpec same[] = {x, x}, repeated[] = {x, gate}, reversed[] = {gate, x};
  ASSERT_TRUE(Add().as_epilogue(same).has_value());
  EXPECT_EQ(Add().as_epilogue(same)->kind, EpilogueOp::Kind::add);
  EXPECT_EQ(Mul().as_epilogue(same)->kind, EpilogueOp::Kind::mul);
  EXPECT_FALSE(Add().as_epilogue(repeated).has_value());
  EXPECT_FALSE(Mul().as_epilogue(reversed).has_value());
}

TEST(ScaleTest, MultipliesByAFactorInF32) {
  EXPECT_EQ(run_reference(Scale(0.5F), {{{3}, {1, -3, 0}}}), (Floats{0.5F, -1.5F, 0}));
  // 0.1f is not a number of bf16; rounding the factor first would give 0.2001953125 * 5.
  EXPECT_EQ(run_reference(Scale(0.1F), {{{1}, {100}}}, DType::bf16), Floats{10});
}

TEST(ScaleTest, RefusesAFactorThatIsNoNumber) {
  EXPECT_EQ(message_of<OptionError>([] { Scale scale(kInf); }), "Scale expects a finite factor, got inf");
  EXPECT_THROW((void)Scale{std::numeric_limits<float>::quiet_NaN()}, OptionError);
}

TEST(OperatorTest, ValuesCombineInOnePlan) {
  const Plan plan = test::trace_function({{1, 4, 2, 2}, {1, 4, 1, 1}}, [](const std::vector<Value>& x) {
    return std::vector<Value>{x[0] * x[1] + 0.5F * x[0] + x[0] * 2.0F};
  });
  std::vector<std::string> types;
  for (const Step& step : plan.steps) types.emplace_back(step.layer->type_name());
  ASSERT_EQ(types.size(), 5U);
  EXPECT_EQ(std::count(types.begin(), types.end(), "Mul"), 1);
  EXPECT_EQ(std::count(types.begin(), types.end(), "Add"), 2);
  EXPECT_EQ(std::count(types.begin(), types.end(), "Scale"), 2);
  EXPECT_EQ(plan.spec(plan.output("y0")).shape, (Shape{1, 4, 2, 2}));
}

TEST(CostTest, CountsEveryInputAndTheOutputOnce) {
  const TensorSpec in[] = {{{1, 4, 8, 8}, DType::f16}, {{1, 4, 1, 1}, DType::f16}};
  const Inferred inferred = Mul().infer(in);
  EXPECT_EQ(inferred.flops, 256);
  EXPECT_EQ(inferred.bytes, 2 * (256 + 4 + 256));
}

}  // namespace
}  // namespace frieze
