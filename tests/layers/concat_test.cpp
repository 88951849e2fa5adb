#include <gtest/gtest.h>

#include <frieze/core/error.h>
#include <frieze/layers/concat/concat.h>
#include "support/reference.h"

namespace frieze {
namespace {

using test::inferred_shape;
using test::message_of;
using test::run_reference;
using Floats = std::vector<float>;

TEST(ConcatTest, PutsChannelsSideBySideInEveryImage) {
  for (const Format format : {Format::nchw, Format::nhwc}) {
    const Floats y =
        run_reference(Concat(), {{{2, 1, 1, 2}, {1, 2, 3, 4}}, {{2, 2, 1, 2}, {10, 11, 12, 13, 20, 21, 22, 23}}}, DType::f32, format);
    EXPECT_EQ(y, (Floats{1, 2, 10, 11, 12, 13, 3, 4, 20, 21, 22, 23})) << format;
  }
}

TEST(ConcatTest, TakesOneInputOrManyOfAnyRank) {
  EXPECT_EQ(run_reference(Concat(), {{{1, 2}, {5, 6}}}), (Floats{5, 6}));
  EXPECT_EQ(run_reference(Concat(), {{{2, 1}, {1, 2}}, {{2, 1}, {3, 4}}, {{2, 1}, {5, 6}}}), (Floats{1, 3, 5, 2, 4, 6}));
  EXPECT_EQ(inferred_shape(Concat(), {{7, 3, 5, 5}, {7, 31, 5, 5}, {7, 1, 5, 5}}), (Shape{7, 35, 5, 5}));
}

TEST(ConcatTest, GoesAlongAnyAxis) {
  EXPECT_EQ(run_reference(Concat(0), {{{1, 2}, {1, 2}}, {{2, 2}, {3, 4, 5, 6}}}), (Floats{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(run_reference(Concat(0), {{{1}, {1}}, {{2}, {2, 3}}}), (Floats{1, 2, 3}));
  for (const Format format : {Format::nchw, Format::nhwc}) {
    EXPECT_EQ(run_reference(Concat(-1), {{{1, 2, 1, 1}, {1, 2}}, {{1, 2, 1, 2}, {3, 4, 5, 6}}}, DType::f32, format),
              (Floats{1, 3, 4, 2, 5, 6}))
        << format;
  }
  EXPECT_EQ(inferred_shape(Concat(2), {{7, 3, 5, 5}, {7, 3, 1, 5}}), (Shape{7, 3, 6, 5}));
  EXPECT_THROW(inferred_shape(Concat(4), {{7, 3, 5, 5}}), ShapeError);
  EXPECT_EQ(Concat(2).describe(), "along axis 2");
}

TEST(ConcatTest, RefusesInputsThatDoNotFit) {
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(Concat(), {{1, 2, 3, 3}, {1, 2, 3, 4}});
            }),
            "Concat expects inputs that differ along axis 1 only, got [1,2,3,3] and [1,2,3,4]");
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(Concat(), {{1, 2, 3, 3}, {1, 2, 3}});
            }),
            "Concat expects inputs that differ along axis 1 only, got [1,2,3,3] and [1,2,3]");
  EXPECT_EQ(message_of<ShapeError>([] { inferred_shape(Concat(), {{4}}); }), "Concat expects rank 2 or more for axis 1, got [4] of rank 1");
  EXPECT_EQ(message_of<ShapeError>([] { inferred_shape(Concat(), {}); }), "Concat takes at least 1 input, got 0");
  const TensorSpec mixed[] = {{Shape{1, 2}, DType::f16}, {Shape{1, 2}, DType::f32}};
  EXPECT_THROW(Concat().infer(mixed), DTypeError);
  EXPECT_THROW(inferred_shape(Concat(), {{1, std::int64_t{1} << 62}, {1, std::int64_t{1} << 62}}), ShapeError);
  EXPECT_THROW(concat({}), OptionError);
}

TEST(ConcatTest, TheFreeFunctionTakesAList) {
  const Plan plan = test::trace_function({{1, 2, 4, 4}, {1, 3, 4, 4}}, [](const std::vector<Value>& x) {
    return std::vector<Value>{concat({x[0], x[1], x[0]})};
  });
  ASSERT_EQ(plan.steps.size(), 1U);
  EXPECT_EQ(plan.steps[0].layer->type_name(), "Concat");
  EXPECT_EQ(plan.steps[0].inputs.size(), 3U);
  EXPECT_EQ(plan.spec(plan.output("y0")).shape, (Shape{1, 7, 4, 4}));
}

}  // namespace
}  // namespace frieze
