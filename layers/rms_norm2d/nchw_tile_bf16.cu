#include <frieze/layers/rms_norm2d/cuda/nchw_tile.cuh>

namespace frieze::cuda {

void launch_nchw_tile_bf16(const NormConfig& config, const NormArgs& args, cudaStream_t stream) {
  launch_tile<__nv_bfloat16>(config, DType::bf16, args, stream);
}

}  // namespace frieze::cuda
