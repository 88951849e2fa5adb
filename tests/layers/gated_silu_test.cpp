#include <gtest/gtest.h>

#include <cmath>

#include <frieze/core/error.h>
#include <frieze/layers/gated_silu/gated_silu.h>
#include "support/parity.h"
#include "support/reference.h"

namespace frieze {
namespace {

using test::expect_parity;
using test::Fill;
using test::inferred_shape;
using test::message_of;
using test::run_reference;
using Floats = std::vector<float>;

TEST(GatedSiLUTest, TheSecondHalfGatesTheFirst) {
  const float one = static_cast<float>(1 / (1 + std::exp(-1.0)));
  for (const Format format : {Format::nchw, Format::nhwc}) {
    // Two images, one value and one gate channel, two pixels.
    EXPECT_EQ(run_reference(GatedSiLU(), {{{2, 2, 1, 2}, {2, 3, 0, 1, 5, -4, 1, 0}}}, DType::f32, format),
              (Floats{0, 3 * one, 5 * one, -0.0F}));
  }
}

TEST(GatedSiLUTest, ShapesAndRefusals) {
  EXPECT_EQ(inferred_shape(GatedSiLU(), {{2, 6, 3, 5}}), (Shape{2, 3, 3, 5}));
  EXPECT_EQ(inferred_shape(GatedSiLU(), {{4, 6}}), (Shape{4, 3}));
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(GatedSiLU(), {{1, 5, 2, 2}});
            }),
            "GatedSiLU expects an even number of channels, values and gates, got 5 (x [1,5,2,2])");
  EXPECT_THROW(inferred_shape(GatedSiLU(), {{6}}), ShapeError);
  const Plan plan = test::trace_function({{1, 8, 3, 5}}, [](const std::vector<Value>& x) { return std::vector<Value>{gated_silu(x[0])}; });
  EXPECT_EQ(plan.spec(plan.output("y0")).shape, (Shape{1, 4, 3, 5}));
}

TEST(GatedSiLUGpu, ChannelsFormatsAndFills) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    for (const Format f : {Format::nchw, Format::nhwc}) {
      for (const std::int64_t c : {1, 3, 8, 31, 32, 64, 384}) {
        expect_parity(GatedSiLU(), {.inputs = {{2, 2 * c, 5, 7}}, .dtype = t, .format = f});
        expect_parity(GatedSiLU(), {.inputs = {{1, 2 * c, 1, 1}}, .dtype = t, .format = f});
      }
      for (const Fill fill : {Fill::zeros, Fill::huge, Fill::subnormal, Fill::mixed, Fill::special}) {
        expect_parity(GatedSiLU(), {.inputs = {{1, 32, 8, 8}}, .dtype = t, .format = f, .fill = fill});
      }
      expect_parity(GatedSiLU(), {.inputs = {{1, 32, 4, 4}}, .dtype = t, .format = f, .misalign = 1});
    }
    expect_parity(GatedSiLU(), {.inputs = {{7, 66}}, .dtype = t});
  }
}

}  // namespace
}  // namespace frieze
