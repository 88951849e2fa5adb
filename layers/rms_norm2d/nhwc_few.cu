#include <frieze/layers/rms_norm2d/cuda/normalise.cuh>

namespace frieze::cuda {
namespace {

// Few channels side by side: V pixels are C packs of 16 bytes, wherever a pixel begins in them. One thread owns them.
template <class T, int C, bool kFull>
__global__ void __launch_bounds__(256) rms_norm2d_nhwc_packs_per_thread(const __grid_constant__ NormArgs a) {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  using W = WordOf<T, V>;
  const NormFormula& f = a.formula;
  const std::int64_t first = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * V * C, elements = a.images * a.pixels * C;
  if (blockIdx.x < a.early_blocks && threadIdx.x == 0) prefetch_run<T>(a.x, first, std::int64_t{blockDim.x} * V * C, elements);
  pdl_wait();
  if (first >= elements) return;
  const int count = static_cast<int>(min(elements - first, std::int64_t{V} * C));  // less for the last thread alone
  const auto load = [&](const void* from, int i) {
    const T* p = static_cast<const T*>(from) + first + i * V;
    if ((i + 1) * V <= count) return *reinterpret_cast<const W*>(p);
    W w{};
#pragma unroll
    for (int j = 0; j < V; ++j) {
      if (i * V + j < count) reinterpret_cast<T*>(&w)[j] = p[j];
    }
    return w;
  };
  W x[C];
#pragma unroll
  for (int i = 0; i < C; ++i) x[i] = load(a.x, i);
  pdl_trigger();
  float v[C][V];
#pragma unroll
  for (int i = 0; i < C; ++i) {
    unpack<T, V>(x[i], v[i]);
    if (kFull && f.residual_mode == ResidualMode::before) {
      float add[V];
      unpack<T, V>(load(a.residual, i), add);
#pragma unroll
      for (int j = 0; j < V; ++j) v[i][j] = rounded<T>(v[i][j] + add[j]);
    }
  }
#pragma unroll
  for (int p = 0; p < V; ++p) {
    SquareSum<T> sum;
#pragma unroll
    for (int c = 0; c < C; ++c) sum.add(v[(p * C + c) / V][(p * C + c) % V]);
    float r = inverse_rms<T>(f, sum);
    if (kMayLeaveRange<T> && left_range(f, sum.value())) {
      const float scale = range_scale(f, sum.value());
      SquareSum<T> scaled;
#pragma unroll
      for (int c = 0; c < C; ++c) scaled.add(v[(p * C + c) / V][(p * C + c) % V] * scale);
      const SplitInverse split = split_inverse_rms(f, scaled.exact(), scale);
      r = split.rest;
#pragma unroll
      for (int c = 0; c < C; ++c) v[(p * C + c) / V][(p * C + c) % V] *= split.power;
    }
#pragma unroll
    for (int c = 0; c < C; ++c) {
      const T* __restrict__ weight = static_cast<const T*>(a.weight);
      const T* __restrict__ bias = static_cast<const T*>(a.bias);
      const float w = weight != nullptr ? widen(weight[c]) : 1.0F, b = bias != nullptr ? widen(bias[c]) : 0.0F;
      float& at = v[(p * C + c) / V][(p * C + c) % V];
      at = scale_and_shift<T, kFull>(f, at, r, weight != nullptr, w, bias != nullptr, b);
    }
  }
#pragma unroll
  for (int i = 0; i < C; ++i) {
    W add{};
    if (kFull && f.residual_mode == ResidualMode::after) add = load(a.residual, i);
    finish<T, kFull, V>(f, v[i], add);
    const W out = pack<T, V>(v[i]);
    T* to = static_cast<T*>(a.y) + first + i * V;
    if ((i + 1) * V <= count) {
      *reinterpret_cast<W*>(to) = out;
    } else {
#pragma unroll
      for (int j = 0; j < V; ++j) {
        if (i * V + j < count) to[j] = reinterpret_cast<const T*>(&out)[j];
      }
    }
  }
}

template <class T, bool kFull>
void (*pick(std::int64_t channels))(NormArgs) {
  if constexpr (sizeof(T) == 2) {  // 4 channels of f32 are a pack, which nhwc_rows takes
    if (channels == 4) return &rms_norm2d_nhwc_packs_per_thread<T, 4, kFull>;
  }
  switch (channels) {
    case 2: return &rms_norm2d_nhwc_packs_per_thread<T, 2, kFull>;
    case 3: return &rms_norm2d_nhwc_packs_per_thread<T, 3, kFull>;
    default: throw CudaError(concat_text("RMSNorm2d has no nhwc kernel of ", channels, " channels a thread"));
  }
}

}  // namespace

void launch_nhwc_few(const NormConfig& c, DType dtype, const NormArgs& args, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    const std::int64_t threads = ceil_div<std::int64_t>(args.images * args.pixels, c.vector);
    LaunchShape shape{grid_of(ceil_div<std::int64_t>(threads, c.threads)), dim3(static_cast<unsigned>(c.threads)), 0};
    shape.dependent = true;
    launch_kernel(is_full(args.formula) ? pick<T, true>(args.channels) : pick<T, false>(args.channels), shape, stream, args);
  });
}

}  // namespace frieze::cuda
