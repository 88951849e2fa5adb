#include <gtest/gtest.h>

#include <frieze/core/error.h>
#include <frieze/layers/expand/expand.h>
#include "support/parity_grid.h"
#include "support/reference.h"

namespace frieze {
namespace {

using test::inferred_shape;
using test::message_of;
using test::run_reference;
using Floats = std::vector<float>;

TEST(ExpandTest, RepeatsAxesOfOneElement) {
  EXPECT_EQ(run_reference(Expand({2, 3}), {{{3}, {1, 2, 3}}}), (Floats{1, 2, 3, 1, 2, 3}));
  EXPECT_EQ(run_reference(Expand({-1, 2}), {{{3, 1}, {1, 2, 3}}}, DType::bf16), (Floats{1, 1, 2, 2, 3, 3}));
  for (const Format format : {Format::nchw, Format::nhwc}) {
    EXPECT_EQ(run_reference(Expand({1, -1, 1, 2}), {{{1, 2, 1, 1}, {5, 6}}}, DType::f32, format), (Floats{5, 5, 6, 6}));
  }
  EXPECT_EQ(run_reference(Expand({2}), {{{}, {4}}}), (Floats{4, 4}));
}

TEST(ExpandTest, ShapesAndRefusals) {
  EXPECT_EQ(inferred_shape(Expand({4, -1, -1}), {{1, 5, 6}}), (Shape{4, 5, 6}));
  EXPECT_EQ(inferred_shape(Expand({7, 1, 5}), {{5}}), (Shape{7, 1, 5}));
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(Expand({4, 6}), {{2, 6}});
            }),
            "Expand to [4,6] expects extents of 1 or equal ones, got [2,6]");
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(Expand({6}), {{1, 6}});
            }),
            "Expand to [6] expects rank 1 or less, got [1,6] of rank 2");
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(Expand({-1, 6}), {{6}});
            }),
            "Expand to [-1,6] expects an extent for each new axis, got -1 (x [6])");
  EXPECT_THROW(Expand({0}), OptionError);
  EXPECT_THROW(Expand({-2}), OptionError);
  EXPECT_THROW(Expand(std::vector<std::int64_t>(9, 1)), OptionError);
  EXPECT_THROW(inferred_shape(Expand({std::int64_t{1} << 40, std::int64_t{1} << 40}), {{1, 1}}), ShapeError);
}

TEST(ExpandTest, FreeFunction) {
  const Plan plan = test::trace_function({{1, 8, 3}}, [](const std::vector<Value>& x) {
    return std::vector<Value>{expand(x[0], {4, -1, 3})};
  });
  EXPECT_EQ(plan.spec(plan.output("y0")).shape, (Shape{4, 8, 3}));
}

TEST(ExpandTest, OnAGpu) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const std::int64_t channels : {1, 3, 32, 33}) {
      for (const auto& [shape, extents] : {std::pair<Shape, std::vector<std::int64_t>>{{1, channels, 1, 1}, {2, -1, 5, 7}},
                                           {{2, 1, 3, 5}, {-1, channels, -1, -1}},
                                           {{1, channels, 6, 1}, {3, -1, -1, 8}}}) {
        test::each_placement({.inputs = {shape}, .dtype = t, .format = format}, {.strided = true},
                             [&, &to = extents](const test::ParityCase& c) { test::expect_parity(Expand(to), c); });
      }
      test::expect_parity(Expand({5, 3, channels}), {.inputs = {{channels}}, .dtype = t});
    }
  });
}

}  // namespace
}  // namespace frieze
