#include <frieze/layers/rms_norm2d/cuda/normalise.cuh>

namespace frieze::cuda {
namespace {

// What follows the factor, as far as a kernel knows it beforehand. `full` decides everything at run time, with code for each activation and
// rounding in it, and takes 1.6 times as long as a copy; what blocks of image models are full of has kernels of its own.
enum class RowChain { affine, add, relu, full };  // nothing; a residual behind the norm; ReLU; anything

RowChain row_chain(const NormFormula& f) {
  if (!is_full(f)) return RowChain::affine;
  if (f.rounding != Rounding::once) return RowChain::full;
  const bool plain = f.first == Activation::none && f.second == Activation::none;
  if (plain && f.residual_mode == ResidualMode::after) return RowChain::add;
  const bool relu =
      (f.first == Activation::relu && f.second == Activation::none) || (f.first == Activation::none && f.second == Activation::relu);
  return relu && f.residual_mode == ResidualMode::none ? RowChain::relu : RowChain::full;
}

// `lanes` threads own P pixels: R packs of V channels of each in every thread's registers. Up to 32 lanes sum by shuffles alone;
// more are whole warps, which meet in shared memory. Pixels of one load instruction are neighbours in memory.
template <class T, int V, int R, int P, RowChain kChain>
__global__ void __launch_bounds__(most_row_threads(R* P, kChain != RowChain::affine))
    rms_norm2d_nhwc_rows_of_lanes(const __grid_constant__ NormArgs a, int lanes_log2) {
  using W = WordOf<T, V>;
  constexpr bool kFull = kChain == RowChain::full, kAdds = kFull || kChain == RowChain::add;
  __shared__ float partial_floats[SquareSum<T>::kFloats * 32 * P];
  const SharedSums<T> partial{partial_floats, 32 * P};
  const NormFormula& f = a.formula;
  const int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int lanes = 1 << lanes_log2, lane = tid & (lanes - 1), group = tid >> lanes_log2, groups = threads >> lanes_log2;
  const int channels = static_cast<int>(a.channels);
  const std::int64_t pixels = a.images * a.pixels, first = std::int64_t{blockIdx.x} * groups * P + group;

  if (sizeof(W) == 16 && blockIdx.x < a.early_blocks && tid == 0) {
    const std::int64_t run = std::int64_t{groups} * P * channels;
    prefetch_run<T>(a.x, std::int64_t{blockIdx.x} * run, run, pixels * channels);
  }
  pdl_wait();
  W x[P][R];
#pragma unroll
  for (int p = 0; p < P; ++p) {
    const std::int64_t pixel = first + p * groups;
    const T* row = static_cast<const T*>(a.x) + pixel * channels;
#pragma unroll
    for (int i = 0; i < R; ++i) {
      const int c = (i * lanes + lane) * V;
      x[p][i] = W{};
      if (pixel < pixels && c < channels) x[p][i] = *reinterpret_cast<const W*>(row + c);
    }
  }
  // All loads are under way before the sums: behind them the block would wait for memory a second time.
  W add[kAdds ? P : 1][kAdds ? R : 1];
  if (kChain == RowChain::add || (kFull && f.residual_mode != ResidualMode::none)) {
#pragma unroll
    for (int p = 0; p < P; ++p) {
      const std::int64_t pixel = first + p * groups;
      const T* row = static_cast<const T*>(a.residual) + pixel * channels;
#pragma unroll
      for (int i = 0; i < R; ++i) {
        const int c = (i * lanes + lane) * V;
        add[p][i] = W{};
        if (pixel < pixels && c < channels) add[p][i] = *reinterpret_cast<const W*>(row + c);
      }
    }
  }
  const T* __restrict__ weight = static_cast<const T*>(a.weight);
  const T* __restrict__ bias = static_cast<const T*>(a.bias);
  W weights[R], biases[R];
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const int c = (i * lanes + lane) * V;
    if (weight != nullptr && c < channels) weights[i] = *reinterpret_cast<const W*>(weight + c);
    if (bias != nullptr && c < channels) biases[i] = *reinterpret_cast<const W*>(bias + c);
  }
  pdl_trigger();
  if (kFull && f.residual_mode == ResidualMode::before) {
#pragma unroll
    for (int p = 0; p < P; ++p) {
#pragma unroll
      for (int i = 0; i < R; ++i) x[p][i] = add_packs<T, V>(x[p][i], add[p][i]);
    }
  }

  const auto sum_pixels = [&](const float* scale, SquareSum<T>(&sum)[P]) {
#pragma unroll
    for (int p = 0; p < P; ++p) {
      sum[p] = {};
#pragma unroll
      for (int i = 0; i < R; ++i) {
        float v[V];
        unpack<T, V>(x[p][i], v);
#pragma unroll
        for (int j = 0; j < V; ++j) {
          if (scale != nullptr) v[j] *= scale[p];
          sum[p].add(v[j]);
        }
      }
    }
    for (int step = 1; step < min(lanes, 32); step *= 2) {
#pragma unroll
      for (int p = 0; p < P; ++p) sum[p].join_lane(step);
    }
    if (lanes <= 32) return;
    if (tid % 32 == 0) {
#pragma unroll
      for (int p = 0; p < P; ++p) partial.put(tid / 32 * P + p, sum[p]);
    }
    __syncthreads();
    const int from = group * (lanes / 32);
#pragma unroll
    for (int p = 0; p < P; ++p) {
      sum[p] = {};
      for (int w = 0; w < lanes / 32; ++w) sum[p].join(partial.get((from + w) * P + p));
    }
  };

  float r[P], power[P];
  SquareSum<T> sums[P];
  sum_pixels(nullptr, sums);
  bool special = false;
#pragma unroll
  for (int p = 0; p < P; ++p) {
    power[p] = 1.0F;
    if (kMayLeaveRange<T>) special = special || left_range(f, sums[p].value());
  }
  if (kMayLeaveRange<T>) special = lanes <= 32 ? __any_sync(~0U, special) : __syncthreads_or(special);
  if (kMayLeaveRange<T> && special) {
    float scale[P];
    SquareSum<T> scaled[P];
#pragma unroll
    for (int p = 0; p < P; ++p) scale[p] = range_scale(f, sums[p].value());
    sum_pixels(scale, scaled);
#pragma unroll
    for (int p = 0; p < P; ++p) {
      if (scale[p] == 1.0F) {
        r[p] = inverse_rms<T>(f, sums[p]);
      } else {
        const SplitInverse split = split_inverse_rms(f, scaled[p].exact(), scale[p]);
        power[p] = split.power;
        r[p] = split.rest;
      }
    }
  } else {
#pragma unroll
    for (int p = 0; p < P; ++p) r[p] = inverse_rms<T>(f, sums[p]);
  }

#pragma unroll
  for (int i = 0; i < R; ++i) {
    const int c = (i * lanes + lane) * V;
    if (c >= channels) continue;
    float w[V], b[V];
    if (weight != nullptr) unpack<T, V>(weights[i], w);
    if (bias != nullptr) unpack<T, V>(biases[i], b);
#pragma unroll
    for (int p = 0; p < P; ++p) {
      const std::int64_t pixel = first + p * groups;
      if (pixel >= pixels) continue;
      keep(x[p][i]);
      float v[V];
      unpack<T, V>(x[p][i], v);
      if (kMayLeaveRange<T> && special) {
#pragma unroll
        for (int j = 0; j < V; ++j) v[j] *= power[p];
      }
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] = scale_and_shift<T, kFull>(f, v[j], r[p], weight != nullptr, w[j], bias != nullptr, b[j]);
      if constexpr (kFull) finish<T, true, V>(f, v, add[p][i]);
      if constexpr (kChain == RowChain::add) add_to<T, V>(add[p][i], v);
      if constexpr (kChain == RowChain::relu) activate_all<T>(Activation::relu, v);
      *reinterpret_cast<W*>(static_cast<T*>(a.y) + pixel * channels + c) = pack<T, V>(v);
    }
  }
}

// The kernels there are, see row_loads().
template <class T, RowChain kChain>
void (*pick(const NormConfig& c))(NormArgs, int) {
  constexpr int kWide = 16 / static_cast<int>(sizeof(T));
  const auto is = [&](int vector, int loads, int pixels) { return c.vector == vector && c.loads == loads && c.pixels == pixels; };
  if constexpr (kChain == RowChain::affine || kChain == RowChain::full) {
    if (is(1, 4, 1)) return &rms_norm2d_nhwc_rows_of_lanes<T, 1, 4, 1, kChain>;
  }
  if (is(kWide, 2, 1)) return &rms_norm2d_nhwc_rows_of_lanes<T, kWide, 2, 1, kChain>;
  if (is(kWide, 3, 1)) return &rms_norm2d_nhwc_rows_of_lanes<T, kWide, 3, 1, kChain>;
  if (is(kWide, 4, 1)) return &rms_norm2d_nhwc_rows_of_lanes<T, kWide, 4, 1, kChain>;
  if constexpr (kChain != RowChain::affine) {
    if (is(kWide, 1, 1)) return &rms_norm2d_nhwc_rows_of_lanes<T, kWide, 1, 1, kChain>;
    if (is(kWide, 1, 2)) return &rms_norm2d_nhwc_rows_of_lanes<T, kWide, 1, 2, kChain>;
  } else {
    if (is(kWide, 1, 4)) return &rms_norm2d_nhwc_rows_of_lanes<T, kWide, 1, 4, kChain>;
    if (is(kWide, 2, 2)) return &rms_norm2d_nhwc_rows_of_lanes<T, kWide, 2, 2, kChain>;
    if (is(kWide, 5, 1)) return &rms_norm2d_nhwc_rows_of_lanes<T, kWide, 5, 1, kChain>;
  }
  return nullptr;
}

template <class T>
void (*pick(const NormConfig& c, RowChain chain))(NormArgs, int) {
  if (chain == RowChain::affine) return pick<T, RowChain::affine>(c);
  const bool single = c.vector == 1;  // few models run these: one kernel for all chains
  if (chain == RowChain::add && !single) return pick<T, RowChain::add>(c);
  if (chain == RowChain::relu && !single) return pick<T, RowChain::relu>(c);
  return pick<T, RowChain::full>(c);
}

}  // namespace

void launch_nhwc_rows(const NormConfig& c, DType dtype, const NormArgs& args, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    const auto kernel = pick<T>(c, row_chain(args.formula));
    check<CudaError>(kernel != nullptr, "RMSNorm2d has no nhwc rows kernel of ", c.loads, " loads of ", c.vector, " elements for ",
                     c.pixels, " pixels");
    launch_kernel(kernel, norm_launch_shape(c, dtype, args), stream, args, log2_of(c.lanes));
  });
}

}  // namespace frieze::cuda
