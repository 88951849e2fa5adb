// Any convolution: groups, formats and alignments that nothing faster takes.
#include <algorithm>

#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/conv2d/cuda/conv2d_kernels.h>
#include <frieze/layers/shared/cuda/epilogue.cuh>

namespace frieze::cuda {
namespace {

constexpr int kThreads = 128, kPixels = 4;

struct DirectArgs {
  ConvGeometry g;
  const void* x;
  const void* w;
  const float* bias;  // null: none
  void* y;
  std::int64_t x_n, x_c, x_h, x_w, y_n, y_c, y_h, y_w;  // strides
  std::int64_t w_row;
  int tap_size, in_group, out_group, channel_tiles;  // channel_tiles: of CO output channels, in one group
  std::int64_t tiles;                                // of work for one block
};

// One block owns 512 neighbouring pixels x CO output channels of one group; a thread 4 of those pixels, 128 apart, so that warps
// read and write neighbouring pixels together.
template <class T, int CO>
__global__ void __launch_bounds__(kThreads, 3)
    direct_pixels_per_thread(const __grid_constant__ DirectArgs a, const __grid_constant__ EpilogueArgs epilogue) {
  __shared__ float sums[CO * kPixels][kThreads];
  const ConvGeometry& g = a.g;
  const int tid = static_cast<int>(threadIdx.x);
  const T* x = static_cast<const T*>(a.x);
  const T* __restrict__ w = static_cast<const T*>(a.w);
  const std::int64_t all_channel_tiles = std::int64_t{a.channel_tiles} * g.groups;
  for (std::int64_t tile = blockIdx.x; tile < a.tiles; tile += gridDim.x) {
    const DivMod at = div_mod(tile, all_channel_tiles);
    const DivMod channels = div_mod(at.remainder, a.channel_tiles);
    const auto group = static_cast<int>(channels.quotient);
    const int o0 = static_cast<int>(channels.remainder) * CO;  // within the group
    const int outputs = min(CO, a.out_group - o0);
    const std::int64_t first_o = std::int64_t{group} * a.out_group + o0;
    const T* factors[CO];
#pragma unroll
    for (int j = 0; j < CO; ++j) factors[j] = w + (first_o + min(j, outputs - 1)) * a.w_row;  // the last again, its sums are dropped

    const std::int64_t pixel0 = at.quotient * (kThreads * kPixels) + tid;
    const T* image[kPixels];
    int top[kPixels], left[kPixels];
    unsigned pixels_in = 0;
#pragma unroll
    for (int i = 0; i < kPixels; ++i) {
      const std::int64_t pixel = pixel0 + i * kThreads;
      const bool in = pixel < g.pixels;
      const DivMod row = div_mod(in ? pixel : 0, g.out_w);
      const DivMod plane = div_mod(row.quotient, g.out_h);
      image[i] = x + plane.quotient * a.x_n + std::int64_t{group} * a.in_group * a.x_c;
      top[i] = static_cast<int>(plane.remainder) * g.stride_h - g.pad_h;
      left[i] = static_cast<int>(row.remainder) * g.stride_w - g.pad_w;
      pixels_in |= (in ? 1U : 0U) << i;
    }
    float acc[CO][kPixels] = {};
    for (int r = 0; r < g.kernel_h; ++r) {
      for (int s = 0; s < g.kernel_w; ++s) {
        const T* from[kPixels];
        bool any = false;
#pragma unroll
        for (int i = 0; i < kPixels; ++i) {
          const int iy = top[i] + r * g.dilation_h, ix = left[i] + s * g.dilation_w;
          const bool in = (pixels_in >> i & 1U) != 0 && iy >= 0 && iy < g.in_h && ix >= 0 && ix < g.in_w;
          from[i] = in ? image[i] + iy * a.x_h + ix * a.x_w : nullptr;
          any = any || in;
        }
        if (!any) continue;
        const std::int64_t tap = std::int64_t{r * g.kernel_w + s} * a.tap_size;
        for (int c = 0; c < a.in_group; ++c) {
          float in[kPixels];
#pragma unroll
          for (int i = 0; i < kPixels; ++i) in[i] = from[i] != nullptr ? widen(from[i][c * a.x_c]) : 0.0F;
#pragma unroll
          for (int j = 0; j < CO; ++j) {
            const float factor = widen(factors[j][tap + c]);
#pragma unroll
            for (int i = 0; i < kPixels; ++i) acc[j][i] = fmaf(in[i], factor, acc[j][i]);
          }
        }
      }
    }
    // Each thread parks its own sums, so that the epilogue's long code is there once; no other thread reads them.
#pragma unroll
    for (int j = 0; j < CO; ++j) {
#pragma unroll
      for (int i = 0; i < kPixels; ++i) sums[j * kPixels + i][tid] = acc[j][i];
    }
#pragma unroll 1
    for (int i = 0; i < kPixels; ++i) {
      const std::int64_t pixel = pixel0 + i * kThreads;
      if (pixel >= g.pixels) break;
      const DivMod row = div_mod(pixel, g.out_w);
      const DivMod plane = div_mod(row.quotient, g.out_h);
      const std::int64_t start = plane.quotient * a.y_n + plane.remainder * a.y_h + row.remainder * a.y_w;
#pragma unroll 1
      for (int j = 0; j < outputs; ++j) {
        const std::int64_t o = first_o + j, offset = start + o * a.y_c;
        float v[1] = {sums[j * kPixels + i][tid] + (a.bias != nullptr ? a.bias[o] : 0.0F)};
        apply_epilogue<T>(epilogue, v, offset);
        static_cast<T*>(a.y)[offset] = narrow<T>(v[0]);
      }
    }
  }
}

int outputs_per_thread(const ConvGeometry& g) {
  const int per_group = g.out_c / g.groups;
  return per_group == 1 ? 1 : per_group <= 4 ? 4 : 8;
}

// Calls body(kernel).
template <class T, class Body>
void with_kernel(int outputs, Body&& body) {
  switch (outputs) {
    case 1: return body(&direct_pixels_per_thread<T, 1>);
    case 4: return body(&direct_pixels_per_thread<T, 4>);
    default: return body(&direct_pixels_per_thread<T, 8>);
  }
}

}  // namespace

void launch_direct(DType dtype, Format format, const ConvGeometry& g, const ConvWeights& w, const void* x, void* y,
                   const EpilogueArgs& epilogue, cudaStream_t stream) {
  DirectArgs a{};
  a.g = g;
  a.x = x;
  a.w = w.w;
  a.bias = w.has_bias ? w.bias_f32 : nullptr;
  a.y = y;
  const Strides xs = contiguous_strides(Shape{g.n, g.in_c, g.in_h, g.in_w}, format);
  const Strides ys = contiguous_strides(Shape{g.n, g.out_c, g.out_h, g.out_w}, format);
  a.x_n = xs[0], a.x_c = xs[1], a.x_h = xs[2], a.x_w = xs[3];
  a.y_n = ys[0], a.y_c = ys[1], a.y_h = ys[2], a.y_w = ys[3];
  a.w_row = w.row;
  a.tap_size = w.tap_size;
  a.in_group = g.in_c / g.groups;
  a.out_group = g.out_c / g.groups;
  const int outputs = outputs_per_thread(g);
  a.channel_tiles = ceil_div(a.out_group, outputs);
  a.tiles = std::int64_t{a.channel_tiles} * g.groups * ceil_div<std::int64_t>(g.pixels, kThreads * kPixels);
  dispatch(dtype, [&](auto t) {
    with_kernel<decltype(t)>(outputs, [&](auto* kernel) {
      // Bound by the load of operands: 4 + CO loads, all from L1 or L2, for 4 * CO products.
      launch_kernel(kernel, dim3(static_cast<unsigned>(std::min<std::int64_t>(a.tiles, 0x7FFFFFFF))), dim3(kThreads), 0, stream, a,
                    epilogue);
    });
  });
}

void preload_direct(DType dtype, const ConvGeometry& g) {
  dispatch(dtype, [&](auto t) {
    with_kernel<decltype(t)>(outputs_per_thread(g), [](auto* kernel) { preload(reinterpret_cast<const void*>(kernel)); });
  });
}

std::string describe_direct(const ConvGeometry& g) {
  return concat_text("own direct, 4 pixels x ", outputs_per_thread(g), " channels a thread");
}

}  // namespace frieze::cuda
