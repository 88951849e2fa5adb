#include <frieze/core/dtype.h>

#include <Eigen/Core>
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <ostream>
#include <string>

#include <frieze/core/error.h>

namespace frieze {
namespace {

// A double goes to 16 bits through a float rounded *to odd*: truncated, with the last bit set if anything was cut off.
// That float carries enough bits for the second rounding to come out as if there had been only one.
float to_odd_float(double v) {
  const float nearest = static_cast<float>(v);
  if (static_cast<double>(nearest) == v || !std::isfinite(v)) return nearest;
  float truncated = nearest;
  if (std::abs(static_cast<double>(nearest)) > std::abs(v)) truncated = std::nextafter(nearest, 0.0F);
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(truncated) | 1U);
}

}  // namespace

std::string_view name(DType t) {
  switch (t) {
    case DType::f32: return "f32";
    case DType::f16: return "f16";
    case DType::bf16: return "bf16";
    case DType::i32: return "i32";
    case DType::i64: return "i64";
  }
  return "?";
}

namespace {

std::optional<DType> find_dtype(std::string_view text) {
  if (text == "f32" || text == "float32" || text == "float") return DType::f32;
  if (text == "f16" || text == "float16" || text == "half") return DType::f16;
  if (text == "bf16" || text == "bfloat16") return DType::bf16;
  if (text == "i32" || text == "int32" || text == "int") return DType::i32;
  if (text == "i64" || text == "int64" || text == "long") return DType::i64;
  return std::nullopt;
}

}  // namespace

DType parse_dtype(std::string_view text) {
  const std::optional<DType> found = find_dtype(text);
  check<DTypeError>(found.has_value(), "unknown dtype '", printable(text, 80), "': expected f32, f16, bf16, i32 or i64");
  return *found;
}

DType parse_float_dtype(std::string_view text) {
  const std::optional<DType> found = find_dtype(text);
  const char* const what = found ? "dtype '" : "unknown dtype '";
  check<DTypeError>(found && !is_integer(*found), what, printable(text, 80), "': expected f32, f16 or bf16");
  return *found;
}

std::ostream& operator<<(std::ostream& out, DType t) { return out << name(t); }

float round_to(DType t, double v) {
  switch (t) {
    case DType::f32: return static_cast<float>(v);
    case DType::f16: return static_cast<float>(Eigen::half(to_odd_float(v)));
    case DType::bf16: return static_cast<float>(Eigen::bfloat16(to_odd_float(v)));
    default: return static_cast<float>(to_integer(t, v));
  }
}

std::int64_t to_integer(DType t, double v) {
  if (std::isnan(v)) return 0;
  if (t == DType::i32) return static_cast<std::int64_t>(std::clamp(v, -0x1p31, 0x1p31 - 1));
  if (v >= 0x1p63) return std::numeric_limits<std::int64_t>::max();
  return static_cast<std::int64_t>(std::max(v, -0x1p63));
}

std::int64_t wrap_integer(DType t, std::int64_t v) { return t == DType::i32 ? static_cast<std::int32_t>(v) : v; }

// Offsets of strided views may be negative; callers pass them as std::size_t.
float load_element(DType t, const void* data, std::size_t i) {
  const auto at = static_cast<std::ptrdiff_t>(i);
  switch (t) {
    case DType::f32: return static_cast<const float*>(data)[at];
    case DType::f16: return static_cast<float>(static_cast<const Eigen::half*>(data)[at]);
    case DType::bf16: return static_cast<float>(static_cast<const Eigen::bfloat16*>(data)[at]);
    default: return static_cast<float>(load_integer(t, data, i));
  }
}

std::int64_t load_integer(DType t, const void* data, std::size_t i) {
  const auto at = static_cast<std::ptrdiff_t>(i);
  return t == DType::i32 ? static_cast<const std::int32_t*>(data)[at] : static_cast<const std::int64_t*>(data)[at];
}

void store_integer(DType t, void* data, std::size_t i, std::int64_t v) {
  const auto at = static_cast<std::ptrdiff_t>(i);
  if (t == DType::i32) {
    static_cast<std::int32_t*>(data)[at] = static_cast<std::int32_t>(v);
  } else {
    static_cast<std::int64_t*>(data)[at] = v;
  }
}

void store_element(DType t, void* data, std::size_t i, double v) {
  const auto at = static_cast<std::ptrdiff_t>(i);
  switch (t) {
    case DType::f32: static_cast<float*>(data)[at] = static_cast<float>(v); return;
    case DType::f16: static_cast<Eigen::half*>(data)[at] = Eigen::half(to_odd_float(v)); return;
    case DType::bf16: static_cast<Eigen::bfloat16*>(data)[at] = Eigen::bfloat16(to_odd_float(v)); return;
    default: store_integer(t, data, i, to_integer(t, v)); return;
  }
}

}  // namespace frieze
