// 1 x 1 convolution in groups of 32 channels, nhwc: the second half of an extra scale of linear attention.
#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/conv2d/cuda/conv2d_kernels.h>
#include <frieze/core/cuda/epilogue.cuh>

namespace frieze::cuda {
namespace {

constexpr int kChannels = kGroupedChannels;
constexpr int kThreads = 128;
constexpr int kPixels = 2;  // of one thread: a word of the weights from shared memory serves both
constexpr int kRounds = 2;  // pixels of a block: kRounds * kThreads * kPixels

// One block owns some hundred pixels of one group, a thread two whole pixels of it at a time: their inputs stay in registers.
template <class T>
__global__ void __launch_bounds__(kThreads)
    grouped_pointwise_pixels_per_thread(const T* x, const T* __restrict__ w, const float* __restrict__ bias, T* y, std::int64_t pixels,
                                        std::int64_t channels, std::int64_t groups) {
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
    const std::int64_t at[kPixels] = {pixel * channels, (both ? pixel + kThreads : pixel) * channels};
    float in[kPixels][kChannels];
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
#pragma unroll
      for (int c = 0; c < kChannels; c += kPack) {
        const auto pack = *reinterpret_cast<const Pack<T, kPack>*>(x + at[p] + c);
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
      *reinterpret_cast<Pack<T, kPack>*>(y + at[0] + o) = out[0];
      if (both) *reinterpret_cast<Pack<T, kPack>*>(y + at[1] + o) = out[1];
    }
  }
}

}  // namespace

// 1536 channels at 128x128 in 16 bits: 50 MB in, 50 MB out, 34 us at 3 TB/s; 0.8e9 fmaf, 30 us at the rate of the f32 units.
void launch_grouped_pointwise(DType dtype, const ConvGeometry& g, const ConvWeights& w, const void* x, void* y, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    const std::int64_t tiles = ceil_div<std::int64_t>(g.pixels, kRounds * kThreads * kPixels);
    launch_kernel(&grouped_pointwise_pixels_per_thread<T>, grid_of(tiles * g.groups), dim3(kThreads), 0, stream, static_cast<const T*>(x),
                  static_cast<const T*>(w.w), w.has_bias ? w.bias_f32 : nullptr, static_cast<T*>(y), g.pixels,
                  static_cast<std::int64_t>(g.in_c), static_cast<std::int64_t>(g.groups));
  });
}

void preload_grouped_pointwise(DType dtype) {
  dispatch(dtype, [](auto t) { preload(reinterpret_cast<const void*>(&grouped_pointwise_pixels_per_thread<decltype(t)>)); });
}

}  // namespace frieze::cuda
