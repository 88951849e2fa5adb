#pragma once
/// Internal to layers/pool2d: what a launch is given, and the launches of both formats.
#include <cuda_runtime_api.h>

#include <string>

#include <frieze/core/layer.h>
#include <frieze/layers/shared/cuda/fast_div.h>
#include <frieze/layers/shared/pool_windows.h>

namespace frieze::cuda {

struct PoolArgs2d {
  const void* x = nullptr;
  void* y = nullptr;
  std::int64_t images = 1;
  int channels = 1;
  PoolWindows<int> windows;
  float whole_window = 1;  ///< of a mean: 1 / the divisor of a window that is inside of x
};

/// How a pooling runs, for tensors that are aligned to packs; others run by single elements.
enum class PoolPath : std::uint8_t {
  thread_per_output,  ///< windows of few positions
  thread_per_strip,   ///< common windows: neighbouring outputs, also one below the other, whose input rows are read once
  warp_per_bins,      ///< nchw only: all bins of a row
  many_per_output,    ///< windows of many positions: a warp's (nchw) or a block's rows (nhwc)
};
PoolPath pool_path_nchw(DType t, const PoolArgs2d& args, bool aligned);
PoolPath pool_path_nhwc(const PoolArgs2d& args);

/// Throw CudaError.
void preload_pool_nchw(DType t);
void preload_pool_nhwc(DType t);
void launch_pool_nchw(DType t, const PoolArgs2d& args, cudaStream_t stream);
void launch_pool_nhwc(DType t, const PoolArgs2d& args, cudaStream_t stream);

}  // namespace frieze::cuda
