#pragma once
/// Internal to layers/pool2d: what the kernels of both formats share.
#include <frieze/layers/pool2d/cuda/pool2d_kernels.h>
#include <type_traits>

#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {

inline constexpr int kPoolBlock = 256;
inline constexpr std::int64_t kManyPositions = 64;  // of a window, from which on its values are several threads' work

/// What is known so far of one value: the largest, where NaN stays, or the sum.
template <PoolKind kKind>
__device__ __forceinline__ float pool_begin() {
  return kKind == PoolKind::max ? -INFINITY : 0.0F;
}
template <PoolKind kKind>
__device__ __forceinline__ float pool_join(float a, float b) {
  if (kKind == PoolKind::mean) return a + b;
  float larger;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(larger) : "f"(a), "f"(b));
  return larger;
}
template <PoolKind kKind>
__device__ __forceinline__ float pool_end(const PoolArgs2d& a, const PoolSpan<int>& rows, const PoolSpan<int>& columns, float v) {
  if (kKind == PoolKind::max) return v;
  const PoolWindows<int>& w = a.windows;
  if (!w.h.adaptive && rows.count == w.h.kernel && columns.count == w.w.kernel) return v * a.whole_window;
  const std::int64_t inside = std::int64_t{rows.count} * columns.count;
  const std::int64_t counted = w.divisor != 0 ? w.divisor : w.count_padding ? std::int64_t{rows.padded} * columns.padded : inside;
  return inside == 0 ? 0.0F : v / static_cast<float>(counted);
}

/// The same of V neighbouring values: sums in f32, the largest in T, two at a time.
template <class T, int V, PoolKind kKind>
struct PoolPack {
  float v[V];

  __device__ __forceinline__ PoolPack() {
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] = pool_begin<kKind>();
  }
  __device__ __forceinline__ void join(const Pack<T, V>& other) {
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] = pool_join<kKind>(v[j], widen(other.v[j]));
  }
  __device__ __forceinline__ void join(const PoolPack& other) {
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] = pool_join<kKind>(v[j], other.v[j]);
  }
  __device__ __forceinline__ float value(int j) const { return v[j]; }
};

__device__ __forceinline__ std::uint32_t larger_pair(__half, std::uint32_t a, std::uint32_t b) {
  std::uint32_t larger;
  asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(larger) : "r"(a), "r"(b));
  return larger;
}
__device__ __forceinline__ std::uint32_t larger_pair(__nv_bfloat16, std::uint32_t a, std::uint32_t b) {
  std::uint32_t larger;
  asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(larger) : "r"(a), "r"(b));
  return larger;
}

template <class T, int V>
requires(sizeof(T) == 2 && V % 2 == 0) struct PoolPack<T, V, PoolKind::max> {
  union {
    Pack<T, V> pack;
    std::uint32_t pairs[V / 2];
  };

  __device__ __forceinline__ PoolPack() {
    const std::uint32_t infinity = std::is_same_v<T, __half> ? 0xFC00FC00U : 0xFF80FF80U;  // -Inf, twice
#pragma unroll
    for (int j = 0; j < V / 2; ++j) pairs[j] = infinity;
  }
  __device__ __forceinline__ void join(const Pack<T, V>& other) {
    PoolPack one;
    one.pack = other;
    join(one);
  }
  __device__ __forceinline__ void join(const PoolPack& other) {
#pragma unroll
    for (int j = 0; j < V / 2; ++j) pairs[j] = larger_pair(T{}, pairs[j], other.pairs[j]);
  }
  __device__ __forceinline__ float value(int j) const { return widen(pack.v[j]); }
};

/// Every `step`-th position of a window from `first` on, row by row, without a division for each.
struct PoolWalk {
  int row, column, row_step, column_step, columns;
  std::int64_t left;  // positions from here to the window's end

  __device__ __forceinline__ PoolWalk(const PoolSpan<int>& rows, const PoolSpan<int>& all, int first, int step)
      : columns(max(all.count, 1)), left(std::int64_t{rows.count} * all.count - first) {
    row = first / columns;
    column = first - row * columns;
    row_step = step / columns;
    column_step = step - row_step * columns;
  }
  __device__ __forceinline__ void next(int step) {
    left -= step;
    row += row_step;
    column += column_step;
    if (column >= columns) column -= columns, ++row;
  }
};

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
