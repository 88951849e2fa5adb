#pragma once
/// nchw_tile for one type, as nchw_tile_<type>.cu include it: three files, as these kernels take long to compile.
#include <frieze/layers/rms_norm2d/cuda/cluster_sums.cuh>
#include <frieze/layers/rms_norm2d/cuda/normalise.cuh>

namespace frieze::cuda {
namespace {

// The launch's numbers: a tile has lanes * V pixels, `rows` threads share a pixel in each of `ranks` blocks, an image has `tiles`.
struct TileShape {
  int lanes, rows, ranks, loads;
  std::uint32_t tiles;
};

// Where a thread and its block stand. One block owns a tile of lanes * V pixels of one image and all channels, or, in a cluster, every
// ranks-th share of them.
template <class T, int V>
struct TilePlace {
  int row, lane, rank, tile_pixels;
  int group, groups;  // of threads whose sums meet in shared memory: a warp of whole rows, or else a row
  bool shuffles;      // a warp owns whole rows
  bool inside;
  std::uint32_t pixel;      // of the image
  int first;                // channel = first + k * rows
  std::int64_t base, step;  // of the k-th load: base + k * step
  float *inverse, *power;   // [tile_pixels] 1/rms; see SplitInverse
  SharedSums<T> partial;    // [groups][tile_pixels]
  float* gathered;          // [2][ranks][tile_pixels] the sums of every block of the cluster
  T *weight, *bias;         // [rows * loads] of the block's channels

  __device__ __forceinline__ TilePlace(const NormArgs& a, const TileShape& shape, float* shared) {
    const int tid = static_cast<int>(threadIdx.x), lanes = shape.lanes;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    const int ranks = shape.ranks;
#else
    const int ranks = 1;
#endif
    row = tid / lanes;
    lane = tid - row * lanes;                     // a last part of a row has nothing to do
    rank = static_cast<int>(blockIdx.x) % ranks;  // clusters lie along x
    tile_pixels = lanes * V;
    shuffles = lanes < 32 && (lanes & (lanes - 1)) == 0;
    group = shuffles ? tid / 32 : row;
    groups = shuffles ? static_cast<int>(blockDim.x) / 32 : shape.rows;
    const auto pixels = static_cast<std::uint32_t>(a.pixels);
    const std::uint32_t tile = blockIdx.x / static_cast<unsigned>(ranks), image = tile / shape.tiles;
    pixel = (tile - image * shape.tiles) * tile_pixels + lane * V;
    inside = pixel < pixels && row < shape.rows;
    first = row + rank * shape.rows * shape.loads;
    base = (std::int64_t{image} * static_cast<int>(a.channels) + first) * a.pixels + pixel;
    step = std::int64_t{shape.rows} * a.pixels;
    inverse = shared;
    power = inverse + tile_pixels;
    partial = {power + tile_pixels, groups * tile_pixels};
    gathered = partial.floats + SquareSum<T>::kFloats * partial.count;
    weight = reinterpret_cast<T*>(gathered + (ranks > 1 ? 2 * SquareSum<T>::kFloats * ranks * tile_pixels : 0));
    bias = weight + shape.rows * shape.loads;
  }

  // The sum of this thread's sums and those of all other channels, for thread t < tile_pixels of the tile's pixel t. Once a `round`.
  __device__ __forceinline__ SquareSum<T> sum_pixels(SquareSum<T> (&sums)[V], const TileShape& shape, std::uint64_t (&arrived)[2],
                                                     int round) const {
    const int tid = static_cast<int>(threadIdx.x);
    if (shuffles) reduce_in_warp(sums, shape.lanes);
    if (shuffles ? (tid & 31) < shape.lanes : row < shape.rows) put_sums(partial, group * tile_pixels + lane * V, sums);
    __syncthreads();
    SquareSum<T> all;
    if (tid < tile_pixels) {
#pragma unroll 8
      for (int g = 0; g < groups; ++g) all.join(partial.get(g * tile_pixels + tid));
    }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (shape.ranks > 1) {
      if (round == 0) wait_for_cluster();
      const int floats = SquareSum<T>::kFloats * shape.ranks * tile_pixels;
      all = join_cluster(all, tile_pixels, rank, shape.ranks, gathered + round * floats, arrived + round);
    }
#endif
    return all;
  }
};

// x + residual, rounded, `word` being x at `offset`.
template <class T, int V>
__device__ __forceinline__ WordOf<T, V> with_residual(const NormArgs& a, const WordOf<T, V>& word, std::int64_t offset) {
  return add_packs<T, V>(word, *reinterpret_cast<const WordOf<T, V>*>(static_cast<const T*>(a.residual) + offset));
}

// A tile with pixels whose squares leave the range of f32; `power` holds their sums. Rare: everything again, scaled, from memory
// rather than from registers, and out of line, so that it costs others nothing.
template <class T, int V>
__device__ __noinline__ void scaled_tile(const NormArgs& a, const TileShape& shape, float* shared, std::uint64_t (&arrived)[2]) {
  using W = WordOf<T, V>;
  const NormFormula& f = a.formula;
  const TilePlace<T, V> at(a, shape, shared);
  const int tid = static_cast<int>(threadIdx.x), channels = static_cast<int>(a.channels);
  const auto load = [&](int k) {
    const std::int64_t offset = at.base + k * at.step;
    const W word = *reinterpret_cast<const W*>(static_cast<const T*>(a.x) + offset);
    return f.residual_mode == ResidualMode::before ? with_residual<T, V>(a, word, offset) : word;
  };
  SquareSum<T> sums[V];
  float scale[V], r[V];
  const auto add_all = [&] {
#pragma unroll
    for (int j = 0; j < V; ++j) sums[j] = {};
#pragma unroll 1
    for (int k = 0; k < shape.loads; ++k) {
      if (!at.inside || at.first + k * shape.rows >= channels) continue;
      float v[V];
      unpack<T, V>(load(k), v);
#pragma unroll
      for (int j = 0; j < V; ++j) sums[j].add(v[j] * scale[j]);
    }
  };
  if (shape.rows == 1 && shape.ranks == 1) {
#pragma unroll
    for (int j = 0; j < V; ++j) scale[j] = 1.0F;
    add_all();
#pragma unroll 1
    for (int j = 0; j < V; ++j) {
      r[j] = inverse_rms<T>(f, sums[j]);
      scale[j] = range_scale(f, sums[j].value());
    }
    add_all();
#pragma unroll 1
    for (int j = 0; j < V; ++j) {
      const SplitInverse split = scale[j] == 1.0F ? SplitInverse{1.0F, r[j]} : split_inverse_rms(f, sums[j].exact(), scale[j]);
      scale[j] = split.power;
      r[j] = split.rest;
    }
  } else {
    if (tid < at.tile_pixels) at.power[tid] = range_scale(f, at.power[tid]);
    __syncthreads();
    load_floats<V>(at.power + at.lane * V, scale);
    add_all();
    const double scaled = at.sum_pixels(sums, shape, arrived, 1).exact();
    __syncthreads();
    if (shape.ranks > 1 && tid == 1) forget(arrived + 1);
    if (tid < at.tile_pixels && at.power[tid] != 1.0F) {
      const SplitInverse split = split_inverse_rms(f, scaled, at.power[tid]);
      at.power[tid] = split.power;
      at.inverse[tid] = split.rest;
    }
    __syncthreads();
    load_floats<V>(at.power + at.lane * V, scale);
    load_floats<V>(at.inverse + at.lane * V, r);
  }
#pragma unroll 1
  for (int k = 0; k < shape.loads; ++k) {
    if (!at.inside || at.first + k * shape.rows >= channels) continue;
    W word[1] = {load(k)};
    const auto affine = [&](int, int channel) {
      return channel_affine(static_cast<const T*>(a.weight), static_cast<const T*>(a.bias), channel);
    };
    store_rows<T, V, 1, NormChain::full>(a, word, r, scale, at.base + k * at.step, at.step, at.first + k * shape.rows, shape.rows,
                                         at.inside, affine);
  }
}

template <class T, int K, NormChain kChain>
constexpr int kMostTileThreads = most_tile_threads(K, kChain);
// Twice 512 threads of 64 registers, where those suffice.
template <class T, int K, NormChain kChain>
constexpr int kTileBlocks = sizeof(T) == 4 || kChain == NormChain::full || K <= 4 || K > (kChain == NormChain::bare ? 8 : 6) ? 1 : 2;

// Everything that a block loads stays in registers, so x is read once. K loads a thread. Any number of lanes: tiles that divide the
// pixels evenly among multiprocessors are seldom powers of two.
template <class T, int V, int K, NormChain kChain>
__global__ void __launch_bounds__(kMostTileThreads<T, K, kChain>, kTileBlocks<T, K, kChain>)
    rms_norm2d_nchw_tile_per_block(const __grid_constant__ NormArgs a, const __grid_constant__ TileShape shape) {
  using W = WordOf<T, V>;
  extern __shared__ float4 shared_floats[];
  __shared__ std::uint64_t arrived[2];
  float* const shared = reinterpret_cast<float*>(shared_floats);
  const NormFormula& f = a.formula;
  const int tid = static_cast<int>(threadIdx.x), rows = shape.rows, channels = static_cast<int>(a.channels);
  const TilePlace<T, V> at(a, shape, shared);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if (shape.ranks > 1) {
    if (tid == 0) {
      const unsigned bytes = SquareSum<T>::kFloats * shape.ranks * at.tile_pixels * static_cast<unsigned>(sizeof(float));
      expect_bytes(arrived, bytes);
      expect_bytes(arrived + 1, bytes);
    }
    __syncwarp();
    arrive_at_cluster();
  }
#endif
  // Asks L2 for the block's rows of `tensor`.
  const auto prefetch = [&](const void* tensor) {
    if (sizeof(W) < 16 || at.lane != 0 || !at.inside) return;
    const T* p = static_cast<const T*>(tensor) + at.base;
    const unsigned bytes =
        min(static_cast<unsigned>(at.tile_pixels), static_cast<unsigned>(a.pixels) - at.pixel) * static_cast<unsigned>(sizeof(T));
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (at.first + k * rows < channels) prefetch_to_l2(p + k * at.step, bytes);
    }
  };
  if (blockIdx.x < a.early_blocks) prefetch(a.x);
  if constexpr (kChain != NormChain::bare) {  // the first stores should not wait for these
    for (int i = tid; i < rows * K; i += static_cast<int>(blockDim.x)) {
      const int channel = at.rank * rows * K + i;
      if (channel >= channels) break;
      if (a.weight != nullptr) at.weight[i] = static_cast<const T*>(a.weight)[channel];
      if (a.bias != nullptr) at.bias[i] = static_cast<const T*>(a.bias)[channel];
    }
  }
  pdl_wait();
  W x[K];
  {
    const T* p = static_cast<const T*>(a.x) + at.base;
#pragma unroll
    for (int k = 0; k < K; ++k) {
      x[k] = W{};
      if (at.inside && at.first + k * rows < channels) x[k] = *reinterpret_cast<const W*>(p + k * at.step);
    }
  }
  if (kChain == NormChain::full && f.residual_mode == ResidualMode::after) prefetch(a.residual);
  pdl_trigger();
  if (kChain == NormChain::full && f.residual_mode == ResidualMode::before) {
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (at.inside && at.first + k * rows < channels) x[k] = with_residual<T, V>(a, x[k], at.base + k * at.step);
    }
  }
  SquareSum<T> sums[V];
#pragma unroll
  for (int k = 0; k < K; ++k) {
    float v[V];
    unpack<T, V>(x[k], v);
#pragma unroll
    for (int j = 0; j < V; ++j) sums[j].add(v[j]);
  }
  float r[V];
  bool special = false;                                              // squares leave the range of f32
  if (kChain != NormChain::bare && rows == 1 && shape.ranks == 1) {  // a thread has all channels of its pixels
#pragma unroll
    for (int j = 0; j < V; ++j) {
      r[j] = inverse_rms<T>(f, sums[j]);
      if (kMayLeaveRange<T>) special = special || left_range(f, sums[j].value());
    }
    __syncthreads();  // weights are there
  } else {
    const SquareSum<T> sum = at.sum_pixels(sums, shape, arrived, 0);
    if (tid < at.tile_pixels) {
      at.inverse[tid] = inverse_rms<T>(f, sum);
      if (kMayLeaveRange<T>) special = left_range(f, at.power[tid] = sum.value());
    }
    if (kMayLeaveRange<T>) {
      special = __syncthreads_or(special);
    } else {
      __syncthreads();
    }
    if (shape.ranks > 1 && tid < (special ? 1 : 2)) forget(arrived + tid);
    load_floats<V>(at.inverse + at.lane * V, r);
  }
  if (kMayLeaveRange<T> && special) return scaled_tile<T, V>(a, shape, shared, arrived);
  std::int64_t to = at.base, stride = at.step;  // not eight offsets over the barrier
  keep(to), keep(stride);
  store_rows<T, V, K, kChain>(a, x, r, nullptr, to, stride, at.first, rows, at.inside, [&](int k, int) {
    const int i = at.row + k * rows;
    return ChannelAffine{a.weight != nullptr ? widen(at.weight[i]) : 1.0F, a.bias != nullptr ? widen(at.bias[i]) : -0.0F};
  });
}

// The kernels there are, see tile_loads().
template <class T, int V, NormChain kChain>
void (*pick_loads(int loads))(NormArgs, TileShape) {
  if constexpr (V == 1) {
    if (loads == 8) return &rms_norm2d_nchw_tile_per_block<T, V, 8, kChain>;
    if (loads == 16) return &rms_norm2d_nchw_tile_per_block<T, V, 16, kChain>;
  } else {
    if (loads == 4) return &rms_norm2d_nchw_tile_per_block<T, V, 4, kChain>;
    if (loads == 8) return &rms_norm2d_nchw_tile_per_block<T, V, 8, kChain>;
    if constexpr (kChain != NormChain::full) {
      if (loads == 5) return &rms_norm2d_nchw_tile_per_block<T, V, 5, kChain>;
    }
    if constexpr (kChain == NormChain::affine || kChain == NormChain::silu) {
      if (loads == 16) return &rms_norm2d_nchw_tile_per_block<T, V, 16, kChain>;
    }
  }
  return nullptr;
}

template <class T>
void (*pick(const NormConfig& c, NormChain chain))(NormArgs, TileShape) {
  constexpr int kWide = 16 / static_cast<int>(sizeof(T));
  const bool full = chain == NormChain::full || (chain == NormChain::silu && c.vector == 1);
  if (c.vector == 1) return full ? pick_loads<T, 1, NormChain::full>(c.loads) : pick_loads<T, 1, NormChain::affine>(c.loads);
  if (c.vector != kWide) return nullptr;
  if (full) return pick_loads<T, kWide, NormChain::full>(c.loads);
  if (chain == NormChain::silu) return pick_loads<T, kWide, NormChain::silu>(c.loads);
  const bool bare = chain == NormChain::bare && c.loads < 16 && (c.threads > c.lanes || c.cluster > 1);
  return bare ? pick_loads<T, kWide, NormChain::bare>(c.loads) : pick_loads<T, kWide, NormChain::affine>(c.loads);
}

template <class T>
void launch_tile(const NormConfig& c, DType dtype, const NormArgs& args, cudaStream_t stream) {
  const auto kernel = pick<T>(c, chain_of(args));
  check<CudaError>(kernel != nullptr, "RMSNorm2d has no nchw tile kernel of ", c.loads, " loads of ", c.vector, " elements");
  const LaunchShape shape = norm_launch_shape(c, dtype, args);
  const std::int64_t tiles_of_image = ceil_div(args.pixels, std::int64_t{c.lanes} * c.vector);
  launch_kernel(kernel, shape, stream, with_early_blocks(args, shape),
                TileShape{c.lanes, c.threads / c.lanes, c.cluster, c.loads, static_cast<std::uint32_t>(tiles_of_image)});
}

}  // namespace
}  // namespace frieze::cuda
