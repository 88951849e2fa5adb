#include <frieze/core/dtype.h>

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <sstream>
#include <vector>

#include <frieze/core/error.h>

namespace frieze {
namespace {

constexpr DType kHalves[] = {DType::f16, DType::bf16};

// The value of a bit pattern, straight from the definition of the format: sign, exponent, fraction.
double decode(DType t, std::uint16_t bits) {
  const int fraction_bits = t == DType::f16 ? 10 : 7, bias = t == DType::f16 ? 15 : 127;
  const int exponent_mask = (1 << (15 - fraction_bits)) - 1;
  const int exponent = bits >> fraction_bits & exponent_mask;
  const int fraction = bits & ((1 << fraction_bits) - 1);
  const double sign = bits >> 15 != 0 ? -1 : 1;
  if (exponent == exponent_mask) return fraction != 0 ? std::numeric_limits<double>::quiet_NaN() : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - fraction_bits);
  return sign * std::ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
}

std::uint16_t stored(DType t, double v) {
  std::uint16_t bits = 0;
  store_element(t, &bits, 0, v);
  return bits;
}

TEST(DType, NamesAndSizes) {
  for (const DType t : {DType::f32, DType::f16, DType::bf16, DType::i32, DType::i64}) EXPECT_EQ(parse_dtype(name(t)), t);
  EXPECT_EQ(parse_dtype("float32"), DType::f32);
  EXPECT_EQ(parse_dtype("half"), DType::f16);
  EXPECT_EQ(parse_dtype("bfloat16"), DType::bf16);
  EXPECT_EQ(size_of(DType::f32), 4U);
  EXPECT_EQ(size_of(DType::f16), 2U);
  EXPECT_EQ(size_of(DType::bf16), 2U);
  EXPECT_EQ(size_of(DType::i32), 4U);
  EXPECT_EQ(size_of(DType::i64), 8U);
  EXPECT_EQ(parse_dtype("int32"), DType::i32);
  EXPECT_EQ(parse_dtype("long"), DType::i64);
  EXPECT_EQ(parse_float_dtype("half"), DType::f16);
  EXPECT_THROW((void)parse_float_dtype("i32"), DTypeError);
  EXPECT_THROW((void)parse_float_dtype("int8"), DTypeError);
  std::ostringstream text;
  text << DType::bf16;
  EXPECT_EQ(text.str(), "bf16");
}

TEST(DType, AnUnknownNameIsQuotedOnOneLine) {
  try {
    (void)parse_dtype("f8\n");
    FAIL() << "nothing was thrown";
  } catch (const DTypeError& e) {
    EXPECT_STREQ(e.what(), "unknown dtype 'f8\\x0a': expected f32, f16, bf16, i32 or i64");
  }
}

TEST(DType, IntegersDropFractionsAndStayInRange) {
  for (const DType t : {DType::i32, DType::i64}) {
    EXPECT_EQ(to_integer(t, 2.9), 2);
    EXPECT_EQ(to_integer(t, -2.9), -2);
    EXPECT_EQ(to_integer(t, std::numeric_limits<double>::quiet_NaN()), 0);
  }
  EXPECT_EQ(to_integer(DType::i32, 1e30), 2147483647);
  EXPECT_EQ(to_integer(DType::i32, -INFINITY), -2147483648LL);
  EXPECT_EQ(to_integer(DType::i64, 1e30), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(to_integer(DType::i64, -INFINITY), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(wrap_integer(DType::i32, 4294967297LL), 1);
  EXPECT_EQ(max_finite(DType::i32), 2147483647.0);
  EXPECT_EQ(unit_roundoff(DType::i64), 0);
}

TEST(DType, ConstantsAreThoseOfTheFormats) {
  EXPECT_EQ(max_finite(DType::f16), decode(DType::f16, 0x7BFF));
  EXPECT_EQ(max_finite(DType::bf16), decode(DType::bf16, 0x7F7F));
  EXPECT_EQ(max_finite(DType::f32), static_cast<double>(std::numeric_limits<float>::max()));
  EXPECT_EQ(min_subnormal(DType::f16), decode(DType::f16, 1));
  EXPECT_EQ(min_subnormal(DType::bf16), decode(DType::bf16, 1));
  EXPECT_EQ(min_subnormal(DType::f32), static_cast<double>(std::numeric_limits<float>::denorm_min()));
  EXPECT_EQ(2 * unit_roundoff(DType::f16), decode(DType::f16, 0x3C01) - 1);
  EXPECT_EQ(2 * unit_roundoff(DType::bf16), decode(DType::bf16, 0x3F81) - 1);
  EXPECT_EQ(unit_roundoff(DType::f32), static_cast<double>(std::numeric_limits<float>::epsilon()) / 2);
}

TEST(DType, EveryPatternIsWidenedExactlyAndSurvivesARoundTrip) {
  for (const DType t : kHalves) {
    for (std::uint32_t pattern = 0; pattern < 0x10000; ++pattern) {
      const auto bits = static_cast<std::uint16_t>(pattern);
      const double expected = decode(t, bits);
      const float loaded = load_element(t, &bits, 0);
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(loaded)) << t << ' ' << pattern;
        const std::uint16_t back = stored(t, loaded);
        ASSERT_TRUE(std::isnan(decode(t, back))) << t << ' ' << pattern;
        continue;
      }
      ASSERT_EQ(static_cast<double>(loaded), expected) << t << ' ' << pattern;
      ASSERT_EQ(std::signbit(loaded), std::signbit(expected)) << t << ' ' << pattern;
      ASSERT_EQ(stored(t, expected), bits) << t << ' ' << pattern;
    }
  }
}

// Around the middle of every two neighbours: the middle goes to the even one, whatever is past it by the least that a double
// can hold goes to the nearer one. A rounding by way of f32 fails here: it takes the middle plus a little for the middle.
TEST(DType, EveryMiddleIsRoundedOnce) {
  for (const DType t : kHalves) {
    const std::uint16_t infinity = t == DType::f16 ? 0x7C00 : 0x7F80;
    for (std::uint32_t pattern = 0; pattern < infinity; ++pattern) {
      const auto low = static_cast<std::uint16_t>(pattern), high = static_cast<std::uint16_t>(pattern + 1);
      const double below = decode(t, low);
      // Past the largest number the next step would have been as wide as the last one.
      const double above = high == infinity ? below + (below - decode(t, static_cast<std::uint16_t>(low - 1))) : decode(t, high);
      const double middle = below + (above - below) / 2;
      const std::uint16_t even = low % 2 == 0 ? low : high;
      ASSERT_EQ(stored(t, middle), even) << t << ' ' << pattern;
      ASSERT_EQ(stored(t, std::nextafter(middle, 0)), low) << t << ' ' << pattern;
      ASSERT_EQ(stored(t, std::nextafter(middle, INFINITY)), high) << t << ' ' << pattern;
      ASSERT_EQ(stored(t, -std::nextafter(middle, INFINITY)), high | 0x8000) << t << ' ' << pattern;
    }
  }
}

TEST(DType, OverflowIsInfiniteAndUnderflowKeepsTheSign) {
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    EXPECT_EQ(round_to(t, 1e300), INFINITY);
    EXPECT_EQ(round_to(t, -1e300), -INFINITY);
    EXPECT_EQ(round_to(t, INFINITY), INFINITY);
    EXPECT_EQ(round_to(t, max_finite(t)), max_finite(t));
    EXPECT_TRUE(std::isnan(round_to(t, std::numeric_limits<double>::quiet_NaN())));
    EXPECT_EQ(round_to(t, 1e-320), 0.0F);
    EXPECT_TRUE(std::signbit(round_to(t, -1e-320)));
    EXPECT_EQ(round_to(t, min_subnormal(t) / 2), 0.0F);  // the middle goes to the even one: zero
    EXPECT_EQ(round_to(t, min_subnormal(t) * 0.75), min_subnormal(t));
  }
}

TEST(DType, ElementsAreCountedInTheirOwnSize) {
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    std::array<float, 4> memory{};
    for (std::size_t i = 0; i < 4; ++i) store_element(t, memory.data(), i, static_cast<double>(i) + 0.5);
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(load_element(t, memory.data(), i), static_cast<float>(i) + 0.5F);
    if (size_of(t) == 2) {
      EXPECT_EQ(memory[2], 0.0F);
    }
  }
}

}  // namespace
}  // namespace frieze
