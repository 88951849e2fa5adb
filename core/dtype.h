#pragma once
/// Element types of values: f32, f16 (IEEE binary16), bf16 (the upper half of f32), and the integers i32 and i64 (two's complement).
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string_view>

#include <frieze/core/api.h>

namespace frieze FRIEZE_API {

enum class DType : std::uint8_t { f32, f16, bf16, i32, i64 };

constexpr bool is_integer(DType t) { return t == DType::i32 || t == DType::i64; }

/// Bytes of one element.
constexpr std::size_t size_of(DType t) { return t == DType::i64 ? 8 : t == DType::f32 || t == DType::i32 ? 4 : 2; }

/// Half the distance from 1 to the next number: the largest relative error of one rounding to T. 0 for integers, which are exact or wrong.
constexpr double unit_roundoff(DType t) { return is_integer(t) ? 0 : t == DType::f32 ? 0x1p-24 : t == DType::f16 ? 0x1p-11 : 0x1p-8; }

/// Largest finite value of T; of i64 rounded up, to 2^63.
constexpr double max_finite(DType t) {
  if (is_integer(t)) return t == DType::i32 ? 0x1.fffffffcp30 : 0x1p63;
  return t == DType::f32 ? 0x1.fffffep127 : t == DType::f16 ? 65504.0 : 0x1.fep127;
}

/// Smallest positive value of T, of floats a subnormal: the spacing of T near zero.
constexpr double min_subnormal(DType t) { return is_integer(t) ? 1 : t == DType::f32 ? 0x1p-149 : t == DType::f16 ? 0x1p-24 : 0x1p-133; }

/// "f32", "f16", "bf16", "i32" or "i64".
std::string_view name(DType t);
/// The inverse of name(); also takes "float32", "float", "float16", "half", "bfloat16", "int32", "int", "int64" and "long". Throws
/// DTypeError.
DType parse_dtype(std::string_view text);
/// The same where a model's values are meant: DTypeError for integers too.
DType parse_float_dtype(std::string_view text);
std::ostream& operator<<(std::ostream& out, DType t);

/// `v` as T holds it, widened again. Floats: rounded once, to nearest even; overflow becomes infinity, NaN stays NaN. Integers: as
/// to_integer(), then rounded to f32.
float round_to(DType t, double v);
/// `v` without its fraction. Past the range of T the end of the range on that side; NaN gives 0. What CUDA's conversions give from f32 to
/// i32, for both types. (PyTorch leaves what is out of range undefined.)
std::int64_t to_integer(DType t, double v);
/// `v` modulo the range of T: the low 32 bits for i32, as in C++ and PyTorch.
std::int64_t wrap_integer(DType t, std::int64_t v);
/// Element `i` of a contiguous array of T at `data`, widened; integers past 2^24 are rounded to nearest even.
float load_element(DType t, const void* data, std::size_t i);
/// Element `i` of a contiguous array of integers.
std::int64_t load_integer(DType t, const void* data, std::size_t i);
/// Stores `v` as T holds it, see round_to() and to_integer(), as element `i` of a contiguous array of T at `data`.
void store_element(DType t, void* data, std::size_t i, double v);
/// Stores wrap_integer(t, v) as element `i` of a contiguous array of integers.
void store_integer(DType t, void* data, std::size_t i, std::int64_t v);

}  // namespace FRIEZE_API
