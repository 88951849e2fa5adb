// Whether views share memory: against every pair of addresses.
#include <frieze/core/overlap.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <set>

namespace frieze {
namespace {

alignas(16) char memory[1 << 16];

std::set<std::intptr_t> bytes_of(const TensorView& v) {
  std::set<std::intptr_t> bytes;
  for (std::int64_t i = 0; i < v.shape.elements(); ++i) {
    std::int64_t rest = i, at = 0;
    for (int axis = v.shape.rank() - 1; axis >= 0; --axis) {
      at += rest % v.shape[axis] * v.stride(axis);
      rest /= v.shape[axis];
    }
    for (std::size_t b = 0; b < size_of(v.dtype); ++b) {
      bytes.insert(reinterpret_cast<std::intptr_t>(v.data) + at * static_cast<std::int64_t>(size_of(v.dtype)) +
                   static_cast<std::intptr_t>(b));
    }
  }
  return bytes;
}

bool meet(const TensorView& a, const TensorView& b) {
  const auto of_a = bytes_of(a), of_b = bytes_of(b);
  return std::any_of(of_a.begin(), of_a.end(), [&](std::intptr_t at) { return of_b.contains(at); });
}

TEST(Overlap, OfRandomViewsIsWhatTheirAddressesSay) {
  std::mt19937 random(1);
  const auto draw = [&](std::int64_t low, std::int64_t high) { return std::uniform_int_distribution<std::int64_t>(low, high)(random); };
  const auto any_view = [&] {
    Strides strides{};
    for (std::size_t i = 0; i < 4; ++i) strides[i] = draw(-9, 9) * (i % 2 == 0 ? 1 : 3);
    const auto at = 1024 + draw(0, 60) * 2;
    return TensorView(memory + at, Shape{draw(1, 3), draw(1, 4), draw(1, 3), draw(1, 3)}, draw(0, 1) == 0 ? DType::f16 : DType::f32,
                      strides);
  };
  int met = 0, interleaved = 0;
  for (int i = 0; i < 20000; ++i) {
    const TensorView a = any_view(), b = any_view();
    const bool expected = meet(a, b);
    ASSERT_EQ(share_memory(a, b), expected) << a.shape << ' ' << b.shape;
    ASSERT_EQ(share_memory(b, a), expected) << a.shape << ' ' << b.shape;
    met += expected ? 1 : 0;
    interleaved += expected ? 0 : 1;
  }
  EXPECT_GT(met, 1000);
  EXPECT_GT(interleaved, 1000);
}

TEST(Overlap, OfLargeInterleavedViewsIsFoundQuickly) {
  // Halves of the channels of an nhwc tensor, every other row, and one element that hits or misses.
  const Shape half{8, 512, 1024, 1024};
  const Strides nhwc = {std::int64_t{1024} * 1024 * 1024, 1, 1024 * 1024, 1024};
  const TensorView front(memory, half, DType::f16, nhwc), back(memory + 1024, half, DType::f16, nhwc);
  EXPECT_FALSE(share_memory(front, back));
  const TensorView shifted(memory + 1022, half, DType::f16, nhwc);
  EXPECT_TRUE(share_memory(front, shifted));
  EXPECT_TRUE(share_memory(front, front));
  const Shape rows{4, 64, 512, 999};
  const Strides other_rows = {std::int64_t{64} * 1024 * 999, 1024 * 999, 2 * 999, 1};
  const TensorView even(memory, rows, DType::f32, other_rows), odd(memory + 4 * 999, rows, DType::f32, other_rows);
  EXPECT_FALSE(share_memory(even, odd));
  EXPECT_TRUE(share_memory(even, TensorView(memory + 8 * 999, rows, DType::f32, other_rows)));
}

TEST(Overlap, NothingMeetsAViewWithoutElements) {
  const TensorView none(memory, TensorSpec{{0, 3, 2, 2}, DType::f32}), some(memory, TensorSpec{{1, 3, 2, 2}, DType::f32});
  EXPECT_FALSE(share_memory(none, some));
  EXPECT_FALSE(share_memory(some, none));
}

TEST(Overlap, TheSameElements) {
  const TensorView a(memory, TensorSpec{{2, 3, 1, 4}, DType::f32});
  EXPECT_TRUE(same_elements(a, a));
  TensorView b = a;
  b.strides[2] = 77;  // of an axis of extent 1
  EXPECT_TRUE(same_elements(a, b));
  b.strides[3] = 2;
  EXPECT_FALSE(same_elements(a, b));
  b = a;
  b.dtype = DType::f16;
  EXPECT_FALSE(same_elements(a, b));
  b = a;
  b.data = memory + 4;
  EXPECT_FALSE(same_elements(a, b));
}

}  // namespace
}  // namespace frieze
