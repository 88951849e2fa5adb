// Depthwise convolution of nhwc images.
#include <algorithm>

#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/conv2d/cuda/conv2d_kernels.h>
#include <frieze/core/cuda/epilogue.cuh>

namespace frieze::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kStrip = 4;

struct DepthwiseArgs {
  ConvGeometry g;
  const void* w;
  const float* bias;  // null: none
  const void* x;
  void* y;
  int packs, packs_x;                 // packs of channels in all, and along a block's x
  std::int64_t tiles, channel_tiles;  // of work for one block; channels run fastest
  std::int64_t strips;                // n * out_h * strips_per_row
  int strips_per_row;
};

// One thread owns V channels x S neighbouring output pixels of a row. K > 0: a K x K kernel of stride and dilation 1, S > 1: each
// pixel of an input row is loaded once for all outputs of the strip that see it. K = 0: any kernel, S = 1.
template <class T, int V, int K, int S>
__global__ void __launch_bounds__(kThreads, 3)
    depthwise_strip_per_thread(const __grid_constant__ DepthwiseArgs a, const __grid_constant__ EpilogueArgs epilogue) {
  using P = Pack<T, V>;
  const ConvGeometry& g = a.g;
  const int tx = static_cast<int>(threadIdx.x) % a.packs_x, ty = static_cast<int>(threadIdx.x) / a.packs_x;
  const int strips_y = kThreads / a.packs_x;
  const T* __restrict__ weights = static_cast<const T*>(a.w);
  for (std::int64_t tile = blockIdx.x; tile < a.tiles; tile += gridDim.x) {
    const DivMod at = div_mod(tile, a.channel_tiles);
    const std::int64_t strip = at.quotient * strips_y + ty, pack = at.remainder * a.packs_x + tx;
    if (strip >= a.strips || pack >= a.packs) continue;
    const int c = static_cast<int>(pack) * V;
    const DivMod row = div_mod(strip, a.strips_per_row);
    const DivMod plane = div_mod(row.quotient, g.out_h);
    const int oh = static_cast<int>(plane.remainder), ow = static_cast<int>(row.remainder) * S;
    const int top = oh * g.stride_h - g.pad_h, left = ow * g.stride_w - g.pad_w;
    const T* image = static_cast<const T*>(a.x) + plane.quotient * g.in_h * g.in_w * g.in_c + c;
    float acc[S][V] = {};
    const auto add_products = [&](float(&sums)[V], const float(&in)[V], const P& factors) {
#pragma unroll
      for (int v = 0; v < V; ++v) sums[v] = fmaf(in[v], widen(factors.v[v]), sums[v]);
    };
    if constexpr (K > 0) {
#pragma unroll(K == 3 ? 3 : 1)
      for (int r = 0; r < K; ++r) {
        const int iy = top + r;
        if (iy < 0 || iy >= g.in_h) continue;
        const T* line = image + std::int64_t{iy} * g.in_w * g.in_c;
        float in[K + S - 1][V];
#pragma unroll
        for (int i = 0; i < K + S - 1; ++i) {
          const int ix = left + i;
          if (ix >= 0 && ix < g.in_w) {
            const P p = *reinterpret_cast<const P*>(line + std::int64_t{ix} * g.in_c);
#pragma unroll
            for (int v = 0; v < V; ++v) in[i][v] = widen(p.v[v]);
          } else {
#pragma unroll
            for (int v = 0; v < V; ++v) in[i][v] = 0.0F;
          }
        }
#pragma unroll
        for (int s = 0; s < K; ++s) {
          const P factors = *reinterpret_cast<const P*>(weights + std::int64_t{r * K + s} * g.in_c + c);
#pragma unroll
          for (int i = 0; i < S; ++i) add_products(acc[i], in[i + s], factors);
        }
      }
    } else {
      static_assert(S == 1);
#pragma unroll 1
      for (int r = 0; r < g.kernel_h; ++r) {
        const int iy = top + r * g.dilation_h;
        if (iy < 0 || iy >= g.in_h) continue;
#pragma unroll 1
        for (int s = 0; s < g.kernel_w; ++s) {
          const int ix = left + s * g.dilation_w;
          if (ix < 0 || ix >= g.in_w) continue;
          const P p = *reinterpret_cast<const P*>(image + (std::int64_t{iy} * g.in_w + ix) * g.in_c);
          const P factors = *reinterpret_cast<const P*>(weights + std::int64_t{r * g.kernel_w + s} * g.in_c + c);
          float in[V];
#pragma unroll
          for (int v = 0; v < V; ++v) in[v] = widen(p.v[v]);
          add_products(acc[0], in, factors);
        }
      }
    }
    const std::int64_t first = (row.quotient * g.out_w + ow) * g.in_c + c;
    const int count = min(S, g.out_w - ow);
    // The strip moves through acc[0], so that the epilogue's long code is there once.
#pragma unroll 1
    for (int i = 0; i < count; ++i) {
      const std::int64_t offset = first + std::int64_t{i} * g.in_c;
      float v[V];
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] = acc[0][j] + (a.bias != nullptr ? a.bias[c + j] : 0.0F);
      apply_epilogue<T>(epilogue, v, offset);
      P out;
#pragma unroll
      for (int j = 0; j < V; ++j) out.v[j] = narrow<T>(v[j]);
      *reinterpret_cast<P*>(static_cast<T*>(a.y) + offset) = out;
#pragma unroll
      for (int s = 0; s + 1 < S; ++s) {
#pragma unroll
        for (int j = 0; j < V; ++j) acc[s][j] = acc[s + 1][j];
      }
    }
  }
}

// The K of the template for a convolution.
int strip_kernel(const ConvGeometry& g) {
  const bool plain = g.kernel_h == g.kernel_w && g.stride_h == 1 && g.stride_w == 1 && g.dilation_h == 1 && g.dilation_w == 1;
  return plain && (g.kernel_h == 3 || g.kernel_h == 5 || g.kernel_h == 7) ? g.kernel_h : 0;
}

template <class T>
constexpr int kPack = 16 / sizeof(T);

// Calls body(kernel, V, S).
template <class T, class Body>
void with_kernel(const ConvGeometry& g, bool packs, Body&& body) {
  if (!packs) return body(&depthwise_strip_per_thread<T, 1, 0, 1>, 1, 1);
  switch (strip_kernel(g)) {
    case 3: return body(&depthwise_strip_per_thread<T, kPack<T>, 3, kStrip>, kPack<T>, kStrip);
    case 5: return body(&depthwise_strip_per_thread<T, kPack<T>, 5, kStrip>, kPack<T>, kStrip);
    case 7: return body(&depthwise_strip_per_thread<T, kPack<T>, 7, kStrip>, kPack<T>, kStrip);
    default: return body(&depthwise_strip_per_thread<T, kPack<T>, 0, 1>, kPack<T>, 1);
  }
}

}  // namespace

void launch_depthwise(DType dtype, const ConvGeometry& g, const void* w, const float* bias, const void* x, void* y,
                      const EpilogueArgs& epilogue, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    const bool packs = g.in_c % kPack<T> == 0 && is_aligned(x, 16) && is_aligned(y, 16) && epilogue.aligned(16);
    with_kernel<T>(g, packs, [&](auto* kernel, int channels, int pixels) {
      DepthwiseArgs args{g, w, bias, x, y, g.in_c / channels, 1, 0, 0, 0, ceil_div(g.out_w, pixels)};
      while (args.packs_x < args.packs && args.packs_x < 32) args.packs_x *= 2;  // a warp reads up to 512 neighbouring bytes
      args.strips = g.n * g.out_h * args.strips_per_row;
      args.channel_tiles = ceil_div(args.packs, args.packs_x);
      args.tiles = args.channel_tiles * ceil_div<std::int64_t>(args.strips, kThreads / args.packs_x);
      const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(args.tiles, 0x7FFFFFFF));
      // x and y once from memory if the halos hit L2; 2 * taps flops an element. Bound by memory at 3x3, by instructions from 5x5 on.
      launch_kernel(kernel, dim3(blocks), dim3(kThreads), 0, stream, args, epilogue);
    });
  });
}

void preload_depthwise(DType dtype) {
  dispatch(dtype, [](auto t) {
    for (const int k : {0, 3, 5, 7}) {
      ConvGeometry g;
      g.kernel_h = g.kernel_w = k;
      for (const bool packs : {false, true}) {
        with_kernel<decltype(t)>(g, packs, [](auto* kernel, int, int) { preload(reinterpret_cast<const void*>(kernel)); });
      }
    }
  });
}

std::string describe_depthwise(DType dtype, const ConvGeometry& g) {
  const int pack = static_cast<int>(16 / size_of(dtype));
  if (g.in_c % pack != 0) return "own depthwise, single pixels and channels";
  const int k = strip_kernel(g);
  if (k == 0) return concat_text("own depthwise, single pixels, ", pack, " channels a thread");
  return concat_text("own depthwise ", k, "x", k, ", strips of ", kStrip, " pixels, ", pack, " channels a thread");
}

}  // namespace frieze::cuda
