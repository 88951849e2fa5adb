#include <frieze/layers/rms_norm2d/cuda/normalise.cuh>

namespace frieze::cuda {
namespace {

// Threads read and write V neighbouring floats each; a gap behind every V puts them into different banks.
template <int V>
__device__ __forceinline__ int padded(int i) {
  return i + static_cast<int>(static_cast<unsigned>(i) / V);
}

// Where a thread and its block stand among rows of pixels that begin anywhere. From each channel's row the block loads a window of `lanes`
// packs, beginning at the multiple of 16 bytes at or before the tile's first pixel: `shift` elements before it, the same number for all
// rows of a thread, since they are a multiple of V channels apart.
template <class T>
struct ShiftedPlace {
  static constexpr int V = 16 / static_cast<int>(sizeof(T));

  int row, rows, lane, columns, tile_pixels, reach, pitch, shift;
  int left;   // pixels of the image's row from the tile's first one on
  int pixel;  // of the thread's first element, in the tile; below 0 in front of it
  bool inside, first_of_row;
  std::int64_t base, step;  // of the k-th load: base + k * step
  float *inverse, *power;   // [pitch], pixel p of the tile at padded(p + V)
  SharedSums<T> partial;    // [rows][pitch]

  __device__ __forceinline__ ShiftedPlace(const NormArgs& a, int lanes, std::uint32_t tiles_of_image, float* floats) {
    const int tid = static_cast<int>(threadIdx.x);
    row = tid / lanes;
    rows = static_cast<int>(blockDim.x) / lanes;
    lane = tid - row * lanes;
    columns = lanes * V;
    tile_pixels = columns - 2 * V;
    reach = tile_pixels + V;
    pitch = padded<V>(columns + V);
    inverse = floats;
    power = inverse + pitch;
    partial = {power + pitch, rows * pitch};
    const std::uint32_t image = blockIdx.x / tiles_of_image;
    const std::int64_t first_pixel = std::int64_t{blockIdx.x - image * tiles_of_image} * tile_pixels;
    first_of_row = first_pixel == 0;
    left = static_cast<int>(min(a.pixels - first_pixel, std::int64_t{2} * columns));
    const std::int64_t start = (std::int64_t{image} * a.channels + row) * a.pixels + first_pixel;
    shift = static_cast<int>(start % V);
    pixel = lane * V - shift;
    base = start + pixel;
    step = std::int64_t{rows} * a.pixels;
    inside = pixel < left;
  }
  __device__ __forceinline__ bool stored() const {  // else by a neighbour
    return inside && pixel < tile_pixels && (pixel >= 0 || first_of_row);
  }
  // Of all channels, for thread t < reach of the tile's pixel t.
  __device__ __forceinline__ SquareSum<T> sum_pixels(const SquareSum<T> (&sums)[V]) const {
    const int tid = static_cast<int>(threadIdx.x);
#pragma unroll
    for (int j = 0; j < V; ++j) partial.put(row * pitch + padded<V>(pixel + j + V), sums[j]);
    __syncthreads();
    SquareSum<T> all;
    if (tid < reach) {
#pragma unroll 8
      for (int g = 0; g < rows; ++g) all.join(partial.get(g * pitch + padded<V>(tid + V)));
    }
    return all;
  }
  __device__ __forceinline__ void get(const float* from, float (&v)[V]) const {
    int first = pixel + V;
    keep(first);  // not V addresses over the barrier
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] = from[padded<V>(first + j)];
  }
};

// x, or x + residual, rounded, at `offset`, at the tensor's end too.
template <class T>
__device__ __forceinline__ uint4 load_at_end(const NormArgs& a, std::int64_t offset) {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  const std::int64_t elements = a.images * a.channels * a.pixels;
  const uint4 word = load_some<T, V>(a.x, offset, elements);
  if (a.formula.residual_mode != ResidualMode::before) return word;
  return add_packs<T, V>(word, load_some<T, V>(a.residual, offset, elements));
}

// One pack of `channel`, times r and, if not null, power (see SplitInverse); `add`: of the residual.
template <class T, NormChain kChain>
__device__ __forceinline__ uint4 normalised(const NormArgs& a, const uint4& word, int channel, const float (&r)[16 / sizeof(T)],
                                            const float* power, const uint4& add) {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  float v[V];
  unpack<T, V>(word, v);
  if (power != nullptr) {
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] *= power[j];
  }
  scale_and_shift_row<T, kChain>(a, v, r, channel_affine(static_cast<const T*>(a.weight), static_cast<const T*>(a.bias), channel));
  finish<T, kChain == NormChain::full, V>(a.formula, v, add);
  return pack<T, V>(v);
}

// What a thread stores where a pack may stand on an image's border, or pixels are scaled by `power`: from memory, out of line.
template <class T>
__device__ __noinline__ void store_by_element(const NormArgs& a, int lanes, int loads, std::uint32_t tiles_of_image, float* floats,
                                              bool scaled) {
  constexpr int V = ShiftedPlace<T>::V;
  const ShiftedPlace<T> at(a, lanes, tiles_of_image, floats);
  float power[V], r[V];
  at.get(at.inverse, r);
#pragma unroll
  for (int j = 0; j < V; ++j) power[j] = 1.0F;
  if (scaled) at.get(at.power, power);
#pragma unroll 1
  for (int k = 0; k < loads; ++k) {
    const int channel = at.row + k * at.rows;
    const std::int64_t offset = at.base + k * at.step;
    if (channel >= static_cast<int>(a.channels)) break;
    uint4 add{};
    if (a.formula.residual_mode == ResidualMode::after) add = load_some<T, V>(a.residual, offset, a.images * a.channels * a.pixels);
    const uint4 word = normalised<T, NormChain::full>(a, load_at_end<T>(a, offset), channel, r, power, add);
    store_some<T, V>(static_cast<T*>(a.y) + offset, word, at.pixel, 0, at.left);
  }
}

// A tile with pixels whose squares leave the range of f32; `power` holds their sums. Rare: everything again, scaled, from memory rather
// than from registers, and out of line, so that it costs others nothing.
template <class T>
__device__ __noinline__ void scaled_shifted_tile(const NormArgs& a, int lanes, int loads, std::uint32_t tiles_of_image, float* floats) {
  constexpr int V = ShiftedPlace<T>::V;
  const NormFormula& f = a.formula;
  const ShiftedPlace<T> at(a, lanes, tiles_of_image, floats);
  const int tid = static_cast<int>(threadIdx.x), own = padded<V>(tid + V), channels = static_cast<int>(a.channels);
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
  for (int k = 0; k < loads; ++k) {
    if (!at.inside || at.row + k * at.rows >= channels) continue;
    float v[V];
    unpack<T, V>(load_at_end<T>(a, at.base + k * at.step), v);
#pragma unroll
    for (int j = 0; j < V; ++j) squares[j].add(v[j] * powers[j]);
  }
  const double scaled = at.sum_pixels(squares).exact();
  __syncthreads();
  if (tid < at.reach && scale != 1.0F) {
    const SplitInverse split = split_inverse_rms(f, scaled, scale);
    at.power[own] = split.power;
    at.inverse[own] = split.rest;
  }
  __syncthreads();
  if (at.stored()) store_by_element<T>(a, lanes, loads, tiles_of_image, floats, true);
}

// nchw_tile with a shift: rows that begin anywhere, moved by accesses of 16 bytes all the same. The block stores the packs that begin in
// the tile, lanes - 2 of each row, whole; so the pixels of the last pack's far side are summed too. Neighbouring tiles load 2 packs of a
// row twice, the second time from L2: y must not be what is read. Rows of threads are a multiple of V.
template <class T, int K, NormChain kChain>
__global__ void __launch_bounds__(512)
    rms_norm2d_nchw_shifted_tile_per_block(const __grid_constant__ NormArgs a, int lanes, std::uint32_t tiles_of_image) {
  constexpr int V = ShiftedPlace<T>::V;
  extern __shared__ float floats[];
  const NormFormula& f = a.formula;
  const ShiftedPlace<T> at(a, lanes, tiles_of_image, floats);
  const int tid = static_cast<int>(threadIdx.x), channels = static_cast<int>(a.channels);

  if (blockIdx.x < a.early_blocks && at.lane == 0) {
    const std::int64_t elements = a.images * a.channels * a.pixels;
    const int packs = min(at.columns, (at.left + at.shift + V - 1) / V * V);
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (at.row + k * at.rows < channels && at.base + k * at.step + at.columns <= elements)
        prefetch_to_l2(static_cast<const T*>(a.x) + at.base + k * at.step, static_cast<unsigned>(packs) * static_cast<unsigned>(sizeof(T)));
    }
  }
  pdl_wait();
  uint4 x[K];
  if (at.base + (K - 1) * at.step + V <= a.images * a.channels * a.pixels) {  // so that no branches stand between the loads
    const auto load_all = [&](const void* from, auto&& put) {
      const T* p = static_cast<const T*>(from) + at.base;
#pragma unroll
      for (int k = 0; k < K; ++k) {
        if (at.inside && at.row + k * at.rows < channels) put(k, *reinterpret_cast<const uint4*>(p + k * at.step));
      }
    };
#pragma unroll
    for (int k = 0; k < K; ++k) x[k] = uint4{};
    load_all(a.x, [&](int k, const uint4& word) { x[k] = word; });
    if (kChain == NormChain::full && f.residual_mode == ResidualMode::before) {
      load_all(a.residual, [&](int k, const uint4& word) { x[k] = add_packs<T, V>(x[k], word); });
    }
  } else {
#pragma unroll
    for (int k = 0; k < K; ++k) {
      x[k] = uint4{};
      if (at.inside && at.row + k * at.rows < channels) x[k] = load_at_end<T>(a, at.base + k * at.step);
    }
  }
  pdl_trigger();
  SquareSum<T> squares[V];
#pragma unroll
  for (int k = 0; k < K; ++k) {
    float v[V];
    unpack<T, V>(x[k], v);
#pragma unroll
    for (int j = 0; j < V; ++j) squares[j].add(v[j]);
  }
  const SquareSum<T> sum = at.sum_pixels(squares);
  bool special = false;
  if (tid < at.reach) {
    at.inverse[padded<V>(tid + V)] = inverse_rms<T>(f, sum);
    if (kMayLeaveRange<T>) special = tid < at.left && left_range(f, at.power[padded<V>(tid + V)] = sum.value());
  }
  if (kMayLeaveRange<T>) {
    if (__syncthreads_or(special)) return scaled_shifted_tile<T>(a, lanes, K, tiles_of_image, floats);
  } else {
    __syncthreads();
  }
  if (!at.stored()) return;
  if (at.pixel < 0 || at.pixel + V > at.left) return store_by_element<T>(a, lanes, K, tiles_of_image, floats, false);
  std::int64_t to = at.base, stride = at.step;  // not all the offsets over the barrier
  keep(to), keep(stride);
  float r[V];
  at.get(at.inverse, r);
#pragma unroll
  for (int k = 0; k < K; ++k) {
    const int channel = at.row + k * at.rows;
    if (channel >= channels) continue;
    keep(x[k]);
    uint4 add{};
    if (kChain == NormChain::full && f.residual_mode == ResidualMode::after) {
      const T* p = static_cast<const T*>(a.residual) + to + k * stride;
      add = *reinterpret_cast<const uint4*>(p);
    }
    *reinterpret_cast<uint4*>(static_cast<T*>(a.y) + to + k * stride) = normalised<T, kChain>(a, x[k], channel, r, nullptr, add);
  }
}

// The 16 bytes that begin `bytes`, 0 to 15, behind the beginning of `low`, which `high` follows.
template <class T>
__device__ __forceinline__ uint4 across(const uint4& low, const uint4& high, int bytes) {
  unsigned w[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
  for (int i = 0; i < 6; ++i) w[i] = (bytes & 8) != 0 ? w[i + 2] : w[i];
#pragma unroll
  for (int i = 0; i < 5; ++i) w[i] = (bytes & 4) != 0 ? w[i + 1] : w[i];
  if constexpr (sizeof(T) == 2) {
#pragma unroll
    for (int i = 0; i < 4; ++i) w[i] = __funnelshift_r(w[i], w[i + 1], (bytes & 2) * 8);
  }
  return make_uint4(w[0], w[1], w[2], w[3]);
}
// The pack of the lane before (-1) or behind (1).
template <int kWhere>
__device__ __forceinline__ uint4 neighbour(const uint4& w) {
  const auto swap = [](unsigned v) { return kWhere > 0 ? __shfl_down_sync(~0U, v, 1) : __shfl_up_sync(~0U, v, 1); };
  return make_uint4(swap(w.x), swap(w.y), swap(w.z), swap(w.w));
}

// Few channels: a warp loads a window of 32 packs of each channel's row, the lanes swap parts of them, so that each has the same V pixels
// of all C rows in registers, and swap again before the store. It stores whole packs, 1 to 30 of the window: V * 30 pixels of each row,
// which begin up to V - 1 before those of a row of another shift. Only a row's ends are stored by element.
// kScaled: pixels whose squares leave the range of f32 are scaled; otherwise, if there are any, nothing is stored and true returned.
template <class T, int C, NormChain kChain, bool kScaled>
__device__ __forceinline__ bool shifted_tile_of_warp(const NormArgs& a, std::uint32_t tiles_of_image) {
  constexpr int V = 16 / static_cast<int>(sizeof(T)), kSize = static_cast<int>(sizeof(T));
  const NormFormula& f = a.formula;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const std::uint32_t tile = blockIdx.x * (blockDim.x / 32) + warp, image = tile / tiles_of_image;
  if (image >= a.images) return false;
  const std::int64_t first_pixel = std::int64_t{tile - image * tiles_of_image} * (30 * V) - V;  // of lane 0
  const std::int64_t elements = a.images * C * a.pixels, start = std::int64_t{image} * C * a.pixels + first_pixel;
  // Of row c: where the window begins in the tensor, and the elements of it in front of lane 0's pixels.
  const auto shift = [&](int c) { return static_cast<int>((start + c * a.pixels) & (V - 1)); };
  const auto place = [&](int c) { return start + c * a.pixels - shift(c) + lane * V; };
  const auto load = [&](const void* from, int c) {
    const std::int64_t at = place(c);
    return at >= 0 ? load_some<T, V>(from, at, elements) : uint4{};
  };

  if (!kScaled && blockIdx.x < a.early_blocks && lane < C) {
    const std::int64_t from = start + lane * a.pixels - shift(lane);
    if (from >= 0 && from + 32 * V <= elements) prefetch_to_l2(static_cast<const T*>(a.x) + from, 512);
  }
  pdl_wait();
  uint4 x[C];                                           // the window's packs, then those of the thread's pixels
  if (place(0) >= 0 && place(C - 1) + V <= elements) {  // so that no branches stand between the loads
#pragma unroll
    for (int c = 0; c < C; ++c) x[c] = *reinterpret_cast<const uint4*>(static_cast<const T*>(a.x) + place(c));
  } else {
#pragma unroll
    for (int c = 0; c < C; ++c) x[c] = load(a.x, c);
  }
  pdl_trigger();
  const auto to_pixels = [&](const uint4& w, int c) { return across<T>(w, neighbour<1>(w), shift(c) * kSize); };
#pragma unroll
  for (int c = 0; c < C; ++c) {
    x[c] = to_pixels(x[c], c);
    if (kChain == NormChain::full && f.residual_mode == ResidualMode::before) {
      x[c] = add_packs<T, V>(x[c], to_pixels(load(a.residual, c), c));
    }
  }
  const std::int64_t pixel = first_pixel + lane * V;
  SquareSum<T> sums[V];
#pragma unroll
  for (int c = 0; c < C; ++c) {
    float v[V];
    unpack<T, V>(x[c], v);
#pragma unroll
    for (int j = 0; j < V; ++j) sums[j].add(v[j]);
  }
  float r[V];
  bool special = false;
#pragma unroll
  for (int j = 0; j < V; ++j) {
    r[j] = inverse_rms<T>(f, sums[j]);
    if (kMayLeaveRange<T>) special = special || (left_range(f, sums[j].value()) && pixel + j >= 0 && pixel + j < a.pixels);
  }
  [[maybe_unused]] float power[V];
  if constexpr (kScaled) {
    uint4 words[C];
    float rest[V];
#pragma unroll
    for (int c = 0; c < C; ++c) words[c] = x[c];
#pragma unroll
    for (int j = 0; j < V; ++j) rest[j] = r[j];
    split_pixels(f, reinterpret_cast<const T*>(words), V, 1, V, rest, power);
#pragma unroll
    for (int j = 0; j < V; ++j) r[j] = rest[j];
  } else if (kMayLeaveRange<T> && __any_sync(~0U, special)) {
    return true;
  }
#pragma unroll
  for (int c = 0; c < C; ++c) {
    keep(x[c]);
    float v[V];
    unpack<T, V>(x[c], v);
    if constexpr (kScaled) {
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] *= power[j];
    }
    scale_and_shift_row<T, kChain>(a, v, r, channel_affine(static_cast<const T*>(a.weight), static_cast<const T*>(a.bias), c));
    uint4 add{};
    if (kChain == NormChain::full && f.residual_mode == ResidualMode::after) add = to_pixels(load(a.residual, c), c);
    finish<T, kChain == NormChain::full, V>(f, v, add);
    const uint4 own = pack<T, V>(v), before = neighbour<-1>(own);
    const int bytes = shift(c) * kSize;
    const uint4 out = bytes == 0 ? own : across<T>(before, own, 16 - bytes);
    const std::int64_t at = pixel - shift(c);  // the pixel of the pack's first element
    if (lane > 0 && lane < 31 && at < a.pixels) {
      const int from = static_cast<int>(min(at, std::int64_t{0}));  // below 0 in front of the row
      store_some<T, V>(static_cast<T*>(a.y) + place(c), out, from, 0, from + static_cast<int>(min(a.pixels - at, std::int64_t{V})));
    }
  }
  return false;
}
template <class T, int C>
__device__ __noinline__ void scaled_shifted_tile_of_warp(const NormArgs& a, std::uint32_t tiles_of_image) {
  shifted_tile_of_warp<T, C, NormChain::full, true>(a, tiles_of_image);
}

template <class T, int C, NormChain kChain>
__global__ void __launch_bounds__(256, kChain == NormChain::full || sizeof(T) == 4 ? 4 : 5)
    rms_norm2d_nchw_shifted_tile_per_warp(const __grid_constant__ NormArgs a, std::uint32_t tiles_of_image) {
  if (shifted_tile_of_warp<T, C, kChain, false>(a, tiles_of_image)) scaled_shifted_tile_of_warp<T, C>(a, tiles_of_image);
}

template <class T, NormChain kChain>
void (*pick_tile(int loads))(NormArgs, int, std::uint32_t) {
  switch (loads) {
    case 4: return &rms_norm2d_nchw_shifted_tile_per_block<T, 4, kChain>;
    case 8: return &rms_norm2d_nchw_shifted_tile_per_block<T, 8, kChain>;
    default: break;
  }
  if constexpr (kChain != NormChain::full) {
    if (loads == 2) return &rms_norm2d_nchw_shifted_tile_per_block<T, 2, kChain>;
    if (loads == 6) return &rms_norm2d_nchw_shifted_tile_per_block<T, 6, kChain>;
    if (loads == 3) return &rms_norm2d_nchw_shifted_tile_per_block<T, 3, kChain>;
    if (loads == 12) return &rms_norm2d_nchw_shifted_tile_per_block<T, 12, kChain>;
    if (loads == 16) return &rms_norm2d_nchw_shifted_tile_per_block<T, 16, kChain>;
  }
  throw CudaError(concat_text("RMSNorm2d has no nchw shifted kernel of ", loads, " loads"));
}

template <class T, NormChain kChain>
void (*pick_warp(std::int64_t channels))(NormArgs, std::uint32_t) {
  switch (channels) {
    case 2: return &rms_norm2d_nchw_shifted_tile_per_warp<T, 2, kChain>;
    case 3: return &rms_norm2d_nchw_shifted_tile_per_warp<T, 3, kChain>;
    case 4: return &rms_norm2d_nchw_shifted_tile_per_warp<T, 4, kChain>;
    default: throw CudaError(concat_text("RMSNorm2d has no nchw shifted kernel of ", channels, " channels a warp"));
  }
}

}  // namespace

void launch_nchw_shifted(const NormConfig& c, DType dtype, const NormArgs& args, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    const bool full = is_full(args.formula);  // a missing weight or bias costs nothing here
    // A warp's tile begins up to a pack before its place.
    const std::int64_t tile_pixels = (c.lanes - 2) * c.vector, reach = args.pixels + (c.loads == 1 ? c.vector - 1 : 0);
    const std::int64_t tiles = ceil_div(reach, tile_pixels);
    LaunchShape shape{dim3(), dim3(static_cast<unsigned>(c.threads)), norm_shared_bytes(c, args.channels, dtype)};
    shape.dependent = true;
    if (c.loads == 1) {
      shape.grid = grid_of(ceil_div<std::int64_t>(tiles * args.images, c.threads / 32));
      launch_kernel(full ? pick_warp<T, NormChain::full>(args.channels) : pick_warp<T, NormChain::affine>(args.channels), shape, stream,
                    args, static_cast<std::uint32_t>(tiles));
    } else {
      shape.grid = grid_of(tiles * args.images);
      launch_kernel(full ? pick_tile<T, NormChain::full>(c.loads) : pick_tile<T, NormChain::affine>(c.loads), shape, stream, args, c.lanes,
                    static_cast<std::uint32_t>(tiles));
    }
  });
}

}  // namespace frieze::cuda
