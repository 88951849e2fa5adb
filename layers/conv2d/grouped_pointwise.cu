// 1 x 1 convolution in groups of 32 channels, nhwc: the second half of an extra scale of linear attention.
#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/conv2d/cuda/conv2d_kernels.h>
#include <frieze/layers/shared/cuda/epilogue.cuh>
#include <frieze/layers/shared/cuda/tensor_core.cuh>

namespace frieze::cuda {
namespace {

constexpr int kChannels = kGroupedChannels;
constexpr int kThreads = 128;
constexpr int kPixels = 2;  // of one thread: a word of the weights from shared memory serves both
constexpr int kRounds = 2;  // pixels of a block: kRounds * kThreads * kPixels

// f32: one block owns some hundred pixels of one group, a thread two whole pixels of it at a time: their inputs stay in registers.
template <class T>
__global__ void __launch_bounds__(kThreads)
    grouped_pointwise_pixels_per_thread(const T* x, const T* __restrict__ w, const float* __restrict__ bias, T* y, std::int64_t pixels,
                                        std::int64_t x_row, std::int64_t y_row, std::int64_t groups) {
  constexpr int kPack = 16 / sizeof(T);
  __shared__ alignas(16) float factors[kChannels * kChannels];
  __shared__ float shifts[kChannels];
  const std::int64_t group = blockIdx.x % groups;  // neighbouring blocks read neighbouring channels of the same pixels
  for (int i = threadIdx.x; i < kChannels * kChannels; i += kThreads) factors[i] = widen(w[group * kChannels * kChannels + i]);
  if (threadIdx.x < kChannels) shifts[threadIdx.x] = bias != nullptr ? bias[group * kChannels + threadIdx.x] : 0.0F;
  __syncthreads();
  x += group * kChannels;
  y += group * kChannels;
  const std::int64_t begin = blockIdx.x / groups * (kRounds * kThreads * kPixels);
  const std::int64_t end = min(begin + kRounds * kThreads * kPixels, pixels);
  for (std::int64_t pixel = begin + threadIdx.x; pixel < end; pixel += kThreads * kPixels) {
    const bool both = pixel + kThreads < end;
    const std::int64_t at[kPixels] = {pixel, both ? pixel + kThreads : pixel};
    float in[kPixels][kChannels];
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
#pragma unroll
      for (int c = 0; c < kChannels; c += kPack) {
        const auto pack = *reinterpret_cast<const Pack<T, kPack>*>(x + at[p] * x_row + c);
#pragma unroll
        for (int j = 0; j < kPack; ++j) in[p][c + j] = widen(pack.v[j]);
      }
    }
#pragma unroll 1
    for (int o = 0; o < kChannels; o += kPack) {
      Pack<T, kPack> out[kPixels];
#pragma unroll
      for (int j = 0; j < kPack; ++j) {
        const float* row = factors + (o + j) * kChannels;
        float sum[kPixels] = {};
#pragma unroll
        for (int c = 0; c < kChannels; c += 4) {
          const float4 f = *reinterpret_cast<const float4*>(row + c);
#pragma unroll
          for (int p = 0; p < kPixels; ++p) {
            sum[p] = fmaf(in[p][c], f.x, sum[p]);
            sum[p] = fmaf(in[p][c + 1], f.y, sum[p]);
            sum[p] = fmaf(in[p][c + 2], f.z, sum[p]);
            sum[p] = fmaf(in[p][c + 3], f.w, sum[p]);
          }
        }
#pragma unroll
        for (int p = 0; p < kPixels; ++p) out[p].v[j] = narrow<T>(sum[p] + shifts[o + j]);
      }
      *reinterpret_cast<Pack<T, kPack>*>(y + at[0] * y_row + o) = out[0];
      if (both) *reinterpret_cast<Pack<T, kPack>*>(y + at[1] * y_row + o) = out[1];
    }
  }
}

constexpr int kWarps = 4, kTiles = 4, kWarpPixels = 16 * kTiles;

// 16 bits: one warp owns 64 pixels of one group, 4 lanes a pixel, and neighbouring warps neighbouring groups. A product sums over all
// channels and makes all outputs, so their order is free: lane 4*i + j holds channels 8j ... 8j + 7 of pixel i, one load, and gets the
// outputs of the same numbers, one store. Nothing goes through shared memory.
template <class T>
__global__ void __launch_bounds__(32 * kWarps)
    grouped_pointwise_64_pixels_per_warp(const T* x, const T* __restrict__ w, const float* __restrict__ bias, T* y, std::int64_t pixels,
                                         std::int64_t x_row, std::int64_t y_row, std::int64_t groups, std::int64_t tasks) {
  const std::int64_t task = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (task >= tasks) return;
  const DivMod at = div_mod(task, groups);
  const int lane = static_cast<int>(threadIdx.x) % 32, i = lane / 4, j = lane % 4;
  const std::int64_t first = at.quotient * kWarpPixels + i, channel = at.remainder * kChannels + 8 * j;
  uint4 in[kTiles][2];
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const std::int64_t pixel = first + 16 * t + 8 * h;
      in[t][h] = pixel < pixels ? *reinterpret_cast<const uint4*>(x + pixel * x_row + channel) : uint4{};
    }
  }
  // Column c of product n is output 8 * (c / 2) + 2n + c % 2; row r of half s is channel 8 * (r % 8 / 2) + 4s + 2 * (r / 8) + r % 2.
  uint4 factors[4];
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const std::int64_t output = at.remainder * kChannels + 8 * (i / 2) + 2 * n + i % 2;
    factors[n] = *reinterpret_cast<const uint4*>(w + output * kChannels + 8 * j);
  }
  float shift[8];
#pragma unroll
  for (int c = 0; c < 8; ++c) shift[c] = bias != nullptr ? bias[channel + c] : 0.0F;
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    Pack<T, 8> out[2];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      float sums[4] = {};
      multiply_add<T>(sums, {in[t][0].x, in[t][1].x, in[t][0].y, in[t][1].y}, factors[n].x, factors[n].y);
      multiply_add<T>(sums, {in[t][0].z, in[t][1].z, in[t][0].w, in[t][1].w}, factors[n].z, factors[n].w);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        out[h].v[2 * n] = narrow<T>(sums[2 * h] + shift[2 * n]);
        out[h].v[2 * n + 1] = narrow<T>(sums[2 * h + 1] + shift[2 * n + 1]);
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const std::int64_t pixel = first + 16 * t + 8 * h;
      if (pixel < pixels) *reinterpret_cast<Pack<T, 8>*>(y + pixel * y_row + channel) = out[h];
    }
  }
}

}  // namespace

// 1536 channels at 128x128 in 16 bits: 50 MB in, 50 MB out, 34 us at 3 TB/s; 1.6 GFLOP, which are 30 us for the f32 units and 2 for the
// tensor cores.
void launch_grouped_pointwise(DType dtype, const ConvGeometry& g, const ConvWeights& w, const void* x, void* y, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    const float* const bias = w.has_bias ? w.bias_f32 : nullptr;
    const std::int64_t groups = g.groups, x_row = g.x_row > 0 ? g.x_row : g.in_c, y_row = g.y_row > 0 ? g.y_row : g.out_c;
    if constexpr (sizeof(T) == 2) {
      const std::int64_t tasks = ceil_div<std::int64_t>(g.pixels, kWarpPixels) * groups;
      launch_kernel(&grouped_pointwise_64_pixels_per_warp<T>, grid_of(ceil_div<std::int64_t>(tasks, kWarps)), dim3(32 * kWarps), 0, stream,
                    static_cast<const T*>(x), static_cast<const T*>(w.w), bias, static_cast<T*>(y), g.pixels, x_row, y_row, groups, tasks);
    } else {
      const std::int64_t tiles = ceil_div<std::int64_t>(g.pixels, kRounds * kThreads * kPixels);
      launch_kernel(&grouped_pointwise_pixels_per_thread<T>, grid_of(tiles * groups), dim3(kThreads), 0, stream, static_cast<const T*>(x),
                    static_cast<const T*>(w.w), bias, static_cast<T*>(y), g.pixels, x_row, y_row, groups);
    }
  });
}

void preload_grouped_pointwise(DType dtype) {
  dispatch(dtype, [](auto t) {
    using T = decltype(t);
    if constexpr (sizeof(T) == 2) {
      preload(reinterpret_cast<const void*>(&grouped_pointwise_64_pixels_per_warp<T>));
    } else {
      preload(reinterpret_cast<const void*>(&grouped_pointwise_pixels_per_thread<T>));
    }
  });
}

}  // namespace frieze::cuda
