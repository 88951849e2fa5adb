#include <gtest/gtest.h>

#include <frieze/core/error.h>
#include <frieze/layers/slice/slice.h>
#include "support/reference.h"

namespace frieze {
namespace {

using test::inferred_shape;
using test::message_of;
using test::run_reference;
using Floats = std::vector<float>;

TEST(SliceTest, TakesARangeOfChannelsOfEveryImage) {
  for (const Format format : {Format::nchw, Format::nhwc}) {
    const Floats y = run_reference(Slice(1, 3), {{{2, 4, 1, 2}, test::iota(16)}}, DType::f32, format);
    EXPECT_EQ(y, (Floats{2, 3, 4, 5, 10, 11, 12, 13})) << format;
  }
  EXPECT_EQ(run_reference(Slice(2, 3), {{{2, 3}, test::iota(6)}}), (Floats{2, 5}));
}

TEST(SliceTest, RefusesRangesThatAreEmptyOrOutside) {
  EXPECT_EQ(message_of<OptionError>([] { Slice empty(2, 2); }), "Slice expects 0 <= begin < end, got [2,2)");
  EXPECT_THROW(Slice(-1, 2), OptionError);
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(Slice(1, 5), {{1, 4, 2, 2}});
            }),
            "Slice expects at least 5 channels for [1,5), got 4 (x [1,4,2,2])");
  EXPECT_THROW(inferred_shape(Slice(0, 1), {{4}}), ShapeError);
}

TEST(ChunkTest, SplitsIntoEqualRanges) {
  const Plan plan = test::trace_function({{1, 6, 2, 2}}, [](const std::vector<Value>& x) { return chunk(x[0], 3); });
  ASSERT_EQ(plan.steps.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto& slice = dynamic_cast<const Slice&>(*plan.steps[i].layer);
    EXPECT_EQ(slice.begin(), static_cast<std::int64_t>(2 * i));
    EXPECT_EQ(slice.end(), static_cast<std::int64_t>(2 * i + 2));
  }
  EXPECT_EQ(plan.spec(plan.output("y2")).shape, (Shape{1, 2, 2, 2}));
}

TEST(ChunkTest, RefusesPartsThatDoNotDivide) {
  const auto split = [](std::int64_t n) {
    return [n] { test::trace_function({{1, 6, 2, 2}}, [n](const std::vector<Value>& x) { return chunk(x[0], n); }); };
  };
  EXPECT_THROW(split(4)(), ShapeError);
  EXPECT_THROW(split(0)(), OptionError);
}

}  // namespace
}  // namespace frieze
