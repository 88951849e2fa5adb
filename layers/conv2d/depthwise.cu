// Depthwise convolution of nhwc images, any kernel, stride and dilation, any alignment: where depthwise_tile.cu does not apply.
#include <algorithm>

#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/conv2d/cuda/conv2d_kernels.h>
#include <frieze/layers/shared/cuda/epilogue.cuh>

namespace frieze::cuda {
namespace {

constexpr int kThreads = 128;

struct DepthwiseArgs {
  ConvGeometry g;
  const void* w;
  const float* bias;  // null: none
  const void* x;
  void* y;
  int packs, packs_x;                 // packs of channels in all, and along a block's x
  std::int64_t tiles, channel_tiles;  // of work for one block; channels run fastest
  std::int64_t x_row;                 // elements from one pixel of x to the next
};

// One thread owns V channels of one output pixel.
template <class T, int V>
__global__ void __launch_bounds__(kThreads)
    depthwise_pixel_per_thread(const __grid_constant__ DepthwiseArgs a, const __grid_constant__ EpilogueArgs epilogue) {
  using P = Pack<T, V>;
  const ConvGeometry& g = a.g;
  const int tx = static_cast<int>(threadIdx.x) % a.packs_x, ty = static_cast<int>(threadIdx.x) / a.packs_x;
  const int pixels_y = kThreads / a.packs_x;
  const T* __restrict__ weights = static_cast<const T*>(a.w);
  for (std::int64_t tile = blockIdx.x; tile < a.tiles; tile += gridDim.x) {
    const DivMod at = div_mod(tile, a.channel_tiles);
    const std::int64_t pixel = at.quotient * pixels_y + ty, pack = at.remainder * a.packs_x + tx;
    if (pixel >= g.pixels || pack >= a.packs) continue;
    const int c = static_cast<int>(pack) * V;
    const DivMod row = div_mod(pixel, g.out_w);
    const DivMod plane = div_mod(row.quotient, g.out_h);
    const int top = static_cast<int>(plane.remainder) * g.stride_h - g.pad_h, left = static_cast<int>(row.remainder) * g.stride_w - g.pad_w;
    const T* image = static_cast<const T*>(a.x) + plane.quotient * g.in_h * g.in_w * a.x_row + c;
    float sums[V] = {};
#pragma unroll 1
    for (int r = 0; r < g.kernel_h; ++r) {
      const int iy = top + r * g.dilation_h;
      if (iy < 0 || iy >= g.in_h) continue;
#pragma unroll 1
      for (int s = 0; s < g.kernel_w; ++s) {
        const int ix = left + s * g.dilation_w;
        if (ix < 0 || ix >= g.in_w) continue;
        const P in = *reinterpret_cast<const P*>(image + (std::int64_t{iy} * g.in_w + ix) * a.x_row);
        const P factors = *reinterpret_cast<const P*>(weights + std::int64_t{r * g.kernel_w + s} * g.in_c + c);
#pragma unroll
        for (int v = 0; v < V; ++v) sums[v] = fmaf(widen(in.v[v]), widen(factors.v[v]), sums[v]);
      }
    }
#pragma unroll
    for (int v = 0; v < V; ++v) sums[v] += a.bias != nullptr ? a.bias[c + v] : 0.0F;
    const std::int64_t offset = pixel * g.in_c + c;
    apply_epilogue<T>(epilogue, sums, offset);
    P out;
#pragma unroll
    for (int v = 0; v < V; ++v) out.v[v] = narrow<T>(sums[v]);
    *reinterpret_cast<P*>(static_cast<T*>(a.y) + offset) = out;
  }
}

template <class T>
constexpr int kPack = 16 / sizeof(T);

// Calls body(kernel, V).
template <class T, class Body>
void with_kernel(bool packs, Body&& body) {
  if (packs) return body(&depthwise_pixel_per_thread<T, kPack<T>>, kPack<T>);
  return body(&depthwise_pixel_per_thread<T, 1>, 1);
}

}  // namespace

void launch_depthwise(DType dtype, const ConvGeometry& g, const void* w, const float* bias, const void* x, void* y,
                      const EpilogueArgs& epilogue, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    const std::int64_t x_row = g.x_row > 0 ? g.x_row : g.in_c;
    const bool packs = g.in_c % kPack<T> == 0 && x_row % kPack<T> == 0 && is_aligned(x, 16) && is_aligned(y, 16) && epilogue.aligned(16);
    if (packs && !epilogue.has_rare() && takes_depthwise_tile(dtype, g))
      return launch_depthwise_tile(dtype, g, w, bias, x, y, epilogue, stream);
    with_kernel<T>(packs, [&](auto* kernel, int channels) {
      DepthwiseArgs args{g, w, bias, x, y, g.in_c / channels, 1, 0, 0, x_row};
      while (args.packs_x < args.packs && args.packs_x < 32) args.packs_x *= 2;  // a warp reads up to 512 neighbouring bytes
      args.channel_tiles = ceil_div(args.packs, args.packs_x);
      args.tiles = args.channel_tiles * ceil_div<std::int64_t>(g.pixels, kThreads / args.packs_x);
      const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(args.tiles, 0x7FFFFFFF));
      // Each tap is a load, served by L1 or L2 but for the first: 2 * taps flops an element.
      launch_kernel(kernel, dim3(blocks), dim3(kThreads), 0, stream, args, epilogue);
    });
  });
}

void preload_depthwise(DType dtype) {
  dispatch(dtype, [](auto t) {
    for (const bool packs : {false, true}) {
      with_kernel<decltype(t)>(packs, [](auto* kernel, int) { preload(reinterpret_cast<const void*>(kernel)); });
    }
  });
  preload_depthwise_tile(dtype);
}

std::string describe_depthwise(DType dtype, const ConvGeometry& g, bool rare) {
  if (!rare && takes_depthwise_tile(dtype, g)) return describe_depthwise_tile(dtype, g);
  const int pack = static_cast<int>(16 / size_of(dtype));
  if (g.in_c % pack != 0) return "own depthwise, single pixels and channels";
  return concat_text("own depthwise, single pixels, ", pack, " channels a thread");
}

}  // namespace frieze::cuda
