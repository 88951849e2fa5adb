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

TEST(SliceTest, TakesARangeOfAnyAxis) {
  EXPECT_EQ(run_reference(Slice(1, 2, 0), {{{2, 3}, test::iota(6)}}), (Floats{3, 4, 5}));
  EXPECT_EQ(run_reference(Slice(1, 3, -1), {{{2, 1, 3}, test::iota(6)}}), (Floats{1, 2, 4, 5}));
  for (const Format format : {Format::nchw, Format::nhwc}) {
    EXPECT_EQ(run_reference(Slice(1, 2, 2), {{{1, 2, 2, 2}, test::iota(8)}}, DType::f32, format), (Floats{2, 3, 6, 7})) << format;
  }
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(Slice(0, 1, 2), {{4, 4}});
            }),
            "Slice expects rank 3 or more for axis 2, got [4,4] of rank 2");
  EXPECT_THROW(inferred_shape(Slice(0, 1, -3), {{4, 4}}), ShapeError);
  EXPECT_THROW(inferred_shape(Slice(0, 5, 0), {{4, 4}}), ShapeError);
  EXPECT_EQ(Slice(0, 2, 3).describe(), "axis 3 [0,2)");
}

}  // namespace
}  // namespace frieze
