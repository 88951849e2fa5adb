#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include <frieze/core/error.h>
#include <frieze/layers/softmax/softmax.h>
#include "support/constants.h"
#include "support/reference.h"

namespace frieze {
namespace {

using test::inferred_shape;
using test::message_of;
using test::run_reference;
using Floats = std::vector<float>;
using test::kInf;

void expect_near(const Floats& got, const Floats& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-7) << "element " << i;
}

// exp(1), exp(2), exp(3) over their sum.
const Floats kOneTwoThree{0.09003057F, 0.24472847F, 0.66524096F};

TEST(SoftmaxTest, LastAxisByDefault) {
  expect_near(run_reference(Softmax(), {{{2, 3}, {1, 2, 3, 1001, 1002, 1003}}}),
              {kOneTwoThree[0], kOneTwoThree[1], kOneTwoThree[2], kOneTwoThree[0], kOneTwoThree[1], kOneTwoThree[2]});
}

TEST(SoftmaxTest, AnyAxisInEitherFormat) {
  const Floats one_to_three_twice{1, 1, 2, 2, 3, 3};
  const Floats expected{kOneTwoThree[0], kOneTwoThree[0], kOneTwoThree[1], kOneTwoThree[1], kOneTwoThree[2], kOneTwoThree[2]};
  for (const Format format : {Format::nchw, Format::nhwc}) {
    expect_near(run_reference(Softmax(1), {{{1, 3, 1, 2}, one_to_three_twice}}, DType::f32, format), expected);
    expect_near(run_reference(Softmax(-2), {{{1, 1, 3, 2}, one_to_three_twice}}, DType::f32, format), expected);
    expect_near(run_reference(Softmax(0), {{{3, 1, 2, 1}, one_to_three_twice}}, DType::f32, format), expected);
  }
}

TEST(SoftmaxTest, ALongLineSumsToOne) {
  const Floats y = run_reference(Softmax(), {{{1, 100000}, Floats(100000, 3)}});
  for (const float v : y) EXPECT_EQ(v, 1e-5F);
}

TEST(SoftmaxTest, SpecialValuesFollowTheFormula) {
  const auto line = [](Floats x) {
    const auto count = static_cast<std::int64_t>(x.size());
    return run_reference(Softmax(), {{Shape{count}, std::move(x)}});
  };
  expect_near(line({-kInf, 0, 0}), {0, 0.5F, 0.5F});
  expect_near(line({-3e38F, 3e38F, 0}), {0, 1, 0});
  expect_near(line({-kInf, -5}), {0, 1});
  for (const Floats& x : {Floats{kInf, 0}, Floats{0, NAN}, Floats{NAN, 0}, Floats{-kInf, -kInf}, Floats{kInf, kInf}}) {
    for (const float v : line(x)) EXPECT_TRUE(std::isnan(v)) << x[0] << ' ' << x[1];
  }
}

TEST(SoftmaxTest, RefusesAnAxisThatIsNotThere) {
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(Softmax(2), {{4, 4}});
            }),
            "Softmax expects an input with an axis 2, got [4,4] of rank 2");
  EXPECT_THROW(inferred_shape(Softmax(-3), {{4, 4}}), ShapeError);
  EXPECT_THROW(inferred_shape(Softmax(), {Shape{}}), ShapeError);
  EXPECT_EQ(inferred_shape(Softmax(-2), {{4, 5}}), (Shape{4, 5}));
}

TEST(SoftmaxTest, FreeFunction) {
  const Plan plan = test::trace_function({{2, 8, 3, 5}}, [](const std::vector<Value>& x) { return std::vector<Value>{softmax(x[0], 1)}; });
  ASSERT_EQ(plan.steps.size(), 1U);
  EXPECT_EQ(dynamic_cast<const Softmax&>(*plan.steps[0].layer).axis(), 1);
}

}  // namespace
}  // namespace frieze
