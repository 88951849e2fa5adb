// Which kernels take a call, where this build may lack them.
#include <algorithm>

#include <frieze/core/error.h>
#include <frieze/layers/attention/cuda/attention_call.h>
#include <frieze/layers/shared/cuda/tensor_map.h>

namespace frieze::cuda {

bool takes_warpgroup_attention(DType dtype, const AttentionCall& call, int compute_capability) {
#if FRIEZE_HAS_SM90A
  // Copies of boxes of 64 columns. Masks of wide heads would cost registers that their sums take.
  const bool packs = call.q.packs(call.width) && call.k.packs(call.width) && call.v.packs(call.value_width);
  const bool masked = call.mask_kind != MaskKind::none && std::max(call.width, call.value_width) > 256;
  const bool fits = dtype != DType::f32 && call.width <= kFusedWidth && packs && !masked;
  return compute_capability == 90 && fits && tensor_map_encoder() != nullptr;
#else
  (void)dtype, (void)call, (void)compute_capability;
  return false;
#endif
}

#if !FRIEZE_HAS_SM90A
void launch_warpgroup_attention(DType, const AttentionCall&, int, cudaStream_t) {
  throw CudaError("this build has no warp-group attention: its CMAKE_CUDA_ARCHITECTURES lack 90");
}
void preload_warpgroup_attention(DType dtype, const AttentionCall& call) { launch_warpgroup_attention(dtype, call, 1, nullptr); }
#endif

}  // namespace frieze::cuda
