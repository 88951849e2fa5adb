#include <frieze/core/layout.h>

#include <gtest/gtest.h>

namespace frieze {
namespace {

TEST(Layout, ARangeOfChannelsHasOneStepFromPixelToPixel) {
  const Shape s{2, 3, 4, 5};
  EXPECT_EQ(channel_range_step(s, contiguous_strides(s, Format::nhwc), Format::nhwc), 3);
  EXPECT_EQ(channel_range_step(s, {160, 1, 40, 8}, Format::nhwc), 8);
  EXPECT_EQ(channel_range_step(s, {40, 1, 10, 2}, Format::nhwc), std::nullopt) << "pixels would overlap";
  EXPECT_EQ(channel_range_step(s, {200, 1, 40, 8}, Format::nhwc), std::nullopt) << "more between images than between rows";
  EXPECT_EQ(channel_range_step(s, {160, 2, 40, 8}, Format::nhwc), std::nullopt) << "every other channel";
  EXPECT_EQ(channel_range_step(s, contiguous_strides(s, Format::nchw), Format::nhwc), std::nullopt);
}

TEST(Layout, InRowsTheStepIsFromImageToImage) {
  const Shape s{2, 3, 4, 5};
  EXPECT_EQ(channel_range_step(s, contiguous_strides(s, Format::nchw), Format::nchw), 60);
  EXPECT_EQ(channel_range_step(s, {100, 20, 5, 1}, Format::nchw), 100);
  EXPECT_EQ(channel_range_step(s, {100, 20, 6, 1}, Format::nchw), std::nullopt);
  EXPECT_EQ(channel_range_step({2, 3}, {7, 1}, Format::nhwc), 7) << "other ranks are row-major under either name";
  EXPECT_EQ(channel_range_step({3}, {2}, Format::nchw), std::nullopt);
}

TEST(Layout, ExtentsOfOneSayNothing) {
  EXPECT_EQ(channel_range_step({1, 3, 1, 1}, {7, 1, 9, 11}, Format::nhwc), 3);
  EXPECT_EQ(channel_range_step({1, 3, 4, 1}, {7, 1, 8, 11}, Format::nhwc), 8);
  EXPECT_EQ(channel_range_step({2, 1, 2, 2}, {16, 99, 8, 4}, Format::nhwc), 4) << "one channel of four";
  EXPECT_EQ(channel_range_step({1, 3, 4, 5}, {7, 20, 5, 1}, Format::nchw), 60);
}

}  // namespace
}  // namespace frieze
