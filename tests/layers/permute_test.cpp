#include <frieze/layers/permute/permute.h>

#include <gtest/gtest.h>

#include <frieze/core/error.h>
#include "support/parity_grid.h"
#include "support/reference.h"

namespace frieze {
namespace {

using test::inferred_shape;
using test::message_of;
using test::run_reference;
using Floats = std::vector<float>;

// numpy.arange(12).reshape(1, 3, 2, 2).transpose(0, 2, 3, 1)
TEST(PermuteTest, PutsAxesInTheOrderGiven) {
  for (const Format format : {Format::nchw, Format::nhwc}) {
    EXPECT_EQ(run_reference(Permute({0, 2, 3, 1}), {{{1, 3, 2, 2}, test::iota(12)}}, DType::f32, format),
              (Floats{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}))
        << format;
  }
  EXPECT_EQ(run_reference(Permute({1, 0}), {{{2, 3}, test::iota(6)}}), (Floats{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(inferred_shape(Permute({-1, 0, 1}), {{2, 3, 4}}), (Shape{4, 2, 3}));
}

TEST(PermuteTest, LaysOutThereAndBack) {
  const Permute permute({2, 0, 3, 1});
  const TensorSpec x{{2, 3, 4, 5}};
  const Layout in{7, {100, 30, 6, 1}};
  const std::optional<Layout> out = permute.output_layout({&x, 1}, 0, in);
  ASSERT_TRUE(out.has_value());
  EXPECT_EQ(*out, (Layout{7, {6, 100, 1, 30}}));
  EXPECT_EQ(permute.input_layout({&x, 1}, 0, *out), in);
}

TEST(PermuteTest, RefusesAxesThatAreNoOrder) {
  EXPECT_EQ(message_of<OptionError>([] { Permute({0, 0}); }), "Permute expects each of 2 axes once, got axis 0 of [0,0]");
  EXPECT_THROW(Permute({0, 2}), OptionError);
  EXPECT_THROW(Permute({-3, 0}), OptionError);
  EXPECT_EQ(message_of<ShapeError>([] { inferred_shape(Permute({1, 0}), {{1, 2, 3}}); }), "Permute [1,0] expects rank 2, got x [1,2,3]");
}

TEST(TransposeTest, SwapsTwoAxes) {
  const auto shape_of = [](int a, int b) {
    const Plan plan = test::trace_function({{2, 3, 4}}, [&](const std::vector<Value>& x) { return std::vector{transpose(x[0], a, b)}; });
    return plan.spec(plan.output("y0")).shape;
  };
  EXPECT_EQ(shape_of(0, 2), (Shape{4, 3, 2}));
  EXPECT_EQ(shape_of(-1, -2), (Shape{2, 4, 3}));
  EXPECT_EQ(shape_of(1, 1), (Shape{2, 3, 4}));
  EXPECT_THROW(shape_of(0, 3), OptionError);
  EXPECT_THROW(shape_of(-4, 0), OptionError);
}

TEST(PermuteGpu, Orders) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    test::expect_parity(Permute({0, 2, 3, 1}), {.inputs = {{2, 33, 8, 5}}, .dtype = t});
    test::expect_parity(Permute({3, 1, 0, 2}), {.inputs = {{2, 3, 8, 40}}, .dtype = t});
    test::expect_parity(Permute({2, 1, 0}), {.inputs = {{7, 33, 9}}, .dtype = t});
    // Through tiles, in packs and by elements.
    for (const Shape& x : {Shape{2, 96, 5, 64}, Shape{3, 67, 19, 23}, Shape{2, 64, 128, 8}}) {
      for (const std::vector<int>& axes : {std::vector<int>{0, 2, 3, 1}, {0, 3, 1, 2}, {3, 2, 1, 0}, {0, 1, 3, 2}}) {
        test::expect_parity(Permute(axes), {.inputs = {x}, .dtype = t});
        test::expect_parity(Permute(axes), {.inputs = {x}, .dtype = t, .misalign = 1});
      }
    }
  }
}

}  // namespace
}  // namespace frieze
