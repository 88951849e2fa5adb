#include <frieze/layers/group_norm/cuda/nhwc_group_norm.h>

#include <algorithm>
#include <numeric>

#include <frieze/core/error.h>
#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/shared/cuda/epilogue.cuh>
#include <frieze/layers/shared/cuda/moments.cuh>
#include <frieze/layers/shared/cuda/norm_epilogue.cuh>

namespace frieze::cuda {
namespace {

constexpr int kBlock = 256, kBlocks = 4;        // of threads; of a multiprocessor, at the least
constexpr int kTileColumns = 64;                // packs beside each other in a tile, unless a group needs more
constexpr int kMostGroups = kTileColumns * 8;   // of a tile
constexpr std::int64_t kFewElements = 1 << 15;  // that one block has not long to do with
constexpr std::int64_t kPixelsOfThread = 4;     // under way at a time

struct NhwcArgs {
  const void* x;
  void* y;
  const void *weight, *bias;
  std::int64_t images, pixels;
  int channels, groups, per_group;
  int tile, tiles, tiles_of_group;
  std::int64_t segment;
  int segments;
  Moments* partial;  // [images][groups][segments * tiles_of_group]
  Moments* whole;    // [images][groups]
  float eps;
};

// What one block works on: channels begin to end - 1 of pixels first to last - 1 of image n.
struct Task {
  std::int64_t n, first, last;
  int begin, end, segment, piece;
};

__device__ __forceinline__ Task task_of(const NhwcArgs& a, unsigned index) {
  Task t;
  const unsigned range = index / static_cast<unsigned>(a.tiles);
  const int tile = static_cast<int>(index - range * a.tiles);
  t.n = range / static_cast<unsigned>(a.segments);
  t.segment = static_cast<int>(range - t.n * a.segments);
  t.first = t.segment * a.segment;
  t.last = min(t.first + a.segment, a.pixels);
  if (a.tiles_of_group == 1) {
    t.piece = 0;
    t.begin = tile * a.tile;
    t.end = min(t.begin + a.tile, a.channels);
  } else {
    const int group = tile / a.tiles_of_group;
    t.piece = tile - group * a.tiles_of_group;
    t.begin = group * a.per_group + t.piece * a.tile;
    t.end = min(t.begin + a.tile, (group + 1) * a.per_group);
  }
  return t;
}

template <int V>
struct TileMoments {
  SharedMoments<V, kBlock> channels;
  Moments group[kMostGroups];
};

// The first value of its group in this image, for each channel of a pack.
template <class T, int V>
__device__ __forceinline__ void load_pivots(const NhwcArgs& a, const Task& t, int c, float (&pivot)[V]) {
  const T* first = static_cast<const T*>(a.x) + t.n * a.pixels * a.channels;
#pragma unroll
  for (int j = 0; j < V; ++j) pivot[j] = widen(first[(c + j) / a.per_group * a.per_group]);
}

// Moments of the tile's groups, in shared memory. A thread owns a pack of channels and every blockDim.y-th pixel.
template <class T, int V>
__device__ __forceinline__ void moments_of_tile(const NhwcArgs& a, const Task& t, TileMoments<V>& shared) {
  constexpr int K = kPixelsOfThread;
  const int columns = static_cast<int>(blockDim.x), rows = static_cast<int>(blockDim.y);
  const int column = static_cast<int>(threadIdx.x), row = static_cast<int>(threadIdx.y), thread = row * columns + column;
  const int c = t.begin + column * V;
  PackMoments<T, V> own;
  if (c < t.end) {
    float pivot[V];
    load_pivots<T, V>(a, t, c, pivot);
    const T* x = static_cast<const T*>(a.x) + t.n * a.pixels * a.channels + c;
    for (std::int64_t p = t.first + row; p < t.last; p += std::int64_t{rows} * K) {
      Pack<T, V> pack[K];
      int packs = 0;
#pragma unroll
      for (int k = 0; k < K; ++k) {
        if (p + k * rows >= t.last) continue;
        pack[k] = *reinterpret_cast<const Pack<T, V>*>(x + (p + k * rows) * a.channels);
        packs = k + 1;
      }
      own.add(pack, packs, pivot);
    }
  }
  shared.channels.merge_rows(own);
  // Channels of a group: few are one thread's, many are a warp's.
  const int channels = t.end - t.begin, width = min(a.per_group, channels), groups = channels / width, threads = rows * columns;
  if (width <= 8) {
    for (int g = thread; g < groups; g += threads) {
      Moments all{};
      for (int i = 0; i < width; ++i) all = merge(all, shared.channels.value(g * width + i));
      shared.group[g] = all;
    }
  } else if (thread < threads / 32 * 32) {
    for (int g = thread / 32; g < groups; g += threads / 32) {
      Moments all{};
      for (int i = thread % 32; i < width; i += 32) all = merge(all, shared.channels.value(g * width + i));
#pragma unroll
      for (int step = 16; step > 0; step /= 2) {
        all = merge(all,
                    {__shfl_down_sync(~0U, all.mean, step), __shfl_down_sync(~0U, all.m2, step), __shfl_down_sync(~0U, all.count, step)});
      }
      if (thread % 32 == 0) shared.group[g] = all;
    }
  }
  __syncthreads();
}

// Second pass over the tile. `moments(c)` gives those of channel c's group.
template <class T, int V, NormEpilogue kEpilogue, class MomentsOf>
__device__ __forceinline__ void normalise_tile(const NhwcArgs& a, const EpilogueArgs& e, const Task& t, MomentsOf moments) {
  constexpr int K = kEpilogue == NormEpilogue::chain ? 1 : kPixelsOfThread;
  const int rows = static_cast<int>(blockDim.y), c = t.begin + static_cast<int>(threadIdx.x) * V;
  if (c >= t.end) return;
  float pivot[V], scale[V], shift[V];
  load_pivots<T, V>(a, t, c, pivot);
#pragma unroll
  for (int j = 0; j < V; ++j) {
    // |mean| is that of the pivot's own deviation, so that its product with the scale is no larger than the largest result.
    const Moments m = moments(c + j);
    const float w = a.weight != nullptr ? widen(static_cast<const T*>(a.weight)[c + j]) : 1.0F;
    scale[j] = inverse_deviation(m, a.eps) * w;
    shift[j] = (a.bias != nullptr ? widen(static_cast<const T*>(a.bias)[c + j]) : 0.0F) - m.mean * scale[j];
  }
  const std::int64_t image = t.n * a.pixels * a.channels + c;
  const T* x = static_cast<const T*>(a.x) + image;
  for (std::int64_t p = t.first + threadIdx.y; p < t.last; p += std::int64_t{rows} * K) {
    Pack<T, V> pack[K];
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (p + k * rows < t.last) pack[k] = *reinterpret_cast<const Pack<T, V>*>(x + (p + k * rows) * a.channels);
    }
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (p + k * rows >= t.last) continue;
      float v[V];
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] = fmaf(widen(pack[k].v[j]) - pivot[j], scale[j], shift[j]);
      const std::int64_t at = image + (p + k * rows) * a.channels;
      store_normalised<T, V, kEpilogue>(static_cast<T*>(a.y), e, v, at);
    }
  }
}

template <class T, int V>
__global__ void __launch_bounds__(kBlock, kBlocks) group_moments_block_per_range(const __grid_constant__ NhwcArgs a) {
  __shared__ TileMoments<V> shared;
  const Task t = task_of(a, blockIdx.x);
  moments_of_tile<T, V>(a, t, shared);
  const int channels = t.end - t.begin, groups = channels / min(a.per_group, channels), threads = static_cast<int>(blockDim.x * blockDim.y);
  const std::int64_t pieces = std::int64_t{a.segments} * a.tiles_of_group, group = t.n * a.groups + t.begin / a.per_group;
  const std::int64_t piece = std::int64_t{t.segment} * a.tiles_of_group + t.piece;
  for (int g = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x); g < groups; g += threads) {
    a.partial[(group + g) * pieces + piece] = shared.group[g];
  }
}

__global__ void __launch_bounds__(kBlock, kBlocks) group_moments_warp_per_group(const __grid_constant__ NhwcArgs a) {
  const std::int64_t group = std::int64_t{blockIdx.x} * (kBlock / 32) + threadIdx.x / 32;
  if (group >= a.images * a.groups) return;  // the whole warp
  const std::int64_t pieces = std::int64_t{a.segments} * a.tiles_of_group;
  Moments all{};
  for (std::int64_t i = threadIdx.x % 32; i < pieces; i += 32) all = merge(all, a.partial[group * pieces + i]);
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    all = merge(all, {__shfl_down_sync(~0U, all.mean, step), __shfl_down_sync(~0U, all.m2, step), __shfl_down_sync(~0U, all.count, step)});
  }
  if (threadIdx.x % 32 == 0) a.whole[group] = all;
}

// In the reverse order: what was read last is still in the cache.
template <class T, int V, NormEpilogue kEpilogue>
__global__ void __launch_bounds__(kBlock, kBlocks)
    group_norm_block_per_range(const __grid_constant__ NhwcArgs a, const __grid_constant__ EpilogueArgs e) {
  const Task t = task_of(a, gridDim.x - 1 - blockIdx.x);
  normalise_tile<T, V, kEpilogue>(a, e, t, [&](int c) { return a.whole[t.n * a.groups + c / a.per_group]; });
}

// A block owns all pixels of whole groups and reads them twice.
template <class T, int V, NormEpilogue kEpilogue>
__global__ void __launch_bounds__(kBlock, kBlocks)
    group_norm_block_per_channel_tile(const __grid_constant__ NhwcArgs a, const __grid_constant__ EpilogueArgs e) {
  __shared__ TileMoments<V> shared;
  const Task t = task_of(a, blockIdx.x);
  moments_of_tile<T, V>(a, t, shared);
  normalise_tile<T, V, kEpilogue>(a, e, t, [&](int c) { return shared.group[(c - t.begin) / a.per_group]; });
}

// The second pass, or both in one.
template <class T, int V>
void (*pick_pass(bool ranges, NormEpilogue e))(NhwcArgs, EpilogueArgs) {
  if (ranges) {
    if (e == NormEpilogue::none) return &group_norm_block_per_range<T, V, NormEpilogue::none>;
    if (e == NormEpilogue::silu) return &group_norm_block_per_range<T, V, NormEpilogue::silu>;
    return &group_norm_block_per_range<T, V, NormEpilogue::chain>;
  }
  if (e == NormEpilogue::none) return &group_norm_block_per_channel_tile<T, V, NormEpilogue::none>;
  if (e == NormEpilogue::silu) return &group_norm_block_per_channel_tile<T, V, NormEpilogue::silu>;
  return &group_norm_block_per_channel_tile<T, V, NormEpilogue::chain>;
}

template <class T, int V>
void preload_kernels() {
  preload(reinterpret_cast<const void*>(&group_moments_block_per_range<T, V>));
  for (const bool ranges : {false, true}) {
    for (const NormEpilogue e : kNormEpilogues) preload(reinterpret_cast<const void*>(pick_pass<T, V>(ranges, e)));
  }
}

}  // namespace

NhwcGroupNorm::NhwcGroupNorm(const NhwcGroupProblem& problem, int sm_count) : problem_(problem), sm_count_(sm_count) {
  aligned_ = choose(true);
  other_ = choose(false);
  dispatch(problem.dtype, [](auto t) {
    using T = decltype(t);
    preload_kernels<T, 16 / sizeof(T)>();
    preload_kernels<T, 1>();
  });
  preload(reinterpret_cast<const void*>(&group_moments_warp_per_group));
}

NhwcGroupNorm::Choice NhwcGroupNorm::choose(bool aligned) const {
  Choice c;
  const int wide = static_cast<int>(16 / size_of(problem_.dtype)), group = problem_.channels / problem_.groups;
  c.vector = aligned && problem_.channels % wide == 0 ? wide : 1;
  std::int64_t unit = std::lcm<std::int64_t>(group, c.vector);  // whole groups that are whole packs
  if (unit <= std::int64_t{kBlock} * c.vector) {
    const std::int64_t units = std::max<std::int64_t>(1, kTileColumns * c.vector / unit);
    c.tile = static_cast<int>(std::min<std::int64_t>(units * unit, problem_.channels));
    c.tiles = ceil_div(problem_.channels, c.tile);
  } else {  // a group is several tiles
    if (group % c.vector != 0) c.vector = 1;
    c.tiles_of_group = std::max(2, ceil_div(group, kBlock * c.vector));
    c.tile = ceil_div(ceil_div(group, c.tiles_of_group), c.vector) * c.vector;
    c.tiles_of_group = ceil_div(group, c.tile);
    c.tiles = problem_.groups * c.tiles_of_group;
  }
  // Ranges of pixels until every multiprocessor has the blocks that it holds at once, none so short that threads have nothing to do.
  const std::int64_t rows = kBlock / c.columns(), blocks = problem_.images * c.tiles;
  const std::int64_t most = std::max<std::int64_t>(1, problem_.pixels / (2 * kPixelsOfThread * rows));
  std::int64_t segments = std::clamp<std::int64_t>(std::int64_t{kBlocks} * sm_count_ / blocks, 1, most);
  if (c.tiles_of_group == 1 && problem_.pixels * c.tile <= kFewElements) segments = 1;
  c.segment = ceil_div(problem_.pixels, segments);
  c.segments = static_cast<int>(ceil_div(problem_.pixels, c.segment));
  return c;
}

std::size_t NhwcGroupNorm::workspace_bytes() const {
  std::int64_t most = 0;
  for (const Choice* c : {&aligned_, &other_}) {
    if (c->pieces() > 1) most = std::max(most, c->pieces() + 1);
  }
  return static_cast<std::size_t>(problem_.images * problem_.groups * most) * sizeof(Moments);
}

std::string NhwcGroupNorm::describe() const {
  if (aligned_.pieces() == 1) return "a block per channel tile, read twice";
  return concat_text(aligned_.segments, aligned_.segments == 1 ? " range of pixels, " : " ranges of pixels, ", aligned_.tiles,
                     aligned_.tiles == 1 ? " tile" : " tiles", ", read twice");
}

// x in and y out once: 2 * elements * sizeof(T) bytes; bound by memory. x is read a second time, from L2 as far as it is still there: at
// the worst 1.5 copies. Not measured yet.
void NhwcGroupNorm::launch(const RowNormCall& call, cudaStream_t stream) const {
  const bool aligned = is_aligned(call.x, 16) && is_aligned(call.y, 16) && call.epilogue.aligned(16);
  const Choice& c = aligned ? aligned_ : other_;
  NhwcArgs a{};
  a.x = call.x;
  a.y = call.y;
  a.weight = call.weight;
  a.bias = call.bias;
  a.images = problem_.images;
  a.pixels = problem_.pixels;
  a.channels = problem_.channels;
  a.groups = problem_.groups;
  a.per_group = problem_.channels / problem_.groups;
  a.tile = c.tile;
  a.tiles = c.tiles;
  a.tiles_of_group = c.tiles_of_group;
  a.segment = c.segment;
  a.segments = c.segments;
  a.partial = static_cast<Moments*>(call.workspace);
  a.whole = a.partial + a.images * a.groups * c.pieces();
  a.eps = call.eps;
  const dim3 grid = grid_of(a.images * c.segments * c.tiles);
  const dim3 block(static_cast<unsigned>(c.columns()), static_cast<unsigned>(kBlock / c.columns()));
  const bool packs = c.vector > 1, ranges = c.pieces() > 1;
  const NormEpilogue e = epilogue_kind(call.epilogue);
  dispatch(problem_.dtype, [&](auto t) {
    using T = decltype(t);
    constexpr int V = 16 / static_cast<int>(sizeof(T));
    if (ranges) {
      launch_kernel(packs ? &group_moments_block_per_range<T, V> : &group_moments_block_per_range<T, 1>, grid, block, 0, stream, a);
      const std::int64_t warps = ceil_div<std::int64_t>(a.images * a.groups, kBlock / 32);
      launch_kernel(&group_moments_warp_per_group, grid_of(warps), dim3(kBlock), 0, stream, a);
    }
    launch_kernel(packs ? pick_pass<T, V>(ranges, e) : pick_pass<T, 1>(ranges, e), grid, block, 0, stream, a, call.epilogue);
  });
}

}  // namespace frieze::cuda
