#include <frieze/core/error.h>
#include <frieze/layers/layer_norm/layer_norm.h>
#include <frieze/layers/shared/cuda/norm_layer_kernel.h>
#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/shared/cuda/epilogue.cuh>
#include <frieze/layers/shared/cuda/moments.cuh>
#include <frieze/layers/shared/cuda/norm_epilogue.cuh>

namespace frieze::cuda {
namespace {

constexpr int kBlock = 256, kBlocks = 4;  // threads of a block; blocks that a multiprocessor holds at the least
// Threads of a block side by side. Of packs so few that what all blocks read stays in the cache until they read it again.
constexpr unsigned columns_of(bool packs) { return packs ? 8 : 32; }

struct PixelNormArgs {
  const void* x;
  void* y;
  const void *weight, *bias;
  std::int64_t pixels;
  int channels;
  std::uint32_t tiles;  // of an image
  float eps;
};

// nchw: a block owns blockDim.x * V neighbouring pixels, a thread V of them and every blockDim.y-th channel. Read twice, the second time
// from the cache.
template <class T, int V, bool kEpilogue>
__global__ void __launch_bounds__(kBlock, kBlocks)
    layer_norm_block_per_pixel_tile(const __grid_constant__ PixelNormArgs a, const __grid_constant__ EpilogueArgs e) {
  constexpr int K = 4;
  __shared__ SharedMoments<V, kBlock> shared;
  const int rows = static_cast<int>(blockDim.y);
  const std::int64_t n = blockIdx.x / a.tiles;
  const std::int64_t p = ((blockIdx.x - n * a.tiles) * blockDim.x + threadIdx.x) * V;
  const bool in = p < a.pixels;
  const std::int64_t image = n * a.channels * a.pixels + p;
  const T* x = static_cast<const T*>(a.x) + image;
  float pivot[V] = {};
  PackMoments<T, V> own;
  if (in) {
    const auto first = *reinterpret_cast<const Pack<T, V>*>(x);
#pragma unroll
    for (int j = 0; j < V; ++j) pivot[j] = widen(first.v[j]);
    for (int c = static_cast<int>(threadIdx.y); c < a.channels; c += rows * K) {
      Pack<T, V> pack[K];
      int packs = 0;
#pragma unroll
      for (int k = 0; k < K; ++k) {
        if (c + k * rows >= a.channels) continue;
        pack[k] = *reinterpret_cast<const Pack<T, V>*>(x + (c + k * rows) * a.pixels);
        packs = k + 1;
      }
      own.add(pack, packs, pivot);
    }
  }
  shared.merge_rows(own);
  if (!in) return;
  float mean[V], factor[V];
#pragma unroll
  for (int j = 0; j < V; ++j) {
    const Moments m = shared.value(static_cast<int>(threadIdx.x) * V + j);
    mean[j] = m.mean;
    factor[j] = inverse_deviation(m, a.eps);
  }
  constexpr int L = kEpilogue ? 1 : K;
  for (int c = static_cast<int>(threadIdx.y); c < a.channels; c += rows * L) {
    Pack<T, V> pack[L];
#pragma unroll
    for (int k = 0; k < L; ++k) {
      if (c + k * rows < a.channels) pack[k] = *reinterpret_cast<const Pack<T, V>*>(x + (c + k * rows) * a.pixels);
    }
#pragma unroll
    for (int k = 0; k < L; ++k) {
      const int own_c = c + k * rows;
      if (own_c >= a.channels) continue;
      const float w = a.weight != nullptr ? widen(static_cast<const T*>(a.weight)[own_c]) : 1.0F;
      const float b = a.bias != nullptr ? widen(static_cast<const T*>(a.bias)[own_c]) : 0.0F;
      float v[V];
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] = fmaf((widen(pack[k].v[j]) - pivot[j] - mean[j]) * factor[j], w, b);
      store_normalised<T, V, kEpilogue ? NormEpilogue::chain : NormEpilogue::none>(static_cast<T*>(a.y), e, v, image + own_c * a.pixels);
    }
  }
}

template <class T, int V>
auto pick(bool chain) {
  return chain ? &layer_norm_block_per_pixel_tile<T, V, true> : &layer_norm_block_per_pixel_tile<T, V, false>;
}

// Rows of neighbouring elements: the last axes, or the channels of nhwc pixels.
class RowsKernel final : public NormLayerKernel {
 public:
  RowsKernel(const Layer& layer, double eps, const Parameter* weight, const Parameter* bias, std::int64_t length, const PrepareArgs& args)
      : NormLayerKernel(layer, eps, weight, bias, args),
        rows_({args.in[0].dtype, args.in[0].shape.elements() / length, length}, args.device->sm_count) {}
  std::size_t workspace_bytes() const override { return rows_.workspace_bytes(); }
  std::string describe() const override { return "rows, " + rows_.describe(); }
  void launch(const LaunchArgs& args, cudaStream_t stream) const override { rows_.launch(call_of(args), stream); }

 private:
  RowNorm rows_;
};

class PixelsKernel final : public NormLayerKernel {
 public:
  PixelsKernel(const LayerNorm2d& layer, const PrepareArgs& args)
      : NormLayerKernel(layer, layer.options().eps, layer.weight(), layer.bias(), args), dtype_(args.in[0].dtype) {
    const Shape& x = args.in[0].shape;
    check<CudaError>(x.c() <= 0x7FFFFFFF, "LayerNorm2d's kernel takes at most 2^31 - 1 channels, got ", x.c());
    images_ = x.n();
    plan_.pixels = x.h() * x.w();
    plan_.channels = static_cast<int>(x.c());
    // Packs, unless single pixels are needed to give every multiprocessor blocks of its own.
    const auto wide = static_cast<std::int64_t>(16 / size_of(dtype_));
    packs_ = plan_.pixels % wide == 0 && images_ * tiles(true) >= 2 * args.device->sm_count;
    dispatch(dtype_, [](auto t) {
      using T = decltype(t);
      for (const bool chain : {false, true}) {
        preload(reinterpret_cast<const void*>(pick<T, 1>(chain)));
        preload(reinterpret_cast<const void*>(pick<T, 16 / sizeof(T)>(chain)));
      }
    });
  }
  std::string describe() const override {
    return packs_ ? "nchw, a block per tile of packs of pixels" : "nchw, a block per tile of pixels";
  }

  // x in and y out once: 2 * elements * sizeof(T) bytes; bound by memory, as the second read of a tile comes from the cache. Not measured
  // yet.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const RowNormCall call = call_of(args);
    const bool packs = packs_ && is_aligned(call.x, 16) && is_aligned(call.y, 16) && call.epilogue.aligned(16);
    PixelNormArgs a = plan_;
    a.x = call.x;
    a.y = call.y;
    a.weight = call.weight;
    a.bias = call.bias;
    a.eps = call.eps;
    a.tiles = static_cast<std::uint32_t>(tiles(packs));
    const bool chain = call.epilogue.count > 0;
    dispatch(dtype_, [&](auto t) {
      using T = decltype(t);
      const auto kernel = packs ? pick<T, 16 / sizeof(T)>(chain) : pick<T, 1>(chain);
      launch_kernel(kernel, grid_of(images_ * tiles(packs)), dim3(columns_of(packs), kBlock / columns_of(packs)), 0, stream, a,
                    call.epilogue);
    });
  }

 private:
  std::int64_t tiles(bool packs) const {
    return ceil_div<std::int64_t>(plan_.pixels,
                                  std::int64_t{columns_of(packs)} * (packs ? static_cast<std::int64_t>(16 / size_of(dtype_)) : 1));
  }

  DType dtype_;
  std::int64_t images_ = 1;
  PixelNormArgs plan_{};
  bool packs_ = false;
};

std::unique_ptr<Kernel> make_layer_norm(const LayerNorm& layer, const PrepareArgs& args) {
  return std::make_unique<RowsKernel>(layer, layer.options().eps, layer.weight(), layer.bias(), layer.normalized_shape().elements(), args);
}

std::unique_ptr<Kernel> make_layer_norm2d(const LayerNorm2d& layer, const PrepareArgs& args) {
  const Shape& x = args.in[0].shape;
  if (args.in[0].format == Format::nhwc || x.h() * x.w() == 1) {
    return std::make_unique<RowsKernel>(layer, layer.options().eps, layer.weight(), layer.bias(), layer.channels(), args);
  }
  return std::make_unique<PixelsKernel>(layer, args);
}

}  // namespace

void register_layer_norm(KernelRegistry& registry) {
  registry.add<LayerNorm>(&make_layer_norm);
  registry.add<LayerNorm2d>(&make_layer_norm2d);
}

}  // namespace frieze::cuda
