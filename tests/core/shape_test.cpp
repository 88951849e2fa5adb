#include <frieze/core/shape.h>

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <vector>

#include <frieze/core/error.h>

namespace frieze {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

std::string refused(const std::function<void()>& action) {
  try {
    action();
  } catch (const ShapeError& e) {
    return e.what();
  }
  return "nothing was thrown";
}

TEST(Shape, CountsElementsAndReadsAxesFromBothEnds) {
  const Shape s{2, 3, 5, 7};
  EXPECT_EQ(s.rank(), 4);
  EXPECT_EQ(s.elements(), 210);
  EXPECT_EQ(s[0], 2);
  EXPECT_EQ(s[-1], 7);
  EXPECT_EQ(s[-4], 2);
  EXPECT_EQ((std::vector<std::int64_t>{s.n(), s.c(), s.h(), s.w()}), (std::vector<std::int64_t>{2, 3, 5, 7}));
  EXPECT_EQ(to_string(s), "[2,3,5,7]");
  EXPECT_EQ(s.with(-1, 1), (Shape{2, 3, 5, 1}));
  EXPECT_EQ(s.with(0, 9).elements(), 945);
}

TEST(Shape, AScalarHasOneElementAndAZeroExtentNone) {
  EXPECT_EQ(Shape{}.rank(), 0);
  EXPECT_EQ(Shape{}.elements(), 1);
  EXPECT_EQ(to_string(Shape{}), "[]");
  EXPECT_EQ((Shape{4, 0, 3}).elements(), 0);
}

TEST(Shape, EqualityIsOfRankAndExtents) {
  EXPECT_EQ((Shape{2, 3}), (Shape{2, 3}));
  EXPECT_NE((Shape{2, 3}), (Shape{3, 2}));
  EXPECT_NE((Shape{2}), (Shape{2, 1}));
  EXPECT_NE((Shape{2}), (Shape{2, 0}));  // unused extents are zero inside
}

TEST(Shape, RefusesNegativeExtentsByValue) {
  EXPECT_EQ(refused([] { Shape({4, -3}); }), "negative extent -3 in shape [4,-3]");
  EXPECT_EQ(refused([] { Shape({std::numeric_limits<std::int64_t>::min()}); }),
            "negative extent -9223372036854775808 in shape [-9223372036854775808]");
  EXPECT_EQ(refused([] { (void)Shape({2, 2}).with(1, -1); }), "negative extent -1 in shape [2,-1]");
}

TEST(Shape, RefusesNineExtents) {
  EXPECT_EQ(Shape({1, 1, 1, 1, 1, 1, 1, 1}).rank(), 8);
  EXPECT_EQ(refused([] { Shape({1, 1, 1, 1, 1, 1, 1, 1, 1}); }), "a shape has at most 8 extents, got 9");
}

TEST(Shape, ElementCountsPast32BitsAreLegal) {
  EXPECT_EQ((Shape{65536, 65536}).elements(), std::int64_t{1} << 32);
  EXPECT_EQ((Shape{2, 1, 32768, 65536}).elements(), std::int64_t{1} << 32);
  EXPECT_EQ(Shape{kMost}.elements(), kMost);
  EXPECT_EQ((Shape{kMost, 1}).elements(), kMost);
}

TEST(Shape, ElementCountsPast63BitsAreRefused) {
  EXPECT_EQ(refused([] { Shape({kMost, 2}); }), "element count: 9223372036854775807 x 2 exceeds 2^63 - 1");
  EXPECT_EQ(refused([] { Shape({4294967296, 4294967296}); }), "element count: 4294967296 x 4294967296 exceeds 2^63 - 1");
  EXPECT_EQ(refused([] { Shape({4294967296, 2147483648}); }), "element count: 4294967296 x 2147483648 exceeds 2^63 - 1");
  EXPECT_NE(refused([] { Shape({0, kMost, kMost}); }), "nothing was thrown") << "a zero must not hide strides that overflow";
}

TEST(Shape, RefusesAxesThatAreNotThere) {
  EXPECT_EQ(refused([] { (void)Shape({2, 3})[2]; }), "shape [2,3] has no axis 2");
  EXPECT_EQ(refused([] { (void)Shape({2, 3})[-3]; }), "shape [2,3] has no axis -3");
  EXPECT_EQ(refused([] { (void)Shape({2, 3})[std::numeric_limits<int>::min()]; }), "shape [2,3] has no axis -2147483648");
  EXPECT_EQ(refused([] { (void)Shape({2, 3}).with(2, 1); }), "shape [2,3] has no axis 2");
  EXPECT_EQ(refused([] { (void)Shape({2, 3}).c(); }), "expected an image shape [N,C,H,W], got [2,3]");
}

TEST(Checked, ArithmeticNamesWhatOverflowed) {
  EXPECT_EQ(checked_mul(kMost, 1, "x"), kMost);
  EXPECT_EQ(checked_add(kMost - 1, 1, "x"), kMost);
  EXPECT_EQ(refused([] { (void)checked_mul(std::int64_t{1} << 32, std::int64_t{1} << 31, "bytes"); }),
            "bytes: 4294967296 x 2147483648 exceeds 2^63 - 1");
  EXPECT_EQ(refused([] { (void)checked_add(kMost, 1, "arena"); }), "arena: 9223372036854775807 + 1 exceeds 2^63 - 1");
}

}  // namespace
}  // namespace frieze
