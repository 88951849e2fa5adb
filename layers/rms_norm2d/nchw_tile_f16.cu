#include <frieze/layers/rms_norm2d/cuda/nchw_tile.cuh>

namespace frieze::cuda {

void launch_nchw_tile_f16(const NormConfig& config, const NormArgs& args, cudaStream_t stream) {
  launch_tile<__half>(config, DType::f16, args, stream);
}

}  // namespace frieze::cuda
