#pragma once
/// Internal to layers/shared/cuda/gemm: launches of its own kernels.
#include <cuda_runtime_api.h>

#include <cstdint>

#include <frieze/layers/shared/cuda/epilogue.h>

namespace frieze::cuda {

/// y[first + i] = chain(sums[i] + bias[i % n]) for i in [0, count); the chain's operands are indexed like y. `sums` may be y + first if
/// y is f32. `bias` may be null. `count` is a multiple of n, `first` one of 8 if n is.
void launch_epilogue_pass(DType dtype, const float* sums, const float* bias, void* y, std::int64_t first, std::int64_t count,
                          std::int64_t n, const EpilogueArgs& epilogue, cudaStream_t stream);

struct TileGemmArgs {
  const void* x = nullptr;
  const void* w = nullptr;
  const float* bias = nullptr;  ///< of n elements, or null
  void* y = nullptr;
  std::int64_t first = 0;  ///< element of y, and of the chain's operands, where this product begins
  std::int64_t m = 0, n = 0, k = 0, ldx = 0, ldw = 0, ldy = 0;
};
/// y[first + i*ldy + j] = chain(sum_l x[i*ldx + l] * w[j*ldw + l] + bias[j]) with any alignment: what cuBLASLt does not take.
void launch_tile_gemm(DType dtype, const TileGemmArgs& args, const EpilogueArgs& epilogue, cudaStream_t stream);

/// Loads the kernels for `dtype`.
void preload_gemm_kernels(DType dtype);

}  // namespace frieze::cuda
