#pragma once
/// f16 and bf16: 16-bit numbers in host memory, with the bits of CUDA's __half and __nv_bfloat16.
#include <bit>
#include <cstdint>

#include <frieze/core/api.h>

namespace frieze FRIEZE_API {

/// IEEE binary16. From float rounded once to nearest even: past 65504 + half a step becomes infinity, NaN stays NaN; to float exactly.
/// Without branches, so that compilers make loops over arrays of it parallel.
struct f16 {
  std::uint16_t bits = 0;

  f16() = default;
  explicit constexpr f16(float v) {
    constexpr std::uint32_t kInfinity = 255U << 23, kOverflow = 143U << 23, kNormal = 113U << 23, kShift = 126U << 23;
    const std::uint32_t whole = std::bit_cast<std::uint32_t>(v), sign = whole & 0x80000000U, u = whole ^ sign;
    // Normal: the exponent's bias changes, and half of what is cut off, less one for an even mantissa, carries as rounding does.
    const std::uint32_t normal = (u - (112U << 23) + 0xFFFU + ((u >> 13) & 1U)) >> 13;
    // Subnormal: an addition at which the last places of the sum are those of the result.
    const std::uint32_t small =
        std::bit_cast<std::uint32_t>(std::bit_cast<float>(chosen(u < kNormal, u, 0U)) + std::bit_cast<float>(kShift)) - kShift;
    const std::uint32_t large = chosen(u > kInfinity, 0x7E00U, 0x7C00U);
    const std::uint32_t number = chosen(u < kNormal, small, normal);
    bits = static_cast<std::uint16_t>(chosen(u >= kOverflow, large, number) | sign >> 16);
  }
  explicit constexpr operator float() const {
    const std::uint32_t sign = (bits & 0x8000U) << 16, u = (bits & 0x7FFFU) << 13;
    const bool finite = u < (31U << 23);
    // A product with 2^112 moves the exponent's bias, and makes subnormals normal.
    const std::uint32_t number = std::bit_cast<std::uint32_t>(std::bit_cast<float>(chosen(finite, u, 0U)) * 0x1p112F);
    return std::bit_cast<float>(chosen(finite, number, u + (224U << 23)) | sign);
  }
  friend constexpr bool operator==(f16, f16) = default;  ///< of the bits

 private:
  // By a mask: compilers make jumps of some conditional expressions.
  static constexpr std::uint32_t chosen(bool first, std::uint32_t a, std::uint32_t b) { return b ^ ((a ^ b) & -std::uint32_t{first}); }
};

/// The upper half of a float. From float rounded once to nearest even, NaN stays NaN; to float exactly.
struct bf16 {
  std::uint16_t bits = 0;

  bf16() = default;
  explicit constexpr bf16(float v) {
    const std::uint32_t u = std::bit_cast<std::uint32_t>(v);
    const std::uint32_t rounded = (u + 0x7FFFU + ((u >> 16) & 1U)) >> 16, quiet = u >> 16 | 0x40U;
    bits = static_cast<std::uint16_t>((u & 0x7FFFFFFFU) > (255U << 23) ? quiet : rounded);
  }
  explicit constexpr operator float() const { return std::bit_cast<float>(std::uint32_t{bits} << 16); }
  friend constexpr bool operator==(bf16, bf16) = default;  ///< of the bits
};

}  // namespace FRIEZE_API
