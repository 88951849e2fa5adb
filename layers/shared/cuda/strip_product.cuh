#pragma once
/// A tile of a matrix product whose operands lie anyhow, in f32 outside the tensor cores: what no faster kernel takes.
#include <cstdint>

#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {

inline constexpr int kStripRows = 64, kStripDepth = 16, kStripThreads = 256;

/// Element (i, d) at data[i * row + d * depth], for i below `rows`.
template <class T>
struct Strip {
  const T* data;
  std::int64_t row, depth, rows;
};

/// acc[i][j] += the product of rows ty + 16 i of `a` and tx + 16 j of `b` over `depth`, in the order of depth; tx and ty are the thread's
/// index % 16 and / 16. For blocks of 256 threads, all of which call it.
template <class A, class B>
__device__ __forceinline__ void multiply_strips(float (&acc)[4][4], const Strip<A>& a, const Strip<B>& b, std::int64_t depth) {
  __shared__ float as[kStripDepth][kStripRows + 1], bs[kStripDepth][kStripRows + 1];
  const int tid = static_cast<int>(threadIdx.x), tx = tid % 16, ty = tid / 16;
  const auto fill = [&](float(&to)[kStripDepth][kStripRows + 1], const auto& from, std::int64_t d0) {
    const bool along_rows = from.row == 1;  // neighbouring threads read neighbours in memory
    for (int i = tid; i < kStripRows * kStripDepth; i += kStripThreads) {
      const int r = along_rows ? i % kStripRows : i / kStripDepth, d = along_rows ? i / kStripRows : i % kStripDepth;
      to[d][r] = r < from.rows && d0 + d < depth ? widen(from.data[r * from.row + (d0 + d) * from.depth]) : 0.0F;
    }
  };
  for (std::int64_t d0 = 0; d0 < depth; d0 += kStripDepth) {
    fill(as, a, d0);
    fill(bs, b, d0);
    __syncthreads();
#pragma unroll
    for (int d = 0; d < kStripDepth; ++d) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) acc[i][j] = fmaf(as[d][ty + 16 * i], bs[d][tx + 16 * j], acc[i][j]);
      }
    }
    __syncthreads();
  }
}

}  // namespace frieze::cuda
