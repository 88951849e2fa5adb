#include <frieze/layers/rms_norm2d/cuda/normalise.cuh>

namespace frieze::cuda {
namespace {

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
// of all rows, and swap again before the store. It stores whole packs, 1 to 30 of the window: V * 30 pixels of each row, which begin up to
// V - 1 before those of a row of another shift. Only a row's ends are stored by element.
// kScaled: pixels whose squares leave the range of f32 are scaled, and C is the most channels that there may be; otherwise, if there are
// such pixels, nothing is stored and true returned.
template <class T, int C, NormChain kChain, bool kScaled>
__device__ __forceinline__ bool tile_of_warp(const NormArgs& a, std::uint32_t tiles_of_image) {
  constexpr int V = 16 / static_cast<int>(sizeof(T)), kSize = static_cast<int>(sizeof(T)), kUnroll = kScaled ? 1 : C;
  const NormFormula& f = a.formula;
  const int channels = kScaled ? static_cast<int>(a.channels) : C;  // known, as branches between channels cost a tenth of the time
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const std::uint32_t tile = blockIdx.x * (blockDim.x / 32) + warp, image = tile / tiles_of_image;
  if (image >= a.images) return false;
  const std::int64_t first_pixel = std::int64_t{tile - image * tiles_of_image} * (30 * V) - V;  // of lane 0
  const std::int64_t elements = a.images * channels * a.pixels, start = std::int64_t{image} * channels * a.pixels + first_pixel;
  // Of row c: where the window begins in the tensor, and the elements of it in front of lane 0's pixels.
  const auto shift = [&](int c) { return static_cast<int>((start + c * a.pixels) & (V - 1)); };
  const auto place = [&](int c) { return start + c * a.pixels - shift(c) + lane * V; };
  const auto load = [&](const void* from, int c) {
    const std::int64_t at = place(c);
    return at >= 0 ? load_some<T, V>(from, at, elements) : uint4{};
  };
  uint4 x[C];  // the window's packs, then those of the thread's pixels

  if (!kScaled && blockIdx.x < a.early_blocks && lane < channels) {
    const std::int64_t from = start + lane * a.pixels - shift(lane);
    if (from >= 0 && from + 32 * V <= elements) prefetch_to_l2(static_cast<const T*>(a.x) + from, 512);
  }
  pdl_wait();
  if (place(0) >= 0 && place(channels - 1) + V <= elements) {  // so that no branches stand between the loads
#pragma unroll kUnroll
    for (int c = 0; c < channels; ++c) x[c] = *reinterpret_cast<const uint4*>(static_cast<const T*>(a.x) + place(c));
  } else {
#pragma unroll kUnroll
    for (int c = 0; c < channels; ++c) x[c] = load(a.x, c);
  }
  pdl_trigger();
  const auto to_pixels = [&](const uint4& w, int c) { return across<T>(w, neighbour<1>(w), shift(c) * kSize); };
  SquareSum<T> sums[V];
#pragma unroll kUnroll
  for (int c = 0; c < channels; ++c) {
    uint4 word = to_pixels(x[c], c);
    if (kChain == NormChain::full && f.residual_mode == ResidualMode::before)
      word = add_packs<T, V>(word, to_pixels(load(a.residual, c), c));
    x[c] = word;
    float v[V];
    unpack<T, V>(word, v);
#pragma unroll
    for (int j = 0; j < V; ++j) sums[j].add(v[j]);
  }
  const std::int64_t pixel = first_pixel + lane * V;
  float r[V];
  bool special = false;
#pragma unroll
  for (int j = 0; j < V; ++j) {
    r[j] = inverse_rms<T>(f, sums[j]);
    if (kMayLeaveRange<T>) special = special || (left_range(f, sums[j].value()) && pixel + j >= 0 && pixel + j < a.pixels);
  }
  [[maybe_unused]] float power[V];
  if constexpr (kScaled) {
    float rest[V];
#pragma unroll
    for (int j = 0; j < V; ++j) rest[j] = r[j];
    split_pixels(f, reinterpret_cast<const T*>(x), V, 1, V, rest, power);
#pragma unroll
    for (int j = 0; j < V; ++j) r[j] = rest[j];
  } else if (kMayLeaveRange<T> && __any_sync(~0U, special)) {
    return true;
  }
#pragma unroll kUnroll
  for (int c = 0; c < channels; ++c) {
    uint4 word = x[c];
    keep(word);
    float v[V];
    unpack<T, V>(word, v);
    if constexpr (kScaled) {
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] *= power[j];
    }
    scale_and_shift_row<T, kChain>(a, v, r, channel_affine(static_cast<const T*>(a.weight), static_cast<const T*>(a.bias), c));
    if constexpr (kChain == NormChain::silu) {
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] = quick_silu<T>(v[j]);
    }
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
template <class T>
__device__ __noinline__ void scaled_tile_of_warp(const NormArgs& a, std::uint32_t tiles_of_image) {
  tile_of_warp<T, kMostFewChannels, NormChain::full, true>(a, tiles_of_image);
}

constexpr int few_blocks_of_sm(int channels, bool half, NormChain chain) {
  return channels > 4 ? 3 : half && chain != NormChain::full ? 5 : 4;
}

template <class T, int C, NormChain kChain>
__global__ void __launch_bounds__(256, few_blocks_of_sm(C, sizeof(T) == 2, kChain))
    rms_norm2d_nchw_few_tile_per_warp(const __grid_constant__ NormArgs a, std::uint32_t tiles_of_image) {
  if (tile_of_warp<T, C, kChain, false>(a, tiles_of_image)) scaled_tile_of_warp<T>(a, tiles_of_image);
}

template <class T, NormChain kChain>
void (*pick_warp(std::int64_t channels))(NormArgs, std::uint32_t) {
  switch (channels) {
    case 2: return &rms_norm2d_nchw_few_tile_per_warp<T, 2, kChain>;
    case 3: return &rms_norm2d_nchw_few_tile_per_warp<T, 3, kChain>;
    case 4: return &rms_norm2d_nchw_few_tile_per_warp<T, 4, kChain>;
    default: break;
  }
  if constexpr (kChain != NormChain::full) {
    if (channels == kMostFewChannels) return &rms_norm2d_nchw_few_tile_per_warp<T, kMostFewChannels, kChain>;
  }
  throw CudaError(concat_text("RMSNorm2d has no nchw few kernel of ", channels, " channels"));
}

}  // namespace

void launch_nchw_few(const NormConfig& c, DType dtype, const NormArgs& args, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    // A warp's tile begins up to a pack before its place.
    const std::int64_t tiles = ceil_div<std::int64_t>(args.pixels + c.vector - 1, std::int64_t{c.lanes - 2} * c.vector);
    const LaunchShape shape = norm_launch_shape(c, dtype, args);
    const NormChain chain = chain_of(args);  // a missing weight or bias costs nothing here
    const auto kernel = chain == NormChain::full   ? pick_warp<T, NormChain::full>(args.channels)
                        : chain == NormChain::silu ? pick_warp<T, NormChain::silu>(args.channels)
                                                   : pick_warp<T, NormChain::affine>(args.channels);
    launch_kernel(kernel, shape, stream, with_early_blocks(args, shape), static_cast<std::uint32_t>(tiles));
  });
}

}  // namespace frieze::cuda
