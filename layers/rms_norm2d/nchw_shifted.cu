#include <frieze/layers/rms_norm2d/cuda/async_copy.cuh>
#include <frieze/layers/rms_norm2d/cuda/normalise.cuh>

namespace frieze::cuda {
namespace {

// Where a kernel's pieces of shared memory begin, for one tile; sizes in floats but the window's, in packs.
struct ShiftedShared {
  int window, partial, copies, power;
  std::size_t bytes;
};

__host__ __device__ inline ShiftedShared shifted_shared(int channels, int lanes, int vector, int groups) {
  const int columns = lanes * vector, pitch = columns + vector;
  ShiftedShared s;
  s.window = channels * lanes;
  s.partial = groups * columns;
  s.copies = (channels < vector ? channels : vector) * pitch;
  s.power = pitch;
  s.bytes = static_cast<std::size_t>(s.window) * 16 + static_cast<std::size_t>(s.partial + s.copies + s.power) * 4;
  return s;
}

// Rows of pixels that begin anywhere, moved by accesses of 16 bytes all the same. From each channel's row a window of `lanes` packs is
// copied, beginning at the multiple of 16 bytes at or before the tile's first pixel: `shift` elements before it, another number for each
// row. Stored are the packs that begin in the tile, lanes - 2 of each row, whole; so the pixels of the last pack's far side are summed
// too. Neighbouring tiles load 2 packs of a row twice, the second time from L2.
// `lanes` threads own a row. A tile belongs to the whole block or, where channels are few, to one warp; then nobody waits for another.
template <class T, bool kFull>
__global__ void __launch_bounds__(512)
    rms_norm2d_nchw_shifted_windows(const __grid_constant__ NormArgs a, int lanes_log2, bool tile_per_warp, std::uint32_t tiles_of_image) {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  using W = WordOf<T, V>;
  extern __shared__ uint4 shared[];
  const NormFormula& f = a.formula;
  const int lanes = 1 << lanes_log2, columns = lanes * V, pitch = columns + V, tile_pixels = columns - 2 * V;
  const int warp = static_cast<int>(threadIdx.x) / 32, members = tile_per_warp ? 32 : static_cast<int>(blockDim.x);
  const int tid = tile_per_warp ? static_cast<int>(threadIdx.x) % 32 : static_cast<int>(threadIdx.x);
  const int lane = tid & (lanes - 1), group = tid >> lanes_log2, groups = members >> lanes_log2;
  const int channels = static_cast<int>(a.channels);
  const auto sync = [&] { tile_per_warp ? __syncwarp() : __syncthreads(); };

  const ShiftedShared sizes = shifted_shared(channels, lanes, V, groups);
  W* const window = shared + (tile_per_warp ? warp * (sizes.bytes / 16) : 0);  // [channels][lanes]
  float* const partial = reinterpret_cast<float*>(window + sizes.window);      // [groups][columns]
  float* const copies = partial + sizes.partial;  // [min(channels, V)][pitch] 1/rms, laid out as each row's window
  float* const power = copies + sizes.copies;     // [columns]

  const std::uint32_t tile = tile_per_warp ? blockIdx.x * (blockDim.x / 32) + warp : blockIdx.x, image = tile / tiles_of_image;
  if (image >= a.images) return;  // a whole warp
  const std::int64_t first_pixel = std::int64_t{tile - image * tiles_of_image} * tile_pixels;
  const int left = static_cast<int>(min(a.pixels - first_pixel, std::int64_t{2} * columns));  // pixels of the row from here on
  const std::int64_t start = std::int64_t{image} * channels * a.pixels + first_pixel;         // of channel 0
  const std::int64_t elements = a.images * a.channels * a.pixels;
  const int start_shift = static_cast<int>(start % V), row_shift = static_cast<int>(a.pixels % V);
  const auto shift_of = [&](int channel) { return (start_shift + channel * row_shift) & (V - 1); };
  const auto load = [&](const void* from, std::int64_t offset) {  // near the end of the tensor, what is there
    const T* p = static_cast<const T*>(from) + offset;
    if (offset + V <= elements) return *reinterpret_cast<const W*>(p);
    W w{};
    for (std::int64_t j = 0; j < elements - offset; ++j) reinterpret_cast<T*>(&w)[j] = p[j];
    return w;
  };
  const auto offset_of = [&](int channel, int pixel) { return start + channel * a.pixels + pixel; };

  pdl_wait();
  for (int c = group; c < channels; c += groups) {
    const int pixel = lane * V - shift_of(c);  // from the tile's first one
    const std::int64_t offset = offset_of(c, pixel);
    W* const to = window + (c << lanes_log2) + lane;
    if (pixel >= left) {
      *to = W{};
    } else if (offset + V <= elements) {
      copy_async_16(to, static_cast<const T*>(a.x) + offset);
    } else {
      *to = load(a.x, offset);
    }
  }
  commit_async();
  pdl_trigger();
  wait_async(0);
  if (kFull && f.residual_mode == ResidualMode::before) {
    for (int c = group; c < channels; c += groups) {
      const int pixel = lane * V - shift_of(c);
      if (pixel >= left) continue;
      float v[V], add[V];
      unpack<T, V>(window[(c << lanes_log2) + lane], v);
      unpack<T, V>(load(a.residual, offset_of(c, pixel)), add);
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] += add[j];
      window[(c << lanes_log2) + lane] = pack<T, V>(v);
    }
  }
  __syncwarp();  // the lanes of a row are in one warp

  // A thread sums the tile's pixels lane * V … + V - 1, which lie `shift` elements further on in the row's window.
  float sum[V];
#pragma unroll
  for (int j = 0; j < V; ++j) sum[j] = 0.0F;
  if (lane < lanes - 1) {
#pragma unroll 4
    for (int c = group; c < channels; c += groups) {
      float v[V];
      unshift<T>(reinterpret_cast<const unsigned*>(window + (c << lanes_log2) + lane), shift_of(c), v);
#pragma unroll
      for (int j = 0; j < V; ++j) sum[j] = fmaf(v[j], v[j], sum[j]);
    }
  }
  store_floats<V>(partial + group * columns + lane * V, sum);
  sync();
  bool special = false;
  const int copied = min(channels, V);
  for (int i = tid; i < columns - V; i += members) {
    float all = 0.0F;
#pragma unroll 8
    for (int g = 0; g < groups; ++g) all += partial[g * columns + i];
    float r = inverse_rms<T>(f, all);
    if constexpr (kMayLeaveRange<T>) {
      if (i < left && left_range(f, all)) {  // rare: this thread sums all channels again
        special = true;
        const float scale = range_scale(f, all);
        float scaled = 0.0F;
        for (int c = 0; c < channels; ++c) {
          const float v = widen(reinterpret_cast<const T*>(window)[(c << lanes_log2) * V + shift_of(c) + i]) * scale;
          scaled = fmaf(v, v, scaled);
        }
        const SplitInverse split = split_inverse_rms(f, scaled, scale);
        power[i] = split.power;
        r = split.rest;
      } else {
        power[i] = 1.0F;
      }
    }
    for (int k = 0; k < copied; ++k) copies[k * pitch + i + shift_of(k)] = r;
  }
  if (kMayLeaveRange<T> && !tile_per_warp) {
    special = __syncthreads_or(special);
  } else {
    if (kMayLeaveRange<T>) special = __any_sync(~0U, special);
    sync();
  }

  const T* __restrict__ weight = static_cast<const T*>(a.weight);
  const T* __restrict__ bias = static_cast<const T*>(a.bias);
#pragma unroll 4
  for (int c = group; c < channels; c += groups) {
    const int pixel = lane * V - shift_of(c);
    const bool begins_row = pixel < 0 && first_pixel == 0;
    if ((pixel < 0 && !begins_row) || pixel >= tile_pixels || pixel >= left) continue;
    const std::int64_t offset = offset_of(c, pixel);
    float v[V], r[V];
    unpack<T, V>(window[(c << lanes_log2) + lane], v);
    load_floats<V>(copies + (c & (V - 1)) * pitch + lane * V, r);
    const float w = weight != nullptr ? widen(weight[c]) : 1.0F, b = bias != nullptr ? widen(bias[c]) : 0.0F;
#pragma unroll
    for (int j = 0; j < V; ++j) {
      if (kMayLeaveRange<T> && special) v[j] *= power[max(pixel + j, 0)];
      v[j] = scale_and_shift<T, kFull>(f, v[j], r[j], weight != nullptr, w, bias != nullptr, b);
    }
    W add{};
    if (kFull && f.residual_mode == ResidualMode::after) add = load(a.residual, offset);
    finish<T, kFull, V>(f, v, add);
    const W out = pack<T, V>(v);
    T* to = static_cast<T*>(a.y) + offset;
    if (pixel >= 0 && pixel + V <= left) {
      *reinterpret_cast<W*>(to) = out;
    } else {
#pragma unroll
      for (int j = 0; j < V; ++j) {
        if (pixel + j >= 0 && pixel + j < left) to[j] = reinterpret_cast<const T*>(&out)[j];
      }
    }
  }
}

}  // namespace

std::size_t shifted_shared_bytes(const NormConfig& c, std::int64_t channels) {
  const bool per_warp = c.pixels > (c.lanes - 2) * c.vector;
  const int groups = (per_warp ? 32 : c.threads) / c.lanes;
  return shifted_shared(static_cast<int>(channels), c.lanes, c.vector, groups).bytes *
         static_cast<std::size_t>(per_warp ? c.threads / 32 : 1);
}

void launch_nchw_shifted(const NormConfig& c, DType dtype, const NormArgs& args, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    const auto kernel = is_full(args.formula) ? &rms_norm2d_nchw_shifted_windows<T, true> : &rms_norm2d_nchw_shifted_windows<T, false>;
    const std::int64_t tile_pixels = (c.lanes - 2) * c.vector, tiles = ceil_div<std::int64_t>(args.pixels, tile_pixels);
    LaunchShape shape{grid_of(ceil_div<std::int64_t>(tiles * args.images, c.pixels / tile_pixels)), dim3(static_cast<unsigned>(c.threads)),
                      norm_shared_bytes(c, args.channels)};
    shape.dependent = true;
    launch_kernel(kernel, shape, stream, args, log2_of(c.lanes), c.pixels > tile_pixels, static_cast<std::uint32_t>(tiles));
  });
}

}  // namespace frieze::cuda
