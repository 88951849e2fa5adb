#pragma once
/// Element types of values: f32, f16 (IEEE binary16) and bf16 (the upper half of f32).
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string_view>

#include <frieze/core/api.h>

namespace frieze FRIEZE_API {

enum class DType : std::uint8_t { f32, f16, bf16 };

/// Bytes of one element.
constexpr std::size_t size_of(DType t) { return t == DType::f32 ? 4 : 2; }

/// Half the distance from 1 to the next number: the largest relative error of one rounding to T.
constexpr double unit_roundoff(DType t) { return t == DType::f32 ? 0x1p-24 : t == DType::f16 ? 0x1p-11 : 0x1p-8; }

/// Largest finite value of T.
constexpr double max_finite(DType t) { return t == DType::f32 ? 0x1.fffffep127 : t == DType::f16 ? 65504.0 : 0x1.fep127; }

/// Smallest positive value of T, a subnormal: the spacing of T near zero.
constexpr double min_subnormal(DType t) { return t == DType::f32 ? 0x1p-149 : t == DType::f16 ? 0x1p-24 : 0x1p-133; }

/// "f32", "f16" or "bf16".
std::string_view name(DType t);
/// The inverse of name(); also takes "float32", "float16", "half" and "bfloat16". Throws DTypeError.
DType parse_dtype(std::string_view text);
std::ostream& operator<<(std::ostream& out, DType t);

/// `v` rounded once, to nearest even, to T, and widened again. Overflow becomes infinity; NaN stays NaN.
float round_to(DType t, double v);
/// Element `i` of a contiguous array of T at `data`, widened exactly.
float load_element(DType t, const void* data, std::size_t i);
/// Stores round_to(t, v) as element `i` of a contiguous array of T at `data`.
void store_element(DType t, void* data, std::size_t i, double v);

}  // namespace FRIEZE_API
