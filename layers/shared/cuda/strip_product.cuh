#pragma once
/// A tile of a matrix product whose operands lie anyhow, in f32 outside the tensor cores: what no faster kernel takes.
#include <cstdint>

#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {

inline constexpr int kStripRows = 128, kStripColumns = 64, kStripDepth = 16, kStripThreads = 256;  // of a tile of a block of threads

/// Element (i, d) at data[i * row + d * depth], for i below `rows`.
template <class T>
struct Strip {
  const T* data;
  std::int64_t row, depth, rows;
};

/// Where acc[i][j] of a thread lies in the tile: four neighbouring columns, twice four neighbouring rows.
__device__ __forceinline__ int strip_row(int i) { return i / 4 * 64 + static_cast<int>(threadIdx.x) / 16 * 4 + i % 4; }
__device__ __forceinline__ int strip_column(int j) { return static_cast<int>(threadIdx.x) % 16 * 4 + j; }

/// What a thread brings of kRows rows and kStripDepth of depth: in registers first, so that the way from memory hides behind products.
template <class T, int kRows>
struct StripFetch {
  static constexpr int kEach = kRows * kStripDepth / kStripThreads;
  float v[kEach];

  // Neighbouring threads read neighbours in memory.
  __device__ __forceinline__ static int row_of(bool along_rows, int q) {
    const int tid = static_cast<int>(threadIdx.x);
    return along_rows ? tid % kRows : tid / kStripDepth + q * (kStripThreads / kStripDepth);
  }
  __device__ __forceinline__ static int depth_of(bool along_rows, int q) {
    const int tid = static_cast<int>(threadIdx.x);
    return along_rows ? tid / kRows + q * (kStripThreads / kRows) : tid % kStripDepth;
  }
  __device__ __forceinline__ void load(const Strip<T>& from, std::int64_t d0, std::int64_t depth) {
    const bool along_rows = from.row == 1;
#pragma unroll
    for (int q = 0; q < kEach; ++q) {
      const std::int64_t r = row_of(along_rows, q), d = d0 + depth_of(along_rows, q);
      v[q] = r < from.rows && d < depth ? widen(from.data[r * from.row + d * from.depth]) : 0.0F;
    }
  }
  __device__ __forceinline__ void store(float (&to)[kStripDepth][kRows + 4], const Strip<T>& from) const {
    const bool along_rows = from.row == 1;
#pragma unroll
    for (int q = 0; q < kEach; ++q) to[depth_of(along_rows, q)][row_of(along_rows, q)] = v[q];
  }
};

/// acc[i][j] += the product of row strip_row(i) of `a` and row strip_column(j) of `b` over `depth`, in the order of depth. For blocks of
/// 256 threads, all of which call it.
template <class A, class B>
__device__ __forceinline__ void multiply_strips(float (&acc)[8][4], const Strip<A>& a, const Strip<B>& b, std::int64_t depth) {
  __shared__ __align__(16) float as[kStripDepth][kStripRows + 4], bs[kStripDepth][kStripColumns + 4];
  StripFetch<A, kStripRows> from_a;
  StripFetch<B, kStripColumns> from_b;
  from_a.load(a, 0, depth);
  from_b.load(b, 0, depth);
  for (std::int64_t d0 = 0; d0 < depth; d0 += kStripDepth) {
    from_a.store(as, a);
    from_b.store(bs, b);
    __syncthreads();
    if (d0 + kStripDepth < depth) {
      from_a.load(a, d0 + kStripDepth, depth);
      from_b.load(b, d0 + kStripDepth, depth);
    }
#pragma unroll
    for (int d = 0; d < kStripDepth; ++d) {
      float left[8], right[4];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const auto four = *reinterpret_cast<const Pack<float, 4>*>(&as[d][strip_row(4 * half)]);
#pragma unroll
        for (int i = 0; i < 4; ++i) left[4 * half + i] = four.v[i];
      }
      const auto four = *reinterpret_cast<const Pack<float, 4>*>(&bs[d][strip_column(0)]);
#pragma unroll
      for (int j = 0; j < 4; ++j) right[j] = four.v[j];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) acc[i][j] = fmaf(left[i], right[j], acc[i][j]);
      }
    }
    __syncthreads();
  }
}

}  // namespace frieze::cuda
