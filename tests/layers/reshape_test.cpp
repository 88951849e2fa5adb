#include <frieze/layers/reshape/reshape.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include <frieze/core/error.h>
#include "support/parity_grid.h"
#include "support/reference.h"

namespace frieze {
namespace {

using test::inferred_shape;
using test::message_of;
using test::run_reference;
using Floats = std::vector<float>;

// numpy.arange(n).reshape(…): the row-major order stays.
TEST(ReshapeTest, KeepsTheRowMajorOrderWhateverTheFormat) {
  for (const Format format : {Format::nchw, Format::nhwc}) {
    EXPECT_EQ(run_reference(Reshape({2, -1}), {{{1, 3, 2, 2}, test::iota(12)}}, DType::f32, format), test::iota(12)) << format;
    EXPECT_EQ(run_reference(Reshape({1, 2, 3, 2}), {{{1, 3, 2, 2}, test::iota(12)}}, DType::f32, format), test::iota(12)) << format;
  }
  EXPECT_EQ(inferred_shape(Reshape({2, -1}), {{1, 3, 2, 2}}), (Shape{2, 6}));
  EXPECT_EQ(inferred_shape(Reshape({-1}), {{1, 3, 2, 2}}), (Shape{12}));
  EXPECT_EQ(inferred_shape(Reshape({}), {{1, 1}}), Shape{});
}

TEST(ReshapeTest, RefusesOtherNumbersOfElements) {
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(Reshape({5, -1}), {{3, 4}});
            }),
            "Reshape to [5,-1] expects a multiple of 5 elements, got 12 (x [3,4])");
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(Reshape({5, 2}), {{3, 4}});
            }),
            "Reshape to [5,2] expects 10 elements, got 12 (x [3,4])");
  EXPECT_THROW(Reshape({-1, -1}), OptionError);
  EXPECT_THROW(Reshape({2, 0}), OptionError);
  EXPECT_THROW(Reshape({-2}), OptionError);
  EXPECT_THROW(Reshape(std::vector<std::int64_t>(9, 1)), OptionError);
  const std::int64_t huge = std::int64_t{1} << 40;
  EXPECT_THROW(inferred_shape(Reshape({huge, huge}), {{3, 4}}), ShapeError);
}

// Brute force over small strided tensors: whenever strides are given, they lead to the right elements.
TEST(ReshapeTest, StridesAreGivenWhereThereAreSome) {
  std::mt19937 rng(3);
  const auto below = [&](int n) { return static_cast<int>(rng() % static_cast<std::uint32_t>(n)); };
  int found = 0, contiguous_found = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::int64_t> extents, wanted;
    for (int i = 1 + below(4); i > 0; --i) extents.push_back(1 + below(4));
    const Shape from(extents);
    std::int64_t left = from.elements();
    while (left > 1) {
      std::int64_t d = std::min<std::int64_t>(left, 1 + below(6));
      while (left % d != 0) ++d;
      wanted.push_back(d);
      left /= d;
    }
    while (wanted.size() > 8) wanted[wanted.size() - 2] *= wanted.back(), wanted.pop_back();
    const Shape to(wanted);
    const bool plain = below(3) == 0;
    Layout layout{below(5), contiguous_strides(from, Format::nchw)};
    for (int axis = 0; axis < from.rank() && !plain; ++axis) {
      auto& stride = layout.strides[static_cast<std::size_t>(axis)];
      stride = below(2) == 0 ? stride : stride * 2;
    }
    const std::optional<Layout> out = reshaped(from, layout, to);
    contiguous_found += plain ? 1 : 0;
    ASSERT_TRUE(out.has_value() || !plain) << from << to;
    if (!out) continue;
    ++found;
    std::vector<float> memory(8192);
    for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<float>(i);
    const Floats a = to_floats(TensorView(memory.data() + layout.offset, from, DType::f32, layout.strides));
    ASSERT_EQ(to_floats(TensorView(memory.data() + out->offset, to, DType::f32, out->strides)), a) << from << to;
  }
  EXPECT_GT(found, contiguous_found + 1000);
  // Rows of a wider matrix: a row splits, two rows do not join.
  EXPECT_TRUE(reshaped({4, 6}, {0, {8, 1}}, {4, 2, 3}).has_value());
  EXPECT_FALSE(reshaped({4, 6}, {0, {8, 1}}, {24}).has_value());
}

TEST(FlattenTest, JoinsAxes) {
  const auto shape_of = [](int first, int last) {
    const Plan plan =
        test::trace_function({{2, 3, 4, 5}}, [&](const std::vector<Value>& x) { return std::vector{flatten(x[0], first, last)}; });
    return plan.spec(plan.output("y0")).shape;
  };
  EXPECT_EQ(shape_of(0, -1), (Shape{120}));
  EXPECT_EQ(shape_of(1, -1), (Shape{2, 60}));
  EXPECT_EQ(shape_of(-2, -1), (Shape{2, 3, 20}));
  EXPECT_EQ(shape_of(1, 1), (Shape{2, 3, 4, 5}));
  EXPECT_THROW(shape_of(2, 1), OptionError);
  EXPECT_THROW(shape_of(0, 4), OptionError);
}

TEST(ReshapeGpu, Shapes) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    test::expect_parity(Reshape({6, -1}), {.inputs = {{2, 3, 8, 5}}, .dtype = t});
    test::expect_parity(Reshape({-1}), {.inputs = {{3, 33, 7}}, .dtype = t});
  }
}

}  // namespace
}  // namespace frieze
