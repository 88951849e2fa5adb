#include <frieze/core/dtype.h>

#include <Eigen/Core>
#include <bit>
#include <cmath>
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
  }
  return "?";
}

DType parse_dtype(std::string_view text) {
  if (text == "f32" || text == "float32" || text == "float") return DType::f32;
  if (text == "f16" || text == "float16" || text == "half") return DType::f16;
  if (text == "bf16" || text == "bfloat16") return DType::bf16;
  throw DTypeError("unknown dtype '" + printable(text, 80) + "': expected f32, f16 or bf16");
}

std::ostream& operator<<(std::ostream& out, DType t) { return out << name(t); }

float round_to(DType t, double v) {
  switch (t) {
    case DType::f32: return static_cast<float>(v);
    case DType::f16: return static_cast<float>(Eigen::half(to_odd_float(v)));
    case DType::bf16: return static_cast<float>(Eigen::bfloat16(to_odd_float(v)));
  }
  return 0.0F;
}

// Offsets of strided views may be negative; callers pass them as std::size_t.
float load_element(DType t, const void* data, std::size_t i) {
  const auto at = static_cast<std::ptrdiff_t>(i);
  switch (t) {
    case DType::f32: return static_cast<const float*>(data)[at];
    case DType::f16: return static_cast<float>(static_cast<const Eigen::half*>(data)[at]);
    case DType::bf16: return static_cast<float>(static_cast<const Eigen::bfloat16*>(data)[at]);
  }
  return 0.0F;
}

void store_element(DType t, void* data, std::size_t i, double v) {
  const auto at = static_cast<std::ptrdiff_t>(i);
  switch (t) {
    case DType::f32: static_cast<float*>(data)[at] = static_cast<float>(v); return;
    case DType::f16: static_cast<Eigen::half*>(data)[at] = Eigen::half(to_odd_float(v)); return;
    case DType::bf16: static_cast<Eigen::bfloat16*>(data)[at] = Eigen::bfloat16(to_odd_float(v)); return;
  }
}

}  // namespace frieze
