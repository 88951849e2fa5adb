// f16 and bf16 in host memory round as every other conversion does.
#include <frieze/core/half.h>

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <frieze/core/dtype.h>

namespace frieze {
namespace {

std::uint16_t stored(DType t, float v) {
  std::uint16_t bits = 0;
  store_element(t, &bits, 0, static_cast<double>(v));
  return bits;
}

template <class T>
void expect_rounded(DType t, float v) {
  const T got(v);
  if (std::isnan(v)) {
    EXPECT_TRUE(std::isnan(static_cast<float>(got))) << std::bit_cast<std::uint32_t>(v);
    return;
  }
  EXPECT_EQ(got.bits, stored(t, v)) << v << ", bits " << std::bit_cast<std::uint32_t>(v);
}

TEST(Half, RoundsOnceToNearestEven) {
  // All signs and exponents, with mantissas at, beside and between the steps of both types; and a sieve over all floats.
  std::vector<std::uint32_t> bits;
  for (std::uint32_t high = 0; high < 1U << 16; high += 3) {
    for (const std::uint32_t low : {0x0000U, 0x0001U, 0x0FFFU, 0x1000U, 0x1001U, 0x7FFFU, 0x8000U, 0x8001U, 0xFFFFU})
      bits.push_back(high << 16 | low);
  }
  for (std::uint64_t u = 0; u < std::uint64_t{1} << 32; u += 16411) bits.push_back(static_cast<std::uint32_t>(u));
  for (const float v : {0.0F, -0.0F, 65504.0F, 65519.996F, 65520.0F, 0x1p-24F, 0x1p-25F, 0x1.000002p-25F, 0x1p-14F, 0x1.FFFFFEp-15F}) {
    bits.push_back(std::bit_cast<std::uint32_t>(v));
    bits.push_back(std::bit_cast<std::uint32_t>(-v));
  }
  for (const std::uint32_t u : bits) {
    expect_rounded<f16>(DType::f16, std::bit_cast<float>(u));
    expect_rounded<bf16>(DType::bf16, std::bit_cast<float>(u));
    if (HasFailure()) return;
  }
}

TEST(Half, WidensExactly) {
  for (std::uint32_t u = 0; u < 1U << 16; ++u) {
    const auto bits = static_cast<std::uint16_t>(u);
    f16 half;
    bf16 brain;
    half.bits = brain.bits = bits;
    const float f = load_element(DType::f16, &bits, 0), b = load_element(DType::bf16, &bits, 0);
    if (std::isnan(f)) {
      ASSERT_TRUE(std::isnan(static_cast<float>(half))) << u;
    } else {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(static_cast<float>(half)), std::bit_cast<std::uint32_t>(f)) << u;
      ASSERT_EQ(f16(f), half) << u;
    }
    ASSERT_EQ(std::bit_cast<std::uint32_t>(static_cast<float>(brain)), std::bit_cast<std::uint32_t>(b)) << u;
    if (!std::isnan(b)) {
      ASSERT_EQ(bf16(b), brain) << u;
    }
  }
}

static_assert(f16(1.0F).bits == 0x3C00 && f16(-2.0F).bits == 0xC000 && f16(1e9F).bits == 0x7C00 && bf16(1.0F).bits == 0x3F80);
static_assert(static_cast<float>(f16(0x1p-24F)) == 0x1p-24F);

}  // namespace
}  // namespace frieze
