#include <cooperative_groups.h>

#include <frieze/layers/rms_norm2d/cuda/normalise.cuh>

namespace frieze::cuda {
namespace {

// One block owns a tile of lanes * V pixels of one image and all channels, or, in a cluster, every cluster-th share of them.
// Everything that it loads stays in registers, so x is read once. K loads a thread; channel = (k * rows + row) of this block's. Any number
// of lanes: tiles that divide the pixels evenly among multiprocessors are seldom powers of two.
template <class T, int V, int K, bool kFull>
__global__ void __launch_bounds__(K <= 4 && !kFull ? 1024 : 512, sizeof(T) == 2 && (K == 5 || K == 6) && !kFull ? 2 : 1)
    rms_norm2d_nchw_tile_per_block(const __grid_constant__ NormArgs a, int lanes, int rows, int ranks, std::uint32_t tiles) {
  namespace cg = cooperative_groups;
  using W = WordOf<T, V>;
  extern __shared__ float4 shared_floats[];
  float* const shared = reinterpret_cast<float*>(shared_floats);
  const NormFormula& f = a.formula;
  const int tid = static_cast<int>(threadIdx.x);
  const int row = tid / lanes, lane = tid - row * lanes;  // a last part of a row has nothing to do
  const int tile_pixels = lanes * V;
  const bool shuffles = lanes < 32 && (lanes & (lanes - 1)) == 0;  // a warp owns whole rows
  float* const inverse = shared;                                   // [tile_pixels] 1/rms
  float* const power = inverse + tile_pixels;                      // [tile_pixels] see SplitInverse
  // [groups][tile_pixels], a group of threads being a warp of whole rows or else a row
  const int group = shuffles ? tid / 32 : row, groups = shuffles ? static_cast<int>(blockDim.x) / 32 : rows;
  const SharedSums<T> partial{power + tile_pixels, groups * tile_pixels};
  // [2][ranks][tile_pixels] the sums of every block of the cluster
  [[maybe_unused]] float* const gathered = partial.floats + SquareSum<T>::kFloats * partial.count;

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  const int rank = static_cast<int>(blockIdx.x) % ranks;  // clusters lie along x
  if (ranks > 1) cg::this_cluster().barrier_arrive();
#else
  ranks = 1;
  const int rank = 0;
#endif
  const auto pixels = static_cast<std::uint32_t>(a.pixels);
  const std::uint32_t tile = blockIdx.x / static_cast<unsigned>(ranks), image = tile / tiles;
  const std::uint32_t pixel = (tile - image * tiles) * tile_pixels + lane * V;
  const bool inside = pixel < pixels && row < rows;
  const int channels = static_cast<int>(a.channels);
  const int first = row + rank * rows * K;
  const std::int64_t base = (std::int64_t{image} * channels + first) * a.pixels + pixel, step = std::int64_t{rows} * a.pixels;

  if (sizeof(W) == 16 && blockIdx.x < a.early_blocks && lane == 0 && inside) {
    const T* p = static_cast<const T*>(a.x) + base;
    const unsigned bytes = min(static_cast<unsigned>(tile_pixels), pixels - pixel) * static_cast<unsigned>(sizeof(T));
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (first + k * rows < channels) prefetch_to_l2(p + k * step, bytes);
    }
  }
  // x + residual, rounded, of the k-th load.
  const auto added = [&](const W& word, int k) {
    float v[V], add[V];
    unpack<T, V>(word, v);
    unpack<T, V>(*reinterpret_cast<const W*>(static_cast<const T*>(a.residual) + base + k * step), add);
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] += add[j];
    return pack<T, V>(v);
  };
  pdl_wait();
  W x[K];
  {
    const T* p = static_cast<const T*>(a.x) + base;
#pragma unroll
    for (int k = 0; k < K; ++k) {
      x[k] = W{};
      if (inside && first + k * rows < channels) x[k] = *reinterpret_cast<const W*>(p + k * step);
    }
  }
  pdl_trigger();
  if (kFull && f.residual_mode == ResidualMode::before) {
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (inside && first + k * rows < channels) x[k] = added(x[k], k);
    }
  }
  // The sum of this thread's sums and those of all other channels, for thread t < tile_pixels of the tile's pixel t.
  const auto sum_pixels = [&](SquareSum<T>(&sum)[V], [[maybe_unused]] int round) {
    if (shuffles) reduce_in_warp(sum, lanes);
    if (shuffles ? (tid & 31) < lanes : row < rows) put_sums(partial, group * tile_pixels + lane * V, sum);
    __syncthreads();
    SquareSum<T> all;
    if (tid < tile_pixels) {
#pragma unroll 8
      for (int g = 0; g < groups; ++g) all.join(partial.get(g * tile_pixels + tid));
    }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (ranks > 1) {  // every block stores its sums into every block's shared memory, then reads its own
      const int count = ranks * tile_pixels;
      float* const here = gathered + round * SquareSum<T>::kFloats * count;
      if (round == 0) cg::this_cluster().barrier_wait();  // all have begun
      if (tid < tile_pixels) {
        for (int r = 0; r < ranks; ++r) {
          SharedSums<T>{cg::this_cluster().map_shared_rank(here, r), count}.put(rank * tile_pixels + tid, all);
        }
      }
      cg::this_cluster().sync();
      all = {};
      if (tid < tile_pixels) {
#pragma unroll 8
        for (int r = 0; r < ranks; ++r) all.join(SharedSums<T>{here, count}.get(r * tile_pixels + tid));
      }
    }
#endif
    return all;
  };

  SquareSum<T> sums[V];
#pragma unroll
  for (int k = 0; k < K; ++k) {
    float v[V];
    unpack<T, V>(x[k], v);
#pragma unroll
    for (int j = 0; j < V; ++j) sums[j].add(v[j]);
  }
  const bool alone = rows == 1 && ranks == 1;  // a thread has all channels of its pixels
  float r[V];
  SquareSum<T> sum;
  bool special = false;  // squares leave the range of f32
  if (alone) {
#pragma unroll
    for (int j = 0; j < V; ++j) {
      r[j] = inverse_rms<T>(f, sums[j]);
      if (kMayLeaveRange<T>) special = special || left_range(f, sums[j].value());
    }
  } else {
    sum = sum_pixels(sums, 0);
    if (tid < tile_pixels) {
      inverse[tid] = inverse_rms<T>(f, sum);
      if (kMayLeaveRange<T>) special = left_range(f, sum.value());
    }
    if (kMayLeaveRange<T>) {
      special = __syncthreads_or(special);
    } else {
      __syncthreads();
    }
  }
  if (kMayLeaveRange<T> && special) {
    // Rare: everything again, scaled, from memory rather than from registers, which this path must not cost all others.
    float scale[V];
#pragma unroll
    for (int j = 0; j < V; ++j) scale[j] = range_scale(f, sums[j].value());
    if (!alone) {
      if (tid < tile_pixels) power[tid] = range_scale(f, sum.value());
      __syncthreads();
      load_floats<V>(power + lane * V, scale);
    }
    const auto again = [&](int k) {
      const W word = *reinterpret_cast<const W*>(static_cast<const T*>(a.x) + base + k * step);
      return kFull && f.residual_mode == ResidualMode::before ? added(word, k) : word;
    };
#pragma unroll
    for (int j = 0; j < V; ++j) sums[j] = {};
#pragma unroll 1
    for (int k = 0; k < K; ++k) {
      if (!inside || first + k * rows >= channels) continue;
      float v[V];
      unpack<T, V>(again(k), v);
#pragma unroll
      for (int j = 0; j < V; ++j) sums[j].add(v[j] * scale[j]);
    }
    if (alone) {
#pragma unroll
      for (int j = 0; j < V; ++j) {
        const SplitInverse split = scale[j] == 1.0F ? SplitInverse{1.0F, r[j]} : split_inverse_rms(f, sums[j].exact(), scale[j]);
        scale[j] = split.power;
        r[j] = split.rest;
      }
    } else {
      const double scaled = sum_pixels(sums, 1).exact();
      __syncthreads();
      if (tid < tile_pixels && power[tid] != 1.0F) {
        const SplitInverse split = split_inverse_rms(f, scaled, power[tid]);
        power[tid] = split.power;
        inverse[tid] = split.rest;
      }
      __syncthreads();
      load_floats<V>(power + lane * V, scale);
      load_floats<V>(inverse + lane * V, r);
    }
#pragma unroll 1
    for (int k = 0; k < K; ++k) {
      if (!inside || first + k * rows >= channels) continue;
      W word[1] = {again(k)};
      store_rows<T, V, 1, kFull>(a, word, r, scale, base + k * step, step, first + k * rows, rows, inside);
    }
    return;
  }
  if (!alone) load_floats<V>(inverse + lane * V, r);
  std::int64_t to = base, stride = step;  // not eight offsets over the barrier
  keep(to), keep(stride);
  store_rows<T, V, K, kFull>(a, x, r, nullptr, to, stride, first, rows, inside);
}

// The kernels there are: bytes of an access x loads of a thread.
template <class T, int V, bool kFull>
void (*pick_loads(int loads))(NormArgs, int, int, int, std::uint32_t) {
  constexpr bool kWide = sizeof(T) * V == 16;
  if constexpr (kWide) {
    switch (loads) {
      case 4: return &rms_norm2d_nchw_tile_per_block<T, V, 4, kFull>;
      case 8: return &rms_norm2d_nchw_tile_per_block<T, V, 8, kFull>;
      default: break;
    }
    if constexpr (!kFull) {
      if (loads == 2) return &rms_norm2d_nchw_tile_per_block<T, V, 2, kFull>;
      if (loads == 6) return &rms_norm2d_nchw_tile_per_block<T, V, 6, kFull>;
      if (loads == 3) return &rms_norm2d_nchw_tile_per_block<T, V, 3, kFull>;
      if (loads == 5) return &rms_norm2d_nchw_tile_per_block<T, V, 5, kFull>;
      if (loads == 16) return &rms_norm2d_nchw_tile_per_block<T, V, 16, kFull>;
    }
  } else {
    switch (loads) {
      case 8: return &rms_norm2d_nchw_tile_per_block<T, V, 8, kFull>;
      case 16: return &rms_norm2d_nchw_tile_per_block<T, V, 16, kFull>;
      default: break;
    }
    if constexpr (!kFull) {
      if (loads == 32) return &rms_norm2d_nchw_tile_per_block<T, V, 32, kFull>;
    }
  }
  return nullptr;
}

template <class T>
auto pick(const NormConfig& c, bool full) {
  constexpr int kWide = 16 / static_cast<int>(sizeof(T)), kPair = 4 / static_cast<int>(sizeof(T));
  const auto of = [&](auto v) {
    constexpr int V = decltype(v)::value;
    return full ? pick_loads<T, V, true>(c.loads) : pick_loads<T, V, false>(c.loads);
  };
  auto kernel = c.vector == kWide ? of(std::integral_constant<int, kWide>{}) : nullptr;
  if (c.vector == kPair && kPair > 1) kernel = of(std::integral_constant<int, kPair>{});
  if (c.vector == 1) kernel = of(std::integral_constant<int, 1>{});
  check<CudaError>(kernel != nullptr, "RMSNorm2d has no nchw tile kernel of ", c.loads, " loads of ", c.vector, " elements");
  return kernel;
}

}  // namespace

void launch_nchw_tile(const NormConfig& c, DType dtype, const NormArgs& args, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    const auto kernel = pick<T>(c, is_full(args.formula));
    const std::int64_t tiles_of_image = ceil_div(args.pixels, std::int64_t{c.lanes} * c.vector);
    LaunchShape shape{grid_of(tiles_of_image * args.images * c.cluster), dim3(static_cast<unsigned>(c.threads)),
                      norm_shared_bytes(c, args.channels, dtype)};
    shape.cluster = c.cluster;
    shape.dependent = true;
    launch_kernel(kernel, shape, stream, args, c.lanes, c.threads / c.lanes, c.cluster, static_cast<std::uint32_t>(tiles_of_image));
  });
}

}  // namespace frieze::cuda
