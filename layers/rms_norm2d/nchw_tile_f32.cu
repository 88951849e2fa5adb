#include <frieze/layers/rms_norm2d/cuda/nchw_tile.cuh>

namespace frieze::cuda {

void launch_nchw_tile_f32(const NormConfig& config, const NormArgs& args, cudaStream_t stream) {
  launch_tile<float>(config, DType::f32, args, stream);
}

}  // namespace frieze::cuda
