#include <algorithm>

#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/shared/cuda/gemm_kernels.h>
#include <frieze/layers/shared/cuda/epilogue.cuh>

namespace frieze::cuda {
namespace {

// One thread owns V neighbouring values of one row.
template <class T, int V>
__global__ void __launch_bounds__(256)
    epilogue_pack_per_thread(const float* sums, const float* __restrict__ bias, T* y, std::int64_t first, std::int64_t count,
                             std::int64_t n, const __grid_constant__ EpilogueArgs epilogue) {
  const std::int64_t i = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * V;
  if (i >= count) return;
  float v[V];
  const auto sum = *reinterpret_cast<const Pack<float, V>*>(sums + i);
#pragma unroll
  for (int j = 0; j < V; ++j) v[j] = sum.v[j];
  if (bias != nullptr) {
    const std::int64_t column = div_mod(i, n).remainder;
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] += bias[column + j];
  }
  apply_epilogue<T>(epilogue, v, first + i);
  Pack<T, V> out;
#pragma unroll
  for (int j = 0; j < V; ++j) out.v[j] = narrow<T>(v[j]);
  *reinterpret_cast<Pack<T, V>*>(y + first + i) = out;
}

constexpr int kTile = 64, kDepth = 16, kThreads = 256;

// One block owns 64 rows x 64 columns of y, a thread 4 x 4 of them; operands go through shared memory as f32.
template <class T>
__global__ void __launch_bounds__(kThreads) gemm_tile_per_block(const TileGemmArgs a, std::int64_t tiles, std::int64_t column_tiles,
                                                                const __grid_constant__ EpilogueArgs epilogue) {
  __shared__ float xs[kDepth][kTile + 1], ws[kDepth][kTile + 1], sums[kTile][kTile + 1];
  const T* x = static_cast<const T*>(a.x);
  const T* __restrict__ w = static_cast<const T*>(a.w);
  const int tid = static_cast<int>(threadIdx.x), tx = tid % 16, ty = tid / 16;
  for (std::int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const DivMod at = div_mod(tile, column_tiles);
    const std::int64_t row0 = at.quotient * kTile, col0 = at.remainder * kTile;
    float acc[4][4] = {};
    for (std::int64_t k0 = 0; k0 < a.k; k0 += kDepth) {
      for (int i = tid; i < kTile * kDepth; i += kThreads) {
        const int r = i / kDepth, d = i % kDepth;
        const bool depth_in = k0 + d < a.k;
        xs[d][r] = depth_in && row0 + r < a.m ? widen(x[(row0 + r) * a.ldx + k0 + d]) : 0.0F;
        ws[d][r] = depth_in && col0 + r < a.n ? widen(w[(col0 + r) * a.ldw + k0 + d]) : 0.0F;
      }
      __syncthreads();
#pragma unroll
      for (int d = 0; d < kDepth; ++d) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
          for (int j = 0; j < 4; ++j) acc[i][j] = fmaf(xs[d][ty + 16 * i], ws[d][tx + 16 * j], acc[i][j]);
        }
      }
      __syncthreads();
    }
    // Through shared memory once more, so that the long code of the epilogue is there once and not 16 times.
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) sums[ty + 16 * i][tx + 16 * j] = acc[i][j];
    }
    __syncthreads();
#pragma unroll 1
    for (int i = tid; i < kTile * kTile; i += kThreads) {
      const int r = i / kTile, c = i % kTile;
      if (row0 + r >= a.m || col0 + c >= a.n) continue;
      const std::int64_t offset = a.first + (row0 + r) * a.ldy + col0 + c;
      float v[1] = {sums[r][c] + (a.bias != nullptr ? a.bias[col0 + c] : 0.0F)};
      apply_epilogue<T>(epilogue, v, offset);
      static_cast<T*>(a.y)[offset] = narrow<T>(v[0]);
    }
    __syncthreads();
  }
}

template <class T>
constexpr int kPack = 16 / sizeof(T);

}  // namespace

void launch_epilogue_pass(DType dtype, const float* sums, const float* bias, void* y, std::int64_t first, std::int64_t count,
                          std::int64_t n, const EpilogueArgs& epilogue, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    const auto run = [&](auto* kernel, int pack) {
      // 4 bytes read, sizeof(T) written and a few flops for an element: bound by memory, or by L2 right behind a product.
      launch_kernel(kernel, grid_of(ceil_div<std::int64_t>(count, 256 * pack)), dim3(256), 0, stream, sums, bias, static_cast<T*>(y), first,
                    count, n, epilogue);
    };
    // Packs must not cross rows, and are read as 4 * kPack bytes of sums.
    const bool packs = n % kPack<T> == 0 && is_aligned(y, 16) && is_aligned(sums, 4 * kPack<T>) && epilogue.aligned(16);
    if (packs) {
      run(&epilogue_pack_per_thread<T, kPack<T>>, kPack<T>);
    } else {
      run(&epilogue_pack_per_thread<T, 1>, 1);
    }
  });
}

void launch_tile_gemm(DType dtype, const TileGemmArgs& args, const EpilogueArgs& epilogue, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    const std::int64_t column_tiles = ceil_div<std::int64_t>(args.n, kTile), tiles = ceil_div<std::int64_t>(args.m, kTile) * column_tiles;
    const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(tiles, 0x7FFFFFFF));
    launch_kernel(gemm_tile_per_block<decltype(t)>, dim3(blocks), dim3(kThreads), 0, stream, args, tiles, column_tiles, epilogue);
  });
}

void preload_gemm_kernels(DType dtype) {
  dispatch(dtype, [](auto t) {
    using T = decltype(t);
    preload(reinterpret_cast<const void*>(&epilogue_pack_per_thread<T, kPack<T>>));
    preload(reinterpret_cast<const void*>(&epilogue_pack_per_thread<T, 1>));
    preload(reinterpret_cast<const void*>(&gemm_tile_per_block<T>));
  });
}

}  // namespace frieze::cuda
