#pragma once
/// Internal to LinearAttention2d: what its kernels share.
#include <cuda_runtime_api.h>

#include <cstdint>

#include <frieze/core/dtype.h>

namespace frieze::cuda {

struct AttentionArgs {
  std::int64_t tokens = 0, groups = 0;  // groups: of one image
  std::int64_t segment = 0;             // pixels that one block sums over
  int segments = 1;
  int d = 1;
  bool nhwc = false;
  float eps = 0;
  float* partial = nullptr;  // [image * groups][segment][d+1][d]: K without its normalisation
};

/// Both kernels for d = 32, nhwc, x and y 16-byte aligned: everything in registers and packs of 16 bytes. `tasks`: images * groups;
/// `block_tokens`: pixels that a block of the second kernel multiplies, a multiple of kHead32Tokens.
inline constexpr std::int64_t kHead32Tokens = 256;
void launch_attention_head32(DType dtype, const void* x, void* y, const AttentionArgs& a, std::int64_t tasks, std::int64_t block_tokens,
                             cudaStream_t stream);
void preload_attention_head32(DType dtype);

}  // namespace frieze::cuda
