#pragma once
/// What the elementwise kernels share: where a thread's elements lie. For .cu files only.
#include <array>

#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/shared/nest.h>
#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {

inline constexpr unsigned kPointwiseBlock = 256;  // with 16 bytes a thread and 8 blocks an SM: 32 KiB in flight, what an H100 needs

__device__ __forceinline__ std::uint32_t divide(const Divisor& d, std::uint32_t n) { return (__umulhi(n, d.magic) + n) >> d.shift; }

/// Where pack `i` begins in each operand, and how many of its elements are left in the row; 0 past the end.
template <int K>
__device__ __forceinline__ int locate(const ThreadNest<K>& nest, std::uint32_t i, int pack, std::int64_t (&offset)[K]) {
  if (i >= nest.threads) return 0;
#pragma unroll
  for (int k = 0; k < K; ++k) offset[k] = nest.base[k];
  std::int64_t left = nest.row;
  for (int axis = 0; axis < nest.rank; ++axis) {
    std::uint32_t at = i;
    if (axis + 1 < nest.rank) {
      i = divide(nest.divisor[axis], i);
      at -= i * nest.extent[axis];
    }
    if (axis == 0) left -= std::int64_t{at} * pack;
#pragma unroll
    for (int k = 0; k < K; ++k) offset[k] += at * nest.stride[axis][k];
  }
  return static_cast<int>(min(left, std::int64_t{pack}));
}

/// N neighbours from `x` on, or one element N times; with fewer than N, the others are 0.
template <class T, int N>
__device__ __forceinline__ Pack<T, N> load_pack(const T* x, int count, bool repeat) {
  Pack<T, N> pack;
  if (repeat) {
    const T v = *x;
#pragma unroll
    for (int i = 0; i < N; ++i) pack.v[i] = v;
    return pack;
  }
  if (count == N) return *reinterpret_cast<const Pack<T, N>*>(x);
#pragma unroll
  for (int i = 0; i < N; ++i) pack.v[i] = i < count ? x[i] : narrow<T>(0.0F);
  return pack;
}
template <class T, int N>
__device__ __forceinline__ void store_pack(T* y, int count, const Pack<T, N>& pack) {
  if (count == N) {
    *reinterpret_cast<Pack<T, N>*>(y) = pack;
    return;
  }
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (i < count) y[i] = pack.v[i];
  }
}

template <class... V>
std::array<std::uintptr_t, sizeof...(V)> addresses(const V&... views) {
  return {reinterpret_cast<std::uintptr_t>(views.data)...};
}

/// Blocks of kPointwiseBlock threads, each of `packs` packs.
inline dim3 blocks(std::uint32_t threads, std::uint32_t packs = 1) { return dim3(ceil_div(threads, kPointwiseBlock * packs)); }

template <class... F>
void preload_all(F... kernels) {
  (preload(reinterpret_cast<const void*>(kernels)), ...);
}

}  // namespace frieze::cuda
