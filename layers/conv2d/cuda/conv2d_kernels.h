#pragma once
/// Internal to Conv2d: its kernels' arguments and launches.
#include <cuda_runtime_api.h>

#include <cstdint>
#include <string>

#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/shared/cuda/epilogue.h>

namespace frieze::cuda {

/// One convolution as kernels see it: pad_h rows of zeros on top, pad_w columns on the left, and behind x whatever the output takes. Every
/// extent of a padded image fits in 31 bits; products of extents are taken in 64.
struct ConvGeometry {
  std::int64_t n = 0, pixels = 0;  ///< images; output pixels n * out_h * out_w
  int in_c = 0, in_h = 0, in_w = 0, out_c = 0, out_h = 0, out_w = 0;
  int kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1;
  int groups = 1;
  std::int64_t x_row = 0, y_row = 0;  ///< nhwc, elements from one pixel to the next where that is not in_c and out_c; else 0
  bool strided() const { return x_row != 0 || y_row != 0; }
  int taps() const { return kernel_h * kernel_w; }
};

/// Weights as the kernels share them. Element (o, tap r*kernel_w + s, c), c < in_c/groups, of the run's type lies at
/// o * row + tap * tap_size + c; everything else up to `rows` rows is zero. Biases in f32 are followed by zeros up to `rows`.
struct ConvWeights {
  const void* w = nullptr;
  const void* bias = nullptr;       ///< of the run's type; zeros if there is none
  const float* bias_f32 = nullptr;  ///< likewise
  bool has_bias = false;
  std::int64_t row = 0;
  int tap_size = 0, rows = 0;
};

// Implicit GEMM: y as a matrix [pixels, out_c], tensor cores, f16 and bf16, nhwc, one group.
struct ImplicitTile {
  int rows, columns;
};
constexpr ImplicitTile kImplicitTiles[] = {{128, 128}, {128, 64}, {64, 64}, {128, 32}};
constexpr int kImplicitTileCount = 4;
/// Elements of K that one step takes; ConvWeights::row is a multiple of it, tap_size one of 8, and rows one of 128.
constexpr int kImplicitDepth = 32;
/// `x` is nhwc with tap_size channels, 16-byte aligned. `tile` indexes kImplicitTiles. At most 2^31 - 1 blocks.
void launch_implicit_gemm(DType dtype, int tile, const ConvGeometry& g, const ConvWeights& w, const void* x, void* y,
                          const EpilogueArgs& epilogue, cudaStream_t stream);
void preload_implicit_gemm(DType dtype, int tile);

/// Rows [row, row + rows) of the matrix that a convolution is a product with: out[i * row_size + tap * tap_size + c] =
/// x[what tap sees of pixel row + i, c], zero outside of the image and for c >= in_c. row_size = taps * tap_size, tap_size a multiple of
/// 16 bytes. x is nhwc of any alignment, `out` 16-byte aligned.
void launch_gather_columns(DType dtype, const ConvGeometry& g, int tap_size, const void* x, void* out, std::int64_t row, std::int64_t rows,
                           cudaStream_t stream);
void preload_gather_columns(DType dtype);

/// Depthwise, nhwc, x a range of channels or not; `w` as [taps, C] of the run's type, 16-byte aligned. By tiles where the kernel, the
/// channels and the alignment allow.
void launch_depthwise(DType dtype, const ConvGeometry& g, const void* w, const float* bias, const void* x, void* y,
                      const EpilogueArgs& epilogue, cudaStream_t stream);
void preload_depthwise(DType dtype);
/// "own depthwise, single pixels, 8 channels a thread", for aligned pointers. `rare`: the chain has an activation that tiles do not take.
std::string describe_depthwise(DType dtype, const ConvGeometry& g, bool rare);

/// 3x3, 5x5 or 7x7 of stride and dilation 1, and channels of a multiple of 16 bytes.
bool takes_depthwise_tile(DType dtype, const ConvGeometry& g);
/// The same, x, y and the epilogue's operands 16-byte aligned.
void launch_depthwise_tile(DType dtype, const ConvGeometry& g, const void* w, const float* bias, const void* x, void* y,
                           const EpilogueArgs& epilogue, cudaStream_t stream);
void preload_depthwise_tile(DType dtype);
/// "own depthwise 3x3, tiles of 16x8 pixels and 32 channels, 4 a thread".
std::string describe_depthwise_tile(DType dtype, const ConvGeometry& g);

/// 1 x 1 of stride 1 in groups of 32 channels in and out, nhwc, x and y 16-byte aligned, ranges of channels or not, no epilogue. Weights
/// as ConvWeights with row = 32.
constexpr int kGroupedChannels = 32;
void launch_grouped_pointwise(DType dtype, const ConvGeometry& g, const ConvWeights& w, const void* x, void* y, cudaStream_t stream);
void preload_grouped_pointwise(DType dtype);

/// Warp-group products (sm_90a only), f16 and bf16, nhwc: 3x3 or 2x2, stride and dilation 1, any padding, one group, channels in and out
/// that 8 divides. A block owns tiles of 8 x 32 output pixels x 128 channels.
constexpr int kWarpgroupTileW = 8, kWarpgroupTileH = 32, kWarpgroupChannels = 128;
/// False in a build that has no code for sm_90a.
bool takes_warpgroup_conv(DType dtype, const ConvGeometry& g, int compute_capability);
/// How many tiles there are; the kernel is made for at least as many as half of the GPU's multiprocessors.
std::int64_t warpgroup_tiles(const ConvGeometry& g);
/// `activation` is none, relu or silu; x and y are 16-byte aligned.
void launch_warpgroup_conv(DType dtype, const ConvGeometry& g, const ConvWeights& w, Activation activation, const void* x, void* y,
                           int sm_count, cudaStream_t stream);
void preload_warpgroup_conv(DType dtype, const ConvGeometry& g);

/// Any convolution, any format, any alignment.
void launch_direct(DType dtype, Format format, const ConvGeometry& g, const ConvWeights& w, const void* x, void* y,
                   const EpilogueArgs& epilogue, cudaStream_t stream);
void preload_direct(DType dtype, const ConvGeometry& g);
std::string describe_direct(const ConvGeometry& g);

}  // namespace frieze::cuda
