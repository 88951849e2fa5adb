#include <frieze/layers/rms_norm2d/cuda/normalise.cuh>

namespace frieze::cuda {
namespace {

// One block owns a run of whole pixels, which it moves as one piece of memory with accesses of 16 bytes, wherever rows of channels
// begin: the run is a multiple of 16 bytes. Shared memory holds it; `lanes` threads sum a pixel.
template <class T, bool kAffine, bool kFull>
__global__ void __launch_bounds__(512)
    rms_norm2d_nhwc_flat_run_per_block(const __grid_constant__ NormArgs a, int run_pixels, int lanes_log2, std::uint32_t inverse_channels) {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  using W = WordOf<T, V>;
  extern __shared__ uint4 run[];
  const NormFormula& f = a.formula;
  const int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x), channels = static_cast<int>(a.channels);
  const std::int64_t first_pixel = std::int64_t{blockIdx.x} * run_pixels, base = first_pixel * channels;
  const int pixels = static_cast<int>(min(std::int64_t{run_pixels}, a.images * a.pixels - first_pixel));
  const int count = pixels * channels;  // elements; only the last run of the tensor may end inside a pack
  const int packs = ceil_div(count, V);
  float* const inverse = reinterpret_cast<float*>(run + run_pixels * channels / V);  // [run_pixels + 1]
  float* const power = inverse + run_pixels + 1;
  const T* x = static_cast<const T*>(a.x) + base;

  const auto load = [&](const void* from, int q) {
    const T* p = static_cast<const T*>(from) + base + q * V;
    if ((q + 1) * V <= count) return *reinterpret_cast<const W*>(p);
    W w{};
    for (int j = 0; j < count - q * V; ++j) reinterpret_cast<T*>(&w)[j] = p[j];
    return w;
  };
  if (blockIdx.x < a.early_blocks && tid == 0) prefetch_run<T>(a.x, base, count, a.images * a.pixels * channels);
  pdl_wait();
  for (int q = tid; q < packs; q += threads) {
    if ((q + 1) * V <= count) {
      copy_async_16(run + q, x + q * V);
    } else {
      run[q] = load(a.x, q);
    }
  }
  commit_async();
  wait_async();
  pdl_trigger();
  if (kFull && f.residual_mode == ResidualMode::before) {
    for (int q = tid; q < packs; q += threads) {
      float v[V], add[V];
      unpack<T, V>(run[q], v);
      unpack<T, V>(load(a.residual, q), add);
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] += add[j];
      run[q] = pack<T, V>(v);
    }
  }
  __syncthreads();

  const int lanes = 1 << lanes_log2, lane = tid & (lanes - 1), groups = threads >> lanes_log2;
  const auto sum_pixel = [&](int pixel, const float* scale) {
    const T* in = reinterpret_cast<const T*>(run) + pixel * channels;
    SquareSum<T> squares;
#pragma unroll 8
    for (int c = lane; c < channels; c += lanes) {
      const float v = widen(in[c]) * (scale != nullptr ? *scale : 1.0F);
      squares.add(v);
    }
    for (int step = 1; step < lanes; step *= 2) squares.join_lane(step);
    return squares;
  };
  bool special = false;
  for (int p0 = 0; p0 < pixels; p0 += groups) {
    const int pixel = p0 + (tid >> lanes_log2), safe = min(pixel, pixels - 1);
    const SquareSum<T> sum = sum_pixel(safe, nullptr);
    SplitInverse r{1.0F, inverse_rms<T>(f, sum)};
    if constexpr (kMayLeaveRange<T>) {
      if (__any_sync(~0U, left_range(f, sum.value()))) {
        const float scale = range_scale(f, sum.value());
        const double scaled = sum_pixel(safe, &scale).exact();
        if (scale != 1.0F) r = split_inverse_rms(f, scaled, scale);
        special = special || scale != 1.0F;
      }
    }
    if (lane == 0 && pixel < pixels) {
      inverse[pixel] = r.rest;
      if (kMayLeaveRange<T>) power[pixel] = r.power;
    }
  }
  if (kMayLeaveRange<T>) {
    special = __syncthreads_or(special);
  } else {
    __syncthreads();
  }

  const T* __restrict__ weight = static_cast<const T*>(a.weight);
  const T* __restrict__ bias = static_cast<const T*>(a.bias);
  const auto pixel_of = [&](int element) { return static_cast<int>(__umulhi(static_cast<unsigned>(element), inverse_channels)); };
  for (int q = tid; q < packs; q += threads) {
    float v[V], r[V];
    unpack<T, V>(run[q], v);
    const int first = q * V, pixel = pixel_of(first), channel = first - pixel * channels;
    if (channels >= V) {  // a pack meets two pixels at most
      const int border = channels - channel;
      const float here = inverse[pixel], there = inverse[min(pixel + 1, pixels)];
#pragma unroll
      for (int j = 0; j < V; ++j) r[j] = j < border ? here : there;
    } else {
#pragma unroll
      for (int j = 0; j < V; ++j) r[j] = inverse[min(pixel_of(first + j), pixels)];
    }
    if (kMayLeaveRange<T> && special) {
      for (int j = 0; j < V; ++j) v[j] *= power[min(pixel_of(first + j), pixels)];
    }
    if constexpr (kAffine) {
      int c = channel;
#pragma unroll
      for (int j = 0; j < V; ++j) {
        const float w = weight != nullptr ? widen(weight[c]) : 1.0F, b = bias != nullptr ? widen(bias[c]) : 0.0F;
        v[j] = scale_and_shift<T, kFull>(f, v[j], r[j], weight != nullptr, w, bias != nullptr, b);
        c = c + 1 == channels ? 0 : c + 1;
      }
    } else {
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] *= r[j];
    }
    W add{};
    if (kFull && f.residual_mode == ResidualMode::after) add = load(a.residual, q);
    finish<T, kFull, V>(f, v, add);
    store_some<T, V>(static_cast<T*>(a.y) + base + first, pack<T, V>(v), first, 0, count);
  }
}

}  // namespace

void launch_nhwc_flat(const NormConfig& c, DType dtype, const NormArgs& args, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    const bool affine = args.weight != nullptr || args.bias != nullptr;
    const auto kernel = is_full(args.formula) ? &rms_norm2d_nhwc_flat_run_per_block<T, true, true>
                        : affine              ? &rms_norm2d_nhwc_flat_run_per_block<T, true, false>
                                              : &rms_norm2d_nhwc_flat_run_per_block<T, false, false>;
    // floor(e * inverse / 2^32) is e / C for every e * C < 2^32: a run has fewer than 2^16 elements, and C is one of its factors.
    const auto inverse = static_cast<std::uint32_t>(((std::uint64_t{1} << 32) + static_cast<std::uint64_t>(args.channels) - 1) /
                                                    static_cast<std::uint64_t>(args.channels));
    launch_kernel(kernel, norm_launch_shape(c, dtype, args), stream, args, c.pixels, log2_of(c.lanes), inverse);
  });
}

}  // namespace frieze::cuda
