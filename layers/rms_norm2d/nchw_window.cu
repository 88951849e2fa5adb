#include <frieze/layers/rms_norm2d/cuda/cluster_sums.cuh>
#include <frieze/layers/rms_norm2d/cuda/normalise.cuh>

namespace frieze::cuda {
namespace {

// The launch's numbers: `rows` threads share a pixel in each of `ranks` blocks, each with `loads` packs, of which the last `parked` wait
// in shared memory; a tile's rows are `halo` packs shorter than what `lanes` threads load of them; an image has `tiles`.
struct WindowShape {
  int lanes, rows, ranks, loads, parked, halo;
  std::uint32_t tiles;
};

// Threads read and write V neighbouring floats each; a gap behind every V puts them into different banks.
template <int V>
__device__ __forceinline__ int padded(int i) {
  return i + static_cast<int>(static_cast<unsigned>(i) / V);
}

// Where a thread and its block stand among rows of pixels that begin anywhere. From each channel's row the block loads a window of `lanes`
// packs, beginning at the multiple of 16 bytes at or before the tile's first pixel: `shift` elements before it, the same number for all
// rows of a thread, since they are a multiple of V channels apart. Rows of whole packs have no shift, and windows no halo.
template <class T>
struct WindowPlace {
  static constexpr int V = 16 / static_cast<int>(sizeof(T));

  int row, rows, lane, columns, tile_pixels, reach, pitch, shift, rank;
  int left;   // pixels of the image's row from the tile's first one on
  int pixel;  // of the thread's first element, in the tile; below 0 in front of it
  int first;  // channel = first + k * rows
  int count;  // of the thread's loads
  bool inside, first_of_row;
  std::int64_t base, step;  // of the k-th load: base + k * step
  uint4* slots;             // the k-th parked pack: slots[k * blockDim.x]
  float *inverse, *power;   // [pitch], pixel p of the tile at padded(p + V)
  SharedSums<T> partial;    // [rows][pitch]
  float* gathered;          // [2][ranks][reach] the sums of every block of the cluster
  T *weight, *bias;         // [rows * loads] of the block's channels

  __device__ __forceinline__ WindowPlace(const NormArgs& a, const WindowShape& s, uint4* shared) {
    const int tid = static_cast<int>(threadIdx.x), lanes = s.lanes;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    const int ranks = s.ranks;
#else
    const int ranks = 1;
#endif
    rows = s.rows;
    row = tid / lanes;
    lane = tid - row * lanes;
    rank = static_cast<int>(blockIdx.x) % ranks;
    columns = lanes * V;
    tile_pixels = columns - s.halo * V;
    reach = s.halo > 0 ? tile_pixels + V : tile_pixels;
    pitch = (padded<V>(columns + V) + 3) & ~3;
    slots = shared + tid;
    inverse = reinterpret_cast<float*>(shared + s.parked * static_cast<int>(blockDim.x));
    power = inverse + pitch;
    partial = {power + pitch, rows * pitch};
    gathered = partial.floats + SquareSum<T>::kFloats * partial.count;
    weight = reinterpret_cast<T*>(gathered + (ranks > 1 ? 2 * SquareSum<T>::kFloats * ranks * reach : 0));
    bias = weight + rows * s.loads;
    const std::uint32_t tile = blockIdx.x / static_cast<unsigned>(ranks), image = tile / s.tiles;
    const std::int64_t first_pixel = std::int64_t{tile - image * s.tiles} * tile_pixels;
    first_of_row = first_pixel == 0;
    left = static_cast<int>(min(a.pixels - first_pixel, std::int64_t{2} * columns));
    first = row + rank * rows * s.loads;
    const std::int64_t start = (std::int64_t{image} * a.channels + first) * a.pixels + first_pixel;
    shift = static_cast<int>(start % V);
    pixel = lane * V - shift;
    base = start + pixel;
    step = std::int64_t{rows} * a.pixels;
    inside = pixel < left;
    count = inside ? max(0, min(s.loads, (static_cast<int>(a.channels) - first + rows - 1) / rows)) : 0;
  }
  __device__ __forceinline__ bool stored() const {  // else by a neighbour
    return inside && pixel < tile_pixels && (pixel >= 0 || first_of_row);
  }
  // Of all channels, for thread t < reach of the tile's pixel t. Once a `round`.
  __device__ __forceinline__ SquareSum<T> sum_pixels(const SquareSum<T> (&sums)[V], const WindowShape& s, std::uint64_t (&arrived)[2],
                                                     int round) const {
    const int tid = static_cast<int>(threadIdx.x);
#pragma unroll
    for (int j = 0; j < V; ++j) partial.put(row * pitch + padded<V>(pixel + j + V), sums[j]);
    __syncthreads();
    SquareSum<T> all;
    if (tid < reach) {
#pragma unroll 8
      for (int g = 0; g < rows; ++g) all.join(partial.get(g * pitch + padded<V>(tid + V)));
    }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (s.ranks > 1) {
      if (round == 0) wait_for_cluster();
      all = join_cluster(all, reach, rank, s.ranks, gathered + round * SquareSum<T>::kFloats * s.ranks * reach, arrived + round);
    }
#endif
    return all;
  }
  __device__ __forceinline__ void get(const float* from, float (&v)[V]) const {
    int at = pixel + V;
    keep(at);  // not V addresses over the barrier
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] = from[padded<V>(at + j)];
  }
};

__device__ __forceinline__ std::int64_t elements_of(const NormArgs& a) { return a.images * a.channels * a.pixels; }

// x + residual, rounded, `word` being x at `offset`.
template <class T>
__device__ __forceinline__ uint4 with_residual(const NormArgs& a, const uint4& word, std::int64_t offset) {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  return add_packs<T, V>(word, load_some<T, V>(a.residual, offset, elements_of(a)));
}

// x, or x + residual, at `offset`, at the tensor's end too.
template <class T>
__device__ __forceinline__ uint4 load_at_end(const NormArgs& a, std::int64_t offset) {
  const uint4 word = load_some<T, 16 / static_cast<int>(sizeof(T))>(a.x, offset, elements_of(a));
  return a.formula.residual_mode == ResidualMode::before ? with_residual<T>(a, word, offset) : word;
}

// One pack times r and, if not null, power (see SplitInverse); `add`: of the residual.
template <class T, NormChain kChain>
__device__ __forceinline__ uint4 normalised(const NormArgs& a, const uint4& word, const ChannelAffine& affine,
                                            const float (&r)[16 / sizeof(T)], const float* power, const uint4& add) {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  float v[V];
  unpack<T, V>(word, v);
  if (power != nullptr) {
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] *= power[j];
  }
  scale_and_shift_row<T, kChain>(a, v, r, affine);
  if constexpr (kChain == NormChain::silu) {
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] = quick_silu<T>(v[j]);
  }
  finish<T, kChain == NormChain::full, V>(a.formula, v, add);
  return pack<T, V>(v);
}

// A tile with pixels whose squares leave the range of f32; `power` holds their sums. Rare: everything again, scaled, from memory rather
// than from registers, and out of line, so that it costs others nothing.
template <class T>
__device__ __noinline__ void scaled_window(const NormArgs& a, const WindowShape& shape, uint4* shared, std::uint64_t (&arrived)[2]) {
  constexpr int V = WindowPlace<T>::V;
  const NormFormula& f = a.formula;
  const WindowPlace<T> at(a, shape, shared);
  const int tid = static_cast<int>(threadIdx.x), own = padded<V>(tid + V);
  const float scale = tid < min(at.left, at.reach) ? range_scale(f, at.power[own]) : 1.0F;
  __syncthreads();
  // What stands before the tile is stored by its neighbour.
  for (int i = tid; i < at.pitch; i += static_cast<int>(blockDim.x)) at.power[i] = 1.0F;
  __syncthreads();
  if (tid < at.reach) at.power[own] = scale;
  __syncthreads();
  SquareSum<T> squares[V];
  float powers[V];
  at.get(at.power, powers);
#pragma unroll 1
  for (int k = 0; k < at.count; ++k) {
    float v[V];
    unpack<T, V>(load_at_end<T>(a, at.base + k * at.step), v);
#pragma unroll
    for (int j = 0; j < V; ++j) squares[j].add(v[j] * powers[j]);
  }
  const double scaled = at.sum_pixels(squares, shape, arrived, 1).exact();
  __syncthreads();
  if (shape.ranks > 1 && tid == 1) forget(arrived + 1);
  if (tid < at.reach && scale != 1.0F) {
    const SplitInverse split = split_inverse_rms(f, scaled, scale);
    at.power[own] = split.power;
    at.inverse[own] = split.rest;
  }
  __syncthreads();
  if (!at.stored()) return;
  float r[V];
  at.get(at.inverse, r);
  at.get(at.power, powers);
#pragma unroll 1
  for (int k = 0; k < at.count; ++k) {
    const std::int64_t offset = at.base + k * at.step;
    uint4 add{};
    if (f.residual_mode == ResidualMode::after) add = load_some<T, V>(a.residual, offset, elements_of(a));
    const ChannelAffine affine = channel_affine(static_cast<const T*>(a.weight), static_cast<const T*>(a.bias), at.first + k * at.rows);
    const uint4 word = normalised<T, NormChain::full>(a, load_at_end<T>(a, offset), affine, r, powers, add);
    store_some<T, V>(static_cast<T*>(a.y) + offset, word, at.pixel, 0, at.left);
  }
}

// Asks L2 for what the block will read of `tensor`.
template <class T>
__device__ __forceinline__ void prefetch_window(const NormArgs& a, const WindowPlace<T>& at, const void* tensor) {
  constexpr int V = WindowPlace<T>::V;
  if (at.lane != 0) return;
  const int packs = min(at.columns, round_up(at.left + at.shift, V));
  for (int k = 0; k < at.count; ++k) {
    const std::int64_t from = at.base + k * at.step;
    if (from + at.columns <= elements_of(a))
      prefetch_to_l2(static_cast<const T*>(tensor) + from, static_cast<unsigned>(packs) * static_cast<unsigned>(sizeof(T)));
  }
}

// How a warp stores packs of which some elements are another row's: a lane takes one element of another lane's pack, so that neighbours
// store neighbouring elements, and a pack is one access instead of one an element.
template <class T>
struct EdgeStore {
  static constexpr int V = WindowPlace<T>::V, kPacks = 32 / V;

  int source = -1;  // whose pack
  int count = 0;    // packs of that lane whose element this lane stores
  bool alone;       // more such lanes than the warp can serve: this one stores by itself
  T* y = nullptr;   // the element's place of pack 0

  // All lanes of the warp. Of a lane with `edge`, the elements that stand at 0 to left - 1, counted from `pixel`, go to `to` and behind.
  __device__ __forceinline__ EdgeStore(bool edge, int pixel, int left, int packs, T* to) {
    const int lane = static_cast<int>(threadIdx.x) % 32, j = lane % V;
    unsigned edges = __ballot_sync(~0U, edge);
#pragma unroll
    for (int pack = 0; pack < kPacks; ++pack) {
      if (lane / V == pack) source = __ffs(static_cast<int>(edges)) - 1;
      edges &= edges - 1;
    }
    alone = edge && (edges >> lane & 1U) != 0;
    const int from = max(source, 0), at = __shfl_sync(~0U, pixel, from) + j;
    const int counted = __shfl_sync(~0U, packs, from);
    y = reinterpret_cast<T*>(__shfl_sync(~0U, reinterpret_cast<unsigned long long>(to), from)) + j;
    if (source >= 0 && at >= 0 && at < left) count = counted;
    source = from;
  }
  // Of pack k, `offset` elements behind pack 0. All lanes of the warp.
  __device__ __forceinline__ void store(const uint4& word, int k, std::int64_t offset) const {
    const unsigned w[4] = {__shfl_sync(~0U, word.x, source), __shfl_sync(~0U, word.y, source), __shfl_sync(~0U, word.z, source),
                           __shfl_sync(~0U, word.w, source)};
    const int j = static_cast<int>(threadIdx.x) % V, i = j * static_cast<int>(sizeof(T)) / 4;
    const unsigned own = i < 2 ? (i < 1 ? w[0] : w[1]) : (i < 3 ? w[2] : w[3]);
    if (k >= count) return;
    if constexpr (sizeof(T) == 4) {
      y[offset] = __uint_as_float(own);
    } else {
      reinterpret_cast<unsigned short*>(y)[offset] = static_cast<unsigned short>((j & 1) != 0 ? own >> 16 : own);
    }
  }
};

// nchw_tile for rows that begin anywhere, moved by accesses of 16 bytes all the same. The block stores the packs that begin in the tile,
// whole; so with a halo the pixels of the last pack's far side are summed too. Neighbouring tiles load 2 packs of a row twice, the second
// time from L2: y must not be what is read. R packs of a thread stay in registers; the others come by asynchronous copies, and stay in
// shared memory that no other thread looks at, so that chains of any length are a loop, not K copies.
template <class T, int R, NormChain kChain>
__global__ void __launch_bounds__(512, 2)
    rms_norm2d_nchw_window_per_block(const __grid_constant__ NormArgs a, const __grid_constant__ WindowShape shape) {
  constexpr int V = WindowPlace<T>::V;
  extern __shared__ uint4 shared_words[];
  __shared__ std::uint64_t arrived[2];
  const NormFormula& f = a.formula;
  const WindowPlace<T> at(a, shape, shared_words);
  const int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x), rows = at.rows;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if (shape.ranks > 1) {
    if (tid == 0) {
      const unsigned bytes = SquareSum<T>::kFloats * shape.ranks * at.reach * static_cast<unsigned>(sizeof(float));
      expect_bytes(arrived, bytes);
      expect_bytes(arrived + 1, bytes);
    }
    __syncwarp();
    arrive_at_cluster();
  }
#endif
  if (blockIdx.x < a.early_blocks) prefetch_window<T>(a, at, a.x);
  for (int i = tid; i < rows * shape.loads; i += threads) {  // the first stores should not wait for these
    const int channel = at.rank * rows * shape.loads + i;
    if (channel >= static_cast<int>(a.channels)) break;
    if (a.weight != nullptr) at.weight[i] = static_cast<const T*>(a.weight)[channel];
    if (a.bias != nullptr) at.bias[i] = static_cast<const T*>(a.bias)[channel];
  }
  pdl_wait();
  uint4 x[R > 0 ? R : 1];
  // All but the tensor's very last pack are whole.
  int whole = at.count;
  if (at.base + (whole - 1) * at.step + V > elements_of(a)) {
    whole = static_cast<int>(max(std::int64_t{0}, (elements_of(a) - V - at.base + at.step) / at.step));
  }
  const T* p = static_cast<const T*>(a.x) + at.base;
#pragma unroll 4
  for (int k = R; k < whole; ++k) copy_async_16(at.slots + (k - R) * threads, p + k * at.step);
#pragma unroll
  for (int k = 0; k < R; ++k) {  // no branches between the loads
    x[k] = uint4{};
    if (k < whole) x[k] = *reinterpret_cast<const uint4*>(p + k * at.step);
  }
  if (whole < at.count) {
#pragma unroll
    for (int k = 0; k < R; ++k) {
      if (k >= whole && k < at.count) x[k] = load_some<T, V>(a.x, at.base + k * at.step, elements_of(a));
    }
#pragma unroll 1
    for (int k = max(R, whole); k < at.count; ++k) {
      at.slots[(k - R) * threads] = load_some<T, V>(a.x, at.base + k * at.step, elements_of(a));
    }
  }
  commit_async();
  if (kChain == NormChain::full && f.residual_mode == ResidualMode::after) prefetch_window<T>(a, at, a.residual);
  pdl_trigger();
  if (kChain == NormChain::full && f.residual_mode == ResidualMode::before) {
#pragma unroll
    for (int k = 0; k < R; ++k) {
      if (k < at.count) x[k] = with_residual<T>(a, x[k], at.base + k * at.step);
    }
    wait_async();
#pragma unroll 2
    for (int k = R; k < at.count; ++k) {
      uint4& slot = at.slots[(k - R) * threads];
      slot = with_residual<T>(a, slot, at.base + k * at.step);
    }
  }
  SquareSum<T> squares[V];
  const auto add_squares = [&](const uint4& word) {
    float v[V];
    unpack<T, V>(word, v);
#pragma unroll
    for (int j = 0; j < V; ++j) squares[j].add(v[j]);
  };
#pragma unroll
  for (int k = 0; k < R; ++k) add_squares(x[k]);
  wait_async();
#pragma unroll 4
  for (int k = R; k < at.count; ++k) add_squares(at.slots[(k - R) * threads]);
  const SquareSum<T> sum = at.sum_pixels(squares, shape, arrived, 0);
  bool special = false;
  if (tid < at.reach) {
    at.inverse[padded<V>(tid + V)] = inverse_rms<T>(f, sum);
    if (kMayLeaveRange<T>) special = tid < at.left && left_range(f, at.power[padded<V>(tid + V)] = sum.value());
  }
  if (kMayLeaveRange<T>) {
    special = __syncthreads_or(special);
  } else {
    __syncthreads();
  }
  if (shape.ranks > 1 && tid < (special ? 1 : 2)) forget(arrived + tid);
  if (kMayLeaveRange<T> && special) return scaled_window<T>(a, shape, shared_words, arrived);
  std::int64_t to = at.base, stride = at.step;  // not all the offsets over the barrier
  keep(to), keep(stride);
  float r[V];
  at.get(at.inverse, r);
  // put(k, y) for the packs with k < count: this thread's, or as many as any thread of the warp has.
  const auto store_all = [&](int count, const auto& put) {
    const auto store = [&](int k, const uint4& word) {
      uint4 add{};
      if (kChain == NormChain::full && f.residual_mode == ResidualMode::after && k < at.count)
        add = load_some<T, V>(a.residual, to + k * stride, elements_of(a));
      const int i = at.row + k * rows;
      const ChannelAffine affine{a.weight != nullptr ? widen(at.weight[i]) : 1.0F, a.bias != nullptr ? widen(at.bias[i]) : -0.0F};
      put(k, normalised<T, kChain>(a, word, affine, r, nullptr, add));
    };
#pragma unroll
    for (int k = 0; k < R; ++k) {
      if (k >= count) continue;
      keep(x[k]);
      store(k, x[k]);
    }
    constexpr int kStores = kChain == NormChain::full ? 1 : 2;
#pragma unroll kStores
    for (int k = R; k < count; ++k) store(k, at.slots[(k - R) * threads]);
  };
  T* const y = static_cast<T*>(a.y) + to;
  const bool stored = at.stored(), edge = stored && (at.pixel < 0 || at.pixel + V > at.left);  // a part of the pack is another row's
  if (!__any_sync(~0U, edge)) {
    if (stored) store_all(at.count, [&](int k, const uint4& word) { *reinterpret_cast<uint4*>(y + k * stride) = word; });
    return;
  }
  const EdgeStore<T> edges(edge, at.pixel, at.left, at.count, y);
  store_all(__reduce_max_sync(~0U, at.count), [&](int k, const uint4& word) {
    T* const place = y + k * stride;
    if (stored && !edge && k < at.count) *reinterpret_cast<uint4*>(place) = word;
    if (edges.alone && k < at.count) store_some<T, V>(place, word, at.pixel, 0, at.left);
    edges.store(word, k, k * stride);
  });
}

// f32, and chains that are long: all packs wait in shared memory.
template <class T, NormChain kChain>
void (*pick(int held))(NormArgs, WindowShape) {
  if (held == 0) return &rms_norm2d_nchw_window_per_block<T, 0, kChain>;
  if constexpr (sizeof(T) == 2 && kChain != NormChain::full) {
    switch (held) {
      case 2: return &rms_norm2d_nchw_window_per_block<T, 2, kChain>;
      case 3: return &rms_norm2d_nchw_window_per_block<T, 3, kChain>;
      case 4: return &rms_norm2d_nchw_window_per_block<T, 4, kChain>;
      case 6: return &rms_norm2d_nchw_window_per_block<T, 6, kChain>;
      default: break;
    }
  }
  throw CudaError(concat_text("RMSNorm2d has no nchw window kernel of ", held, " packs in registers"));
}

}  // namespace

void launch_nchw_window(const NormConfig& c, DType dtype, const NormArgs& args, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    const NormChain chain = chain_of(args);
    const int rows = c.threads / c.lanes, halo = c.lanes - c.pixels / c.vector;
    const std::int64_t tiles = ceil_div(args.pixels, std::int64_t{c.pixels});
    const LaunchShape shape = norm_launch_shape(c, dtype, args);
    const int held = c.loads - c.parked;
    const auto kernel = chain == NormChain::full   ? pick<T, NormChain::full>(held)
                        : chain == NormChain::silu ? pick<T, NormChain::silu>(held)
                                                   : pick<T, NormChain::affine>(held);
    launch_kernel(kernel, shape, stream, with_early_blocks(args, shape),
                  WindowShape{c.lanes, rows, c.cluster, c.loads, c.parked, halo, static_cast<std::uint32_t>(tiles)});
  });
}

}  // namespace frieze::cuda
