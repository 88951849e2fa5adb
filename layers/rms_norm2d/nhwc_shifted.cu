#include <frieze/layers/rms_norm2d/cuda/normalise.cuh>

namespace frieze::cuda {
namespace {

// Rows of channels that begin anywhere, moved by accesses of 16 bytes: `lanes` threads own a pixel, R packs each, the first of which
// begins at the multiple of 16 bytes at or before the row. Of the two packs at the row's ends only the row's own part is summed and stored.
template <class T, int R, bool kFull>
__global__ void __launch_bounds__(512) rms_norm2d_nhwc_shifted_row_of_lanes(const __grid_constant__ NormArgs a, int lanes_log2) {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  using W = WordOf<T, V>;
  __shared__ float partial_floats[SquareSum<T>::kFloats * 16];
  const SharedSums<T> partial{partial_floats, 16};
  const NormFormula& f = a.formula;
  const int tid = static_cast<int>(threadIdx.x), lanes = 1 << lanes_log2, lane = tid & (lanes - 1), group = tid >> lanes_log2;
  const int channels = static_cast<int>(a.channels), groups = static_cast<int>(blockDim.x) >> lanes_log2;
  const std::int64_t pixels = a.images * a.pixels, elements = pixels * channels, pixel = std::int64_t{blockIdx.x} * groups + group;
  const bool inside = pixel < pixels;
  const std::int64_t start = pixel * channels;
  const int shift = static_cast<int>(start % V);

  if (blockIdx.x < a.early_blocks && tid == 0) prefetch_run<T>(a.x, start - shift, std::int64_t{groups} * channels, elements);
  pdl_wait();
  W x[R];
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const int c = (i * lanes + lane) * V - shift;
    x[i] = W{};
    if (inside && c < channels) x[i] = load_some<T, V>(a.x, start + c, elements);
  }
  pdl_trigger();
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const int c = (i * lanes + lane) * V - shift;
    if (!inside || c >= channels) continue;
    if (kFull && f.residual_mode == ResidualMode::before) {
      float v[V], add[V];
      unpack<T, V>(x[i], v);
      unpack<T, V>(load_some<T, V>(a.residual, start + c, elements), add);
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] += add[j];
      x[i] = pack<T, V>(v);
    }
    if (c < 0 || c + V > channels) {  // others' channels
      T* own = reinterpret_cast<T*>(&x[i]);
#pragma unroll
      for (int j = 0; j < V; ++j) own[j] = c + j >= 0 && c + j < channels ? own[j] : narrow<T>(0.0F);
    }
  }
  const auto sum_pixel = [&](float scale) {
    SquareSum<T> squares;
#pragma unroll
    for (int i = 0; i < R; ++i) {
      float v[V];
      unpack<T, V>(x[i], v);
#pragma unroll
      for (int j = 0; j < V; ++j) squares.add(v[j] * scale);
    }
    for (int step = 1; step < min(lanes, 32); step *= 2) squares.join_lane(step);
    if (lanes <= 32) return squares;
    __syncthreads();
    if (tid % 32 == 0) partial.put(tid / 32, squares);
    __syncthreads();
    SquareSum<T> all;
    for (int w = 0; w < lanes / 32; ++w) all.join(partial.get(group * (lanes / 32) + w));
    return all;
  };
  const SquareSum<T> sum = sum_pixel(1.0F);
  SplitInverse r{1.0F, inverse_rms<T>(f, sum)};
  bool special = kMayLeaveRange<T> && left_range(f, sum.value());
  if (kMayLeaveRange<T>) special = lanes <= 32 ? __any_sync(~0U, special) : __syncthreads_or(special);
  if (kMayLeaveRange<T> && special) {
    const float scale = range_scale(f, sum.value());
    const double scaled = sum_pixel(scale).exact();
    if (scale != 1.0F) r = split_inverse_rms(f, scaled, scale);
  }
  const T* __restrict__ weight = static_cast<const T*>(a.weight);
  const T* __restrict__ bias = static_cast<const T*>(a.bias);
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const int c = (i * lanes + lane) * V - shift;
    if (!inside || c >= channels) continue;
    float v[V];
    unpack<T, V>(x[i], v);
    if (kMayLeaveRange<T> && special) {
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] *= r.power;
    }
    if (kFull || weight != nullptr || bias != nullptr) {
#pragma unroll
      for (int j = 0; j < V; ++j) {
        const int at = min(max(c + j, 0), channels - 1);
        const float w = weight != nullptr ? widen(weight[at]) : 1.0F, b = bias != nullptr ? widen(bias[at]) : 0.0F;
        v[j] = scale_and_shift<T, kFull>(f, v[j], r.rest, weight != nullptr, w, bias != nullptr, b);
      }
    } else {
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] *= r.rest;
    }
    W add{};
    if (kFull && f.residual_mode == ResidualMode::after) add = load_some<T, V>(a.residual, start + c, elements);
    finish<T, kFull, V>(f, v, add);
    store_some<T, V>(static_cast<T*>(a.y) + start + c, pack<T, V>(v), c, 0, channels);
  }
}

template <class T, bool kFull>
void (*pick(int loads))(NormArgs, int) {
  switch (loads) {
    case 2: return &rms_norm2d_nhwc_shifted_row_of_lanes<T, 2, kFull>;
    case 4: return &rms_norm2d_nhwc_shifted_row_of_lanes<T, 4, kFull>;
    default: throw CudaError(concat_text("RMSNorm2d has no nhwc shifted kernel of ", loads, " loads"));
  }
}

}  // namespace

void launch_nhwc_shifted(const NormConfig& c, DType dtype, const NormArgs& args, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    const auto kernel = is_full(args.formula) ? pick<T, true>(c.loads) : pick<T, false>(c.loads);
    launch_kernel(kernel, norm_launch_shape(c, dtype, args), stream, args, log2_of(c.lanes));
  });
}

}  // namespace frieze::cuda
