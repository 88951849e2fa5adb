#pragma once
/// Internal to layers/pool2d: what the kernels of both formats share.
#include <frieze/layers/pool2d/cuda/pool2d_kernels.h>
#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {

inline constexpr int kPoolBlock = 256;
inline constexpr std::int64_t kManyPositions = 64;  // of a window, from which on its values are several threads' work

/// The largest value so far; NaN stays.
template <PoolKind kKind>
__device__ __forceinline__ float pool_begin() {
  return kKind == PoolKind::max ? -INFINITY : 0.0F;
}
template <PoolKind kKind>
__device__ __forceinline__ float pool_join(float a, float b) {
  if (kKind == PoolKind::mean) return a + b;
  return b > a || b != b ? b : a;
}
template <PoolKind kKind>
__device__ __forceinline__ float pool_end(const PoolWindows<int>& w, const PoolSpan<int>& rows, const PoolSpan<int>& columns, float v) {
  if (kKind == PoolKind::max) return v;
  const std::int64_t inside = std::int64_t{rows.count} * columns.count;
  const std::int64_t counted = w.divisor != 0 ? w.divisor : w.count_padding ? std::int64_t{rows.padded} * columns.padded : inside;
  return inside == 0 ? 0.0F : v / static_cast<float>(counted);
}

/// An index that is taken apart by numbers that the host knows.
struct PoolIndex {
  FastDiv first, second;  // extents of the fastest axis and the next
  std::int64_t a = 1, b = 1;
  bool wide = false;  // more indices than FastDiv divides

  PoolIndex() = default;
  PoolIndex(std::int64_t fastest, std::int64_t next, std::int64_t all)
      : a(fastest), b(next), wide(all > 0x7FFFFFFF || fastest > 0x7FFFFFFF || next > 0x7FFFFFFF) {
    if (wide) return;
    first = FastDiv(static_cast<std::uint32_t>(a));
    second = FastDiv(static_cast<std::uint32_t>(b));
  }
  /// i = (rest * b + middle) * a + fast.
  __device__ __forceinline__ void split(std::int64_t i, int& fast, int& middle, std::int64_t& rest) const {
    if (wide) {
      fast = static_cast<int>(i % a);
      middle = static_cast<int>(i / a % b);
      rest = i / a / b;
      return;
    }
    const std::uint32_t n = static_cast<std::uint32_t>(i), q = first.quotient(n), r = second.quotient(q);
    fast = static_cast<int>(n - q * first.divisor);
    middle = static_cast<int>(q - r * second.divisor);
    rest = r;
  }
};

}  // namespace frieze::cuda
