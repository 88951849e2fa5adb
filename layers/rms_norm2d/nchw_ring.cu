#include <frieze/layers/rms_norm2d/cuda/normalise.cuh>

namespace frieze::cuda {
namespace {

// A block stays and takes every gridDim-th tile of lanes * V pixels by all channels. Asynchronous copies keep the next tiles coming
// into a ring of `stages` in shared memory while this one is summed and stored. Every thread copies, and later reads, its own K packs
// only, so the ring needs no barrier.
template <class T, int K, bool kFull>
__global__ void __launch_bounds__(512) rms_norm2d_nchw_ring_per_block(const __grid_constant__ NormArgs a, int lanes_log2, int stages,
                                                                      std::uint32_t tiles_of_image, std::uint32_t tiles) {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  using W = WordOf<T, V>;
  extern __shared__ uint4 shared[];
  const NormFormula& f = a.formula;
  const int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int lanes = 1 << lanes_log2, lane = tid & (lanes - 1), row = tid >> lanes_log2, rows = threads >> lanes_log2;
  const int tile_pixels = lanes * V, group = lanes < 32 ? tid / 32 : row, groups = lanes < 32 ? threads / 32 : rows;
  W* const ring = shared + tid;  // [stages][K][threads]
  float* const inverse = reinterpret_cast<float*>(shared + stages * K * threads);
  float* const power = inverse + tile_pixels;
  const SharedSums<T> partial{power + tile_pixels, groups * tile_pixels};
  const int channels = static_cast<int>(a.channels);
  const std::int64_t step = std::int64_t{rows} * a.pixels;

  struct Place {
    std::int64_t base;
    bool inside;
  };
  const auto place = [&](std::uint32_t tile) {
    const std::uint32_t image = tile / tiles_of_image, pixel = (tile - image * tiles_of_image) * tile_pixels + lane * V;
    return Place{(std::int64_t{image} * channels + row) * a.pixels + pixel, tile < tiles && pixel < a.pixels};
  };
  const auto fetch = [&](std::uint32_t tile, int stage) {
    const Place at = place(tile);
    const T* p = static_cast<const T*>(a.x) + at.base;
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (at.inside && row + k * rows < channels) copy_async_16(ring + (stage * K + k) * threads, p + k * step);
    }
    commit_async();
  };

  pdl_wait();
  for (int s = 0; s + 1 < stages; ++s) fetch(blockIdx.x + static_cast<std::uint32_t>(s) * gridDim.x, s);
  int stage = 0, next = stages - 1;
  for (std::uint32_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    fetch(tile + static_cast<std::uint32_t>(stages - 1) * gridDim.x, next);
    wait_async(stages - 1);
    const Place at = place(tile);
    W x[K];
#pragma unroll
    for (int k = 0; k < K; ++k) {
      x[k] = W{};
      if (at.inside && row + k * rows < channels) x[k] = ring[(stage * K + k) * threads];
    }
    next = stage;
    stage = stage + 1 == stages ? 0 : stage + 1;
    if (kFull && f.residual_mode == ResidualMode::before) {
      const T* p = static_cast<const T*>(a.residual) + at.base;
#pragma unroll
      for (int k = 0; k < K; ++k) {
        if (!at.inside || row + k * rows >= channels) continue;
        float v[V], add[V];
        unpack<T, V>(x[k], v);
        unpack<T, V>(*reinterpret_cast<const W*>(p + k * step), add);
#pragma unroll
        for (int j = 0; j < V; ++j) v[j] += add[j];
        x[k] = pack<T, V>(v);
      }
    }
    const auto sum_pixels = [&](const float* scale) {
      SquareSum<T> squares[V];
#pragma unroll
      for (int k = 0; k < K; ++k) {
        float v[V];
        unpack<T, V>(x[k], v);
#pragma unroll
        for (int j = 0; j < V; ++j) {
          if (scale != nullptr) v[j] *= scale[lane * V + j];
          squares[j].add(v[j]);
        }
      }
      reduce_in_warp(squares, lanes);
      if (lanes >= 32 || (tid & 31) < lanes) put_sums(partial, group * tile_pixels + lane * V, squares);
      __syncthreads();
      SquareSum<T> all;
      if (tid < tile_pixels) {
#pragma unroll 8
        for (int g = 0; g < groups; ++g) all.join(partial.get(g * tile_pixels + tid));
      }
      return all;
    };
    const SquareSum<T> sum = sum_pixels(nullptr);
    bool special = false;
    if (tid < tile_pixels) {
      inverse[tid] = inverse_rms<T>(f, sum);
      if (kMayLeaveRange<T>) special = left_range(f, sum.value());
    }
    if (kMayLeaveRange<T>) {
      special = __syncthreads_or(special);
    } else {
      __syncthreads();
    }
    if (kMayLeaveRange<T> && special) {
      const float scale = range_scale(f, sum.value());
      if (tid < tile_pixels) power[tid] = scale;
      __syncthreads();
      const double scaled = sum_pixels(power).exact();
      __syncthreads();
      if (tid < tile_pixels) {
        const SplitInverse split = scale == 1.0F ? SplitInverse{1.0F, inverse[tid]} : split_inverse_rms(f, scaled, scale);
        power[tid] = split.power;
        inverse[tid] = split.rest;
      }
      __syncthreads();
    }
    float r[V];
    load_floats<V>(inverse + lane * V, r);
    store_rows<T, V, K, kFull ? NormChain::full : NormChain::affine>(
        a, x, r, kMayLeaveRange<T> && special ? power + lane * V : nullptr, at.base, step, row, rows, at.inside,
        [&](int, int channel) { return channel_affine(static_cast<const T*>(a.weight), static_cast<const T*>(a.bias), channel); });
  }
  pdl_trigger();
}

template <class T, bool kFull>
void (*pick(int loads))(NormArgs, int, int, std::uint32_t, std::uint32_t) {
  switch (loads) {
    case 4: return &rms_norm2d_nchw_ring_per_block<T, 4, kFull>;
    case 8: return &rms_norm2d_nchw_ring_per_block<T, 8, kFull>;
    default: break;
  }
  if constexpr (!kFull) {
    if (loads == 16) return &rms_norm2d_nchw_ring_per_block<T, 16, kFull>;
  }
  throw CudaError(concat_text("RMSNorm2d has no nchw ring kernel of ", loads, " loads"));
}

}  // namespace

void launch_nchw_ring(const NormConfig& c, DType dtype, const NormArgs& args, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    const auto kernel = is_full(args.formula) ? pick<T, true>(c.loads) : pick<T, false>(c.loads);
    const std::int64_t tile_pixels = std::int64_t{c.lanes} * c.vector, tiles_of_image = ceil_div(args.pixels, tile_pixels);
    const std::int64_t tiles = tiles_of_image * args.images;
    LaunchShape shape{dim3(static_cast<unsigned>(std::min<std::int64_t>(tiles, c.blocks))), dim3(static_cast<unsigned>(c.threads)),
                      norm_shared_bytes(c, args.channels, dtype)};
    shape.dependent = true;
    launch_kernel(kernel, shape, stream, args, log2_of(c.lanes), c.stages, static_cast<std::uint32_t>(tiles_of_image),
                  static_cast<std::uint32_t>(tiles));
  });
}

}  // namespace frieze::cuda
