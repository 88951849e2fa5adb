#pragma once
/// Internal to Interpolate: what its kernels share.
#include <cstdint>

#include <frieze/layers/interpolate/interpolate.h>
#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/shared/cuda/epilogue.cuh>

namespace frieze::cuda {

struct ResampledAxis {
  const int* start = nullptr;
  const int* count = nullptr;  // of weights, for taps that are not known at compile time
  const float* weights = nullptr;
  int taps = 1, in = 0, out = 0;
};

struct ResampleArgs {
  ResampledAxis h, w;
  std::int64_t threads = 0;
  std::int64_t x_plane = 0, y_plane = 0;  // nhwc: an image; nchw: one channel of it
  int units = 0, row_groups = 0, rows = 1;
  int inner = 1, packs = 1;  // nhwc: channels, and packs of N of them; nchw: 1
  int tile = 0, tiles = 0;   // of columns, in nchw
};

// K weights of an axis at output `i`.
template <int K>
__device__ __forceinline__ void load_weights(const ResampledAxis& a, int i, float (&w)[K]) {
#pragma unroll
  for (int k = 0; k < K; ++k) w[k] = K == 1 ? 1.0F : a.weights[static_cast<std::int64_t>(i) * K + k];
}

__device__ __forceinline__ int clamped(int i, int extent) { return min(max(i, 0), extent - 1); }

/// nchw by tiles: `taps` weights along each axis, 1, 2 or 4, or 0 for any number. The columns of a tile; 0: another kernel is better.
int interpolate_tile(const Interpolate::Axis& rows, const Interpolate::Axis& columns, int taps);
/// Blocks that it takes, for `planes` channels of images. Sets what args need of them.
std::int64_t interpolate_tile_blocks(ResampleArgs& args, std::int64_t planes, int taps);
void launch_interpolate_tile(DType dtype, int taps, const ResampleArgs& args, std::int64_t blocks, const void* x, void* y,
                             cudaStream_t stream);
void preload_interpolate_tile(DType dtype, int taps);

}  // namespace frieze::cuda
