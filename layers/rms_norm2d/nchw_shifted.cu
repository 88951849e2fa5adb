#include <frieze/layers/rms_norm2d/cuda/normalise.cuh>

namespace frieze::cuda {
namespace {

// Threads read and write V neighbouring floats each; a gap behind every V puts them into different banks.
template <int V>
__device__ __forceinline__ int padded(int i) {
  return i + i / V;
}

// Rows of pixels that begin anywhere, moved by accesses of 16 bytes all the same: nchw_tile with a shift. From each channel's row the
// block loads a window of `lanes` packs, beginning at the multiple of 16 bytes at or before the tile's first pixel: `shift` elements
// before it, the same number for all rows of a thread, since they are a multiple of V channels apart. It stores the packs that begin in
// the tile, lanes - 2 of each row, whole; so the pixels of the last pack's far side are summed too. Neighbouring tiles load 2 packs
// of a row twice, the second time from L2: y must not be what is read.
template <class T, int K, bool kFull>
__global__ void __launch_bounds__(512)
    rms_norm2d_nchw_shifted_tile_per_block(const __grid_constant__ NormArgs a, int lanes_log2, std::uint32_t tiles_of_image) {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  using W = WordOf<T, V>;
  extern __shared__ float floats[];
  const NormFormula& f = a.formula;
  const int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int lanes = 1 << lanes_log2, lane = tid & (lanes - 1), row = tid >> lanes_log2, rows = threads >> lanes_log2;
  const int columns = lanes * V, tile_pixels = columns - 2 * V, pitch = padded<V>(columns + V), reach = tile_pixels + V;
  float* const inverse = floats;                             // [pitch], pixel p of the tile at padded(p + V)
  float* const power = inverse + pitch;                      // [pitch]
  const SharedSums<T> partial{power + pitch, rows * pitch};  // [rows][pitch]
  const int channels = static_cast<int>(a.channels);

  const std::uint32_t image = blockIdx.x / tiles_of_image;
  const std::int64_t first_pixel = std::int64_t{blockIdx.x - image * tiles_of_image} * tile_pixels;
  const int left = static_cast<int>(min(a.pixels - first_pixel, std::int64_t{2} * columns));  // pixels of a row from here on
  const std::int64_t start = (std::int64_t{image} * channels + row) * a.pixels + first_pixel, elements = a.images * a.channels * a.pixels;
  const int shift = static_cast<int>(start % V), pixel = lane * V - shift;
  const std::int64_t base = start + pixel, step = std::int64_t{rows} * a.pixels;
  const bool inside = pixel < left;

  if (blockIdx.x < a.early_blocks && lane == 0) {
    const unsigned bytes = static_cast<unsigned>(min(columns, (left + shift + V - 1) / V * V)) * static_cast<unsigned>(sizeof(T));
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (row + k * rows < channels && base + k * step + columns <= elements)
        prefetch_to_l2(static_cast<const T*>(a.x) + base + k * step, bytes);
    }
  }
  // x, or x + residual, rounded, of the k-th load.
  const auto load = [&](int k) {
    const W word = load_some<T, V>(a.x, base + k * step, elements);
    if (!kFull || f.residual_mode != ResidualMode::before) return word;
    float v[V], add[V];
    unpack<T, V>(word, v);
    unpack<T, V>(load_some<T, V>(a.residual, base + k * step, elements), add);
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] += add[j];
    return pack<T, V>(v);
  };
  pdl_wait();
  W x[K];
#pragma unroll
  for (int k = 0; k < K; ++k) {
    x[k] = W{};
    if (inside && row + k * rows < channels) x[k] = load(k);
  }
  pdl_trigger();
  // Of all channels, for thread t < reach of the tile's pixel t.
  const auto sum_pixels = [&](const SquareSum<T>(&sum)[V]) {
#pragma unroll
    for (int j = 0; j < V; ++j) partial.put(row * pitch + padded<V>(pixel + j + V), sum[j]);
    __syncthreads();
    SquareSum<T> all;
    if (tid < reach) {
#pragma unroll 8
      for (int g = 0; g < rows; ++g) all.join(partial.get(g * pitch + padded<V>(tid + V)));
    }
    return all;
  };
  SquareSum<T> squares[V];
#pragma unroll
  for (int k = 0; k < K; ++k) {
    float v[V];
    unpack<T, V>(x[k], v);
#pragma unroll
    for (int j = 0; j < V; ++j) squares[j].add(v[j]);
  }
  const int own = padded<V>(tid + V);
  const SquareSum<T> sum = sum_pixels(squares);
  bool special = false;
  if (tid < reach) {
    inverse[own] = inverse_rms<T>(f, sum);
    if (kMayLeaveRange<T>) special = tid < left && left_range(f, sum.value());
  }
  if (kMayLeaveRange<T>) {
    special = __syncthreads_or(special);
  } else {
    __syncthreads();
  }

  const bool stored = inside && pixel < tile_pixels && (pixel >= 0 || first_pixel == 0);  // else by a neighbour
  const T* __restrict__ weight = static_cast<const T*>(a.weight);
  const T* __restrict__ bias = static_cast<const T*>(a.bias);
  const auto store = [&](const W& word, int k, const float(&r)[V], const float* powers) {
    const int channel = row + k * rows;
    float v[V];
    unpack<T, V>(word, v);
    if (powers != nullptr) {
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] *= powers[padded<V>(pixel + j + V)];
    }
    const float w = weight != nullptr ? widen(weight[channel]) : 1.0F, b = bias != nullptr ? widen(bias[channel]) : 0.0F;
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] = scale_and_shift<T, kFull>(f, v[j], r[j], weight != nullptr, w, bias != nullptr, b);
    W add{};
    if (kFull && f.residual_mode == ResidualMode::after) add = load_some<T, V>(a.residual, base + k * step, elements);
    finish<T, kFull, V>(f, v, add);
    store_some<T, V>(static_cast<T*>(a.y) + base + k * step, pack<T, V>(v), pixel, 0, left);
  };
  float r[V];
  if (kMayLeaveRange<T> && special) {
    // Rare: everything again, scaled, from memory rather than from registers, which this path must not cost all others.
    const float scale = tid < left ? range_scale(f, sum.value()) : 1.0F;
    for (int i = tid; i < pitch; i += threads) power[i] = 1.0F;  // what stands before the tile is stored by its neighbour
    __syncthreads();
    if (tid < reach) power[own] = scale;
    __syncthreads();
#pragma unroll
    for (int j = 0; j < V; ++j) squares[j] = {};
#pragma unroll 1
    for (int k = 0; k < K; ++k) {
      if (!inside || row + k * rows >= channels) continue;
      float v[V];
      unpack<T, V>(load(k), v);
#pragma unroll
      for (int j = 0; j < V; ++j) squares[j].add(v[j] * power[padded<V>(pixel + j + V)]);
    }
    const double scaled = sum_pixels(squares).exact();
    __syncthreads();
    if (tid < reach && scale != 1.0F) {
      const SplitInverse split = split_inverse_rms(f, scaled, scale);
      power[own] = split.power;
      inverse[own] = split.rest;
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < V; ++j) r[j] = inverse[padded<V>(pixel + j + V)];
#pragma unroll 1
    for (int k = 0; k < K; ++k) {
      if (stored && row + k * rows < channels) store(load(k), k, r, power);
    }
    return;
  }
  if (!stored) return;
#pragma unroll
  for (int j = 0; j < V; ++j) r[j] = inverse[padded<V>(pixel + j + V)];
#pragma unroll
  for (int k = 0; k < K; ++k) {
    if (row + k * rows >= channels) continue;
    keep(x[k]);
    store(x[k], k, r, nullptr);
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
template <class T, int C, bool kFull>
__global__ void __launch_bounds__(256)
    rms_norm2d_nchw_shifted_tile_per_warp(const __grid_constant__ NormArgs a, std::uint32_t tiles_of_image) {
  constexpr int V = 16 / static_cast<int>(sizeof(T)), kSize = static_cast<int>(sizeof(T));
  const NormFormula& f = a.formula;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const std::uint32_t tile = blockIdx.x * (blockDim.x / 32) + warp, image = tile / tiles_of_image;
  if (image >= a.images) return;
  const std::int64_t first_pixel = std::int64_t{tile - image * tiles_of_image} * (30 * V) - V;  // of lane 0
  const std::int64_t elements = a.images * C * a.pixels, start = std::int64_t{image} * C * a.pixels + first_pixel;
  // Of row c: where the window begins in the tensor, and the elements of it in front of lane 0's pixels.
  const auto shift = [&](int c) { return static_cast<int>((start + c * a.pixels) & (V - 1)); };
  const auto place = [&](int c) { return start + c * a.pixels - shift(c) + lane * V; };
  const auto load = [&](const void* from, int c) {
    const std::int64_t at = place(c);
    return at >= 0 ? load_some<T, V>(from, at, elements) : uint4{};
  };

  if (blockIdx.x < a.early_blocks && lane < C) {
    const std::int64_t from = start + lane * a.pixels - shift(lane);
    if (from >= 0 && from + 32 * V <= elements) prefetch_to_l2(static_cast<const T*>(a.x) + from, 512);
  }
  pdl_wait();
  uint4 x[C];  // the window's packs, then those of the thread's pixels
#pragma unroll
  for (int c = 0; c < C; ++c) x[c] = load(a.x, c);
  pdl_trigger();
  const auto to_pixels = [&](const uint4& w, int c) { return across<T>(w, neighbour<1>(w), shift(c) * kSize); };
#pragma unroll
  for (int c = 0; c < C; ++c) {
    x[c] = to_pixels(x[c], c);
    if (kFull && f.residual_mode == ResidualMode::before) {
      float v[V], add[V];
      unpack<T, V>(x[c], v);
      unpack<T, V>(to_pixels(load(a.residual, c), c), add);
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] += add[j];
      x[c] = pack<T, V>(v);
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
  const T* __restrict__ weight = static_cast<const T*>(a.weight);
  const T* __restrict__ bias = static_cast<const T*>(a.bias);
  const auto store = [&](const float* power) {
#pragma unroll
    for (int c = 0; c < C; ++c) {
      keep(x[c]);
      float v[V];
      unpack<T, V>(x[c], v);
      const float w = weight != nullptr ? widen(weight[c]) : 1.0F, b = bias != nullptr ? widen(bias[c]) : 0.0F;
#pragma unroll
      for (int j = 0; j < V; ++j) {
        v[j] = scale_and_shift<T, kFull>(f, power != nullptr ? v[j] * power[j] : v[j], r[j], weight != nullptr, w, bias != nullptr, b);
      }
      uint4 add{};
      if (kFull && f.residual_mode == ResidualMode::after) add = to_pixels(load(a.residual, c), c);
      finish<T, kFull, V>(f, v, add);
      const uint4 own = pack<T, V>(v), before = neighbour<-1>(own);
      const int bytes = shift(c) * kSize;
      const uint4 out = bytes == 0 ? own : across<T>(before, own, 16 - bytes);
      const std::int64_t at = pixel - shift(c);  // the pixel of the pack's first element
      if (lane > 0 && lane < 31 && at < a.pixels) {
        const int from = static_cast<int>(min(at, std::int64_t{0}));  // below 0 in front of the row
        store_some<T, V>(static_cast<T*>(a.y) + place(c), out, from, 0, from + static_cast<int>(min(a.pixels - at, std::int64_t{V})));
      }
    }
  };
  if (kMayLeaveRange<T> && __any_sync(~0U, special)) {
    uint4 words[C];
    float rest[V], power[V];
#pragma unroll
    for (int c = 0; c < C; ++c) words[c] = x[c];
#pragma unroll
    for (int j = 0; j < V; ++j) rest[j] = r[j];
    split_pixels(f, reinterpret_cast<const T*>(words), V, 1, V, rest, power);
#pragma unroll
    for (int j = 0; j < V; ++j) r[j] = rest[j];
    store(power);
  } else {
    store(nullptr);
  }
}

template <class T, bool kFull>
void (*pick_tile(int loads))(NormArgs, int, std::uint32_t) {
  switch (loads) {
    case 4: return &rms_norm2d_nchw_shifted_tile_per_block<T, 4, kFull>;
    case 8: return &rms_norm2d_nchw_shifted_tile_per_block<T, 8, kFull>;
    default: break;
  }
  if constexpr (!kFull) {
    if (loads == 2) return &rms_norm2d_nchw_shifted_tile_per_block<T, 2, kFull>;
    if (loads == 6) return &rms_norm2d_nchw_shifted_tile_per_block<T, 6, kFull>;
    if (loads == 3) return &rms_norm2d_nchw_shifted_tile_per_block<T, 3, kFull>;
    if (loads == 12) return &rms_norm2d_nchw_shifted_tile_per_block<T, 12, kFull>;
    if (loads == 16) return &rms_norm2d_nchw_shifted_tile_per_block<T, 16, kFull>;
  }
  throw CudaError(concat_text("RMSNorm2d has no nchw shifted kernel of ", loads, " loads"));
}

template <class T, bool kFull>
void (*pick_warp(std::int64_t channels))(NormArgs, std::uint32_t) {
  switch (channels) {
    case 2: return &rms_norm2d_nchw_shifted_tile_per_warp<T, 2, kFull>;
    case 3: return &rms_norm2d_nchw_shifted_tile_per_warp<T, 3, kFull>;
    case 4: return &rms_norm2d_nchw_shifted_tile_per_warp<T, 4, kFull>;
    default: throw CudaError(concat_text("RMSNorm2d has no nchw shifted kernel of ", channels, " channels a warp"));
  }
}

}  // namespace

void launch_nchw_shifted(const NormConfig& c, DType dtype, const NormArgs& args, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    const bool full = is_full(args.formula);
    // A warp's tile begins up to a pack before its place.
    const std::int64_t tile_pixels = (c.lanes - 2) * c.vector, reach = args.pixels + (c.loads == 1 ? c.vector - 1 : 0);
    const std::int64_t tiles = ceil_div(reach, tile_pixels);
    LaunchShape shape{dim3(), dim3(static_cast<unsigned>(c.threads)), norm_shared_bytes(c, args.channels, dtype)};
    shape.dependent = true;
    if (c.loads == 1) {
      shape.grid = grid_of(ceil_div<std::int64_t>(tiles * args.images, c.threads / 32));
      launch_kernel(full ? pick_warp<T, true>(args.channels) : pick_warp<T, false>(args.channels), shape, stream, args,
                    static_cast<std::uint32_t>(tiles));
    } else {
      shape.grid = grid_of(tiles * args.images);
      launch_kernel(full ? pick_tile<T, true>(c.loads) : pick_tile<T, false>(c.loads), shape, stream, args, log2_of(c.lanes),
                    static_cast<std::uint32_t>(tiles));
    }
  });
}

}  // namespace frieze::cuda
