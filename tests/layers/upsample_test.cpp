#include <gtest/gtest.h>

#include <frieze/core/error.h>
#include <frieze/layers/upsample/upsample.h>
#include "support/reference.h"

namespace frieze {
namespace {

using test::inferred_shape;
using test::message_of;
using test::run_reference;
using Floats = std::vector<float>;

TEST(UpsampleTest, EveryPixelBecomesAPatch) {
  for (const Format format : {Format::nchw, Format::nhwc}) {
    EXPECT_EQ(run_reference(Upsample(2), {{{1, 2, 1, 2}, {1, 2, 3, 4}}}, DType::f32, format),
              (Floats{1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4}))
        << format;
  }
  EXPECT_EQ(run_reference(Upsample(3), {{{1, 1, 1, 1}, {5}}}), Floats(9, 5));
  EXPECT_EQ(run_reference(Upsample(1), {{{1, 1, 2, 1}, {5, 6}}}), (Floats{5, 6}));
}

TEST(UpsampleTest, ShapesAndRefusals) {
  EXPECT_EQ(inferred_shape(Upsample(3), {{7, 31, 5, 1}}), (Shape{7, 31, 15, 3}));
  EXPECT_EQ(message_of<OptionError>([] { Upsample zero(0); }), "Upsample expects a factor from 1 to 32768, got 0");
  EXPECT_THROW(inferred_shape(Upsample(2), {{3, 4, 5}}), ShapeError);
  EXPECT_THROW(inferred_shape(Upsample(32768), {{1, 1, std::int64_t{1} << 40, 1 << 20}}), ShapeError) << "past 2^63 elements";
}

TEST(UpsampleTest, FreeFunction) {
  const Plan plan = test::trace_function({{1, 8, 3, 5}}, [](const std::vector<Value>& x) { return std::vector<Value>{upsample(x[0], 2)}; });
  EXPECT_EQ(plan.spec(plan.output("y0")).shape, (Shape{1, 8, 6, 10}));
}

}  // namespace
}  // namespace frieze
