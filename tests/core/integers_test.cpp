// Integer arithmetic and random numbers that hosts and kernels share.
#include <frieze/core/integers.h>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include <frieze/core/random.h>

namespace frieze {
namespace {

TEST(Integers, CeilDivRoundsUp) {
  for (int b = 1; b < 20; ++b) {
    for (int a = 0; a < 100; ++a) {
      EXPECT_EQ(ceil_div(a, b), a / b + (a % b == 0 ? 0 : 1)) << a << " / " << b;
      EXPECT_EQ(round_up(a, b) % b, 0) << a << ", " << b;
      EXPECT_TRUE(round_up(a, b) >= a && round_up(a, b) < a + b) << a << ", " << b;
    }
  }
}

TEST(Integers, TheWiderTypeHoldsTheResult) {
  static_assert(std::is_same_v<decltype(ceil_div(std::int64_t{1}, 1)), std::int64_t>);
  static_assert(std::is_same_v<decltype(round_up(1, std::int64_t{1})), std::int64_t>);
  static_assert(std::is_same_v<decltype(round_up(std::size_t{1}, 256)), std::size_t>);
  constexpr std::int64_t large = std::int64_t{1} << 40;
  static_assert(ceil_div(large + 1, 2) == large / 2 + 1);
  static_assert(round_up(large - 1, 256) == large);
  static_assert(ceil_div(std::numeric_limits<int>::max(), std::int64_t{2}) == std::int64_t{1} << 30);
}

// The first numbers of the reference implementation (prng.di.unimi.it/splitmix64.c) from the state 1234567.
TEST(Random, SplitMix64IsTheOneOfTheLiterature) {
  SplitMix64 random{1234567};
  for (const std::uint64_t expected :
       {6457827717110365317ULL, 3203168211198807973ULL, 9817491932198370423ULL, 4593380528125082431ULL, 16408922859458223821ULL}) {
    EXPECT_EQ(random(), expected);
  }
}

TEST(Random, AnyNumberOfTheSequenceIsAtHand) {
  const SplitMix64 start{42};
  SplitMix64 random = start;
  for (std::uint64_t i = 0; i < 100; ++i) EXPECT_EQ(random(), start.at(i)) << i;
}

}  // namespace
}  // namespace frieze
