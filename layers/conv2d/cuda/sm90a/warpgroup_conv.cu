// Convolution of stride 1 by warp-group products and tensor copies, nhwc, f16 and bf16, for sm_90a.
//
// Read this first. y[channels][pixels] = W[channels][K] * X[pixels][K]^T, K = taps x input channels. A block owns a tile of 8 x 32 output
// pixels x 128 channels; the grid is persistent and takes tiles in a fixed order.
// - Pixels: one tensor copy brings a tile's pixels with their halo, 64 channels at a time, into one of two slots. All taps read that slot:
// a
//   tap only moves the start of the product's descriptor. The copy engine writes zeros where the image or the channels end.
// - Weights: boxes of 64 x 64 through a ring for each of the two multiplying warp groups, each of which owns 64 of the channels.
// - Warp group 0 copies (one polling thread); 1 and 2 multiply. The second starts a tile some steps behind the first, so that one's
//   epilogue runs beside the other's products; they take turns with the buffer that the results are stored from.
#include <frieze/layers/conv2d/cuda/conv2d_kernels.h>
#include <frieze/layers/shared/cuda/tensor_map.h>
#include <frieze/layers/shared/cuda/quick_silu.cuh>
#include <frieze/layers/shared/cuda/warpgroup_ptx.cuh>

namespace frieze::cuda {
namespace {

constexpr int kTileW = kWarpgroupTileW, kTileH = kWarpgroupTileH, kPixels = kTileW * kTileH, kChannels = kWarpgroupChannels;
constexpr int kDepth = 64;                              // of K in a step: a row of 128 bytes
constexpr int kHalf = kChannels / 2;                    // channels of a warp group
constexpr int kWeightBytes = kHalf * kDepth * 2;        // of a stage of one warp group's ring
constexpr int kStages = 6, kSlots = 2, kThreads = 384;  // fewer stages than 6 cost time; a third slot gains none
constexpr int kStagger = 5;                             // steps that the second warp group stays behind
constexpr int kStaggerBarrier = 7;

struct WarpgroupArgs {
  CUtensorMap x, w, y;
  const float* bias;
  Activation activation;
  int chunks, tiles_x, tiles_y, groups;  // chunks of input channels, tiles of an image, groups of 128 output channels
  int pad_w, pad_h, stagger;
  int all;  // tiles of all images and groups
};

template <int KH, int KW>
struct Layout {
  static constexpr int kTaps = KH * KW, kPitch = kTileW + KW - 1, kRows = kTileH + KH - 1;  // of a slot, in pixels of 128 bytes
  static constexpr int kHaloBytes = kRows * kPitch * 128, kSlotBytes = round_up(kHaloBytes, 1024);
  static constexpr int kWeights = kSlots * kSlotBytes, kStaging = kWeights + 2 * kStages * kWeightBytes;
  static constexpr int kBarriers = kStaging + kHalf * kPixels * 2, kBarrierCount = 2 * kSlots + 4 * kStages + 1;
  static constexpr int kSharedBytes = kBarriers + 8 * kBarrierCount + 1024;  // the start is rounded up to 1024
  static_assert(kSharedBytes <= 227 * 1024);
};

struct Place {
  int x, y, n, channel;
};
__device__ __forceinline__ Place place_of(const WarpgroupArgs& a, int tile) {
  const int p = tile / a.groups, row = p / a.tiles_x;
  Place at;
  at.x = (p - row * a.tiles_x) * kTileW;
  at.n = row / a.tiles_y;
  at.y = (row - at.n * a.tiles_y) * kTileH;
  at.channel = (tile - p * a.groups) * kChannels;
  return at;
}

/// Addresses of the block's barriers.
template <class L>
struct Barriers {
  std::uint32_t base;
  __device__ std::uint32_t halo_full(int slot) const { return base + 8 * slot; }
  __device__ std::uint32_t halo_empty(int slot) const { return base + 8 * (kSlots + slot); }
  __device__ std::uint32_t weights_full(int group, int stage) const { return base + 8 * (2 * kSlots + group * kStages + stage); }
  __device__ std::uint32_t weights_empty(int group, int stage) const { return base + 8 * (2 * kSlots + (2 + group) * kStages + stage); }
  __device__ std::uint32_t staging_empty() const { return base + 8 * (2 * kSlots + 4 * kStages); }

  __device__ void init() const {
    for (int i = 0; i < kSlots; ++i) sm90a::barrier_init(halo_full(i), 1), sm90a::barrier_init(halo_empty(i), 8);
    for (int i = 0; i < 2 * kStages; ++i) sm90a::barrier_init(weights_full(0, i), 1), sm90a::barrier_init(weights_empty(0, i), 4);
    sm90a::barrier_init(staging_empty(), 1);
    sm90a::fence_barrier_init();
  }
  __device__ void invalidate() const {
    for (int i = 0; i < L::kBarrierCount; ++i) sm90a::barrier_invalidate(base + 8 * i);
  }
};

// One thread's work: three streams of copies, each as far ahead as its ring allows.
template <class L>
__device__ __forceinline__ void copy_tiles(const WarpgroupArgs& a, std::uint32_t base, const Barriers<L>& bars) {
  const int first = static_cast<int>(blockIdx.x), step = static_cast<int>(gridDim.x);
  int tile = first, chunk = 0, slot = 0;
  std::uint32_t phase = 1;
  Place at = place_of(a, first);
  struct Ring {
    int tile, channel, chunk = 0, tap = 0, stage = 0;
    std::uint32_t phase = 1;
  } rings[2] = {{first, at.channel}, {first, at.channel + kHalf}};
  while (tile < a.all || rings[0].tile < a.all || rings[1].tile < a.all) {
    if (tile < a.all && sm90a::barrier_test(bars.halo_empty(slot), phase)) {
      sm90a::barrier_expect(bars.halo_full(slot), L::kHaloBytes);
      sm90a::load_box(base + slot * L::kSlotBytes, a.x, bars.halo_full(slot), chunk * kDepth, at.x - a.pad_w, at.y - a.pad_h, at.n);
      if (++slot == kSlots) slot = 0, phase ^= 1;
      if (++chunk == a.chunks) {
        chunk = 0, tile += step;
        at = place_of(a, tile);
      }
    }
#pragma unroll
    for (int g = 0; g < 2; ++g) {
      Ring& ring = rings[g];
      if (ring.tile >= a.all || !sm90a::barrier_test(bars.weights_empty(g, ring.stage), ring.phase)) continue;
      const std::uint32_t full = bars.weights_full(g, ring.stage), to = base + L::kWeights + (g * kStages + ring.stage) * kWeightBytes;
      sm90a::barrier_expect(full, kWeightBytes);
      sm90a::load_box(to, a.w, full, ring.chunk * kDepth, ring.tap, ring.channel);
      if (++ring.stage == kStages) ring.stage = 0, ring.phase ^= 1;
      if (++ring.tap < L::kTaps) continue;
      ring.tap = 0;
      if (++ring.chunk < a.chunks) continue;
      ring.chunk = 0, ring.tile += step;
      ring.channel = place_of(a, ring.tile).channel + g * kHalf;
    }
  }
}

// d[4 i], d[4 i + 1]: channel c of pixels 8 i + lane % 4 * 2 and the next; d[4 i + 2], d[4 i + 3]: channel c + 8 of the same.
template <class T, Activation kActivation>
__device__ __forceinline__ void to_staging(float (&d)[128], float bias, float bias_8, std::uint32_t at) {
#pragma unroll
  for (int j = 0; j < 16; ++j) {
    float* v = d + 8 * j;
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      v[e] += (e & 2) != 0 ? bias_8 : bias;
      if constexpr (kActivation == Activation::silu) v[e] = branch_free_silu(v[e]);
      if constexpr (kActivation == Activation::relu) v[e] = v[e] < 0.0F ? 0.0F : v[e];
    }
    sm90a::store_matrices_transposed(at + j * 2048, pack_two<T>(v[0], v[1]), pack_two<T>(v[2], v[3]), pack_two<T>(v[4], v[5]),
                                     pack_two<T>(v[6], v[7]));
  }
}

template <class T, class L, int KW>
__device__ __forceinline__ void multiply_tiles(const WarpgroupArgs& a, std::uint32_t base, const Barriers<L>& bars, int group) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32 % 4;
  const bool leader = threadIdx.x % 128 == 0;
  const std::uint32_t weights = (base + L::kWeights + group * kStages * kWeightBytes) >> 4, pixels = base >> 4;
  int stage = 0, slot = 0, last_stage = 0, last_slot = 0;
  std::uint32_t weights_phase = 0, halo_phase = 0;
  bool stored = false;
  float d[128];
  const auto release = [&](std::uint32_t barrier) {
    if (lane == 0) sm90a::barrier_arrive(barrier);
  };
  // The other warp group may write into the staging buffer once this one's last store has read it.
  const auto pass_staging = [&] {
    if (!stored || !leader) return;
    sm90a::wait_stores_read();
    sm90a::barrier_arrive(bars.staging_empty());
  };
  for (int tile = static_cast<int>(blockIdx.x); tile < a.all; tile += static_cast<int>(gridDim.x)) {
    const Place at = place_of(a, tile);
    const int c = at.channel + group * kHalf + warp * 16 + lane / 4;
    const float bias = a.bias[c], bias_8 = a.bias[c + 8];
    // Renewed for every tile: the lead shrinks wherever the first warp group waits for pixels.
    if (group == 1) sm90a::named_sync<256>(kStaggerBarrier);
    int steps = 0;
    for (int chunk = 0; chunk < a.chunks; ++chunk) {
      sm90a::barrier_wait(bars.halo_full(slot), halo_phase);
#pragma unroll
      for (int tap = 0; tap < L::kTaps; ++tap) {
        sm90a::barrier_wait(bars.weights_full(group, stage), weights_phase);
        const std::uint32_t from = pixels + ((slot * L::kSlotBytes + (tap / KW * L::kPitch + tap % KW) * 128) >> 4);
        sm90a::product_fence();
#pragma unroll
        for (int k = 0; k < kDepth / 16; ++k) {
          const std::uint64_t w = sm90a::matrix_descriptor(weights + stage * (kWeightBytes >> 4) + k * 2, 64);
          sm90a::product_64x256x16<T>(d, w, sm90a::matrix_descriptor(from + k * 2, L::kPitch * 8), tap + k > 0 ? 1 : chunk);
        }
        sm90a::product_commit();
        if (tap == 0 && chunk == 0) pass_staging();
        sm90a::product_wait<1>();
        if (tap > 0 || chunk > 0) {
          release(bars.weights_empty(group, last_stage));
          if (tap == 0) release(bars.halo_empty(last_slot));
        }
        if (group == 0 && steps++ == a.stagger) sm90a::named_arrive<256>(kStaggerBarrier);
        last_stage = stage;
        if (++stage == kStages) stage = 0, weights_phase ^= 1;
      }
      last_slot = slot;
      if (++slot == kSlots) slot = 0, halo_phase ^= 1;
    }
    sm90a::product_wait<0>();
    sm90a::hold(d);
    release(bars.weights_empty(group, last_stage));
    release(bars.halo_empty(last_slot));

    // The buffer is as a box of 64 channels x 8 x 32 pixels, swizzled by 128 bytes.
    const int row = lane % 8, matrix = lane / 8;
    const std::uint32_t staging = base + L::kStaging;
    const std::uint32_t to = staging + ((matrix >> 1) * 8 + row) * 128 + ((warp * 2 + (matrix & 1)) ^ row) * 16;
    sm90a::barrier_wait(bars.staging_empty(), group == 0 ? 1 : 0);  // turns: the first warp group's, the second's
    switch (a.activation) {
      case Activation::silu: to_staging<T, Activation::silu>(d, bias, bias_8, to); break;
      case Activation::relu: to_staging<T, Activation::relu>(d, bias, bias_8, to); break;
      default: to_staging<T, Activation::none>(d, bias, bias_8, to); break;
    }
    sm90a::fence_stores_for_copies();
    sm90a::named_sync<128>(1 + group);
    if (leader) sm90a::store_box(a.y, staging, at.channel + group * kHalf, at.x, at.y, at.n);
    stored = true;
  }
  pass_staging();
  if (leader) sm90a::wait_stores();
}

template <class T, int KH, int KW>
__global__ void __launch_bounds__(kThreads, 1) conv_tile_per_block(const __grid_constant__ WarpgroupArgs a) {
  using L = Layout<KH, KW>;
  extern __shared__ unsigned char shared[];
  const std::uint32_t base = (sm90a::shared_address(shared) + 1023U) & ~1023U;
  const Barriers<L> bars{base + L::kBarriers};
  if (threadIdx.x == 0) bars.init();
  __syncthreads();
  pdl_wait();
  const int group = static_cast<int>(threadIdx.x) / 128;
  if (group == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 88;");
    if (threadIdx.x == 0) copy_tiles<L>(a, base, bars);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 208;");
    multiply_tiles<T, L, KW>(a, base, bars, group - 1);
  }
  __syncthreads();
  if (threadIdx.x == 0) bars.invalidate();
}

// An nhwc tensor.
CUtensorMap image_map(DType dtype, const void* data, std::int64_t n, int h, int w, int c, cuuint32_t box_h, cuuint32_t box_w) {
  const auto channels = static_cast<cuuint64_t>(c), width = static_cast<cuuint64_t>(w), height = static_cast<cuuint64_t>(h);
  const cuuint64_t extents[4] = {channels, width, height, static_cast<cuuint64_t>(n)};
  const cuuint64_t strides[3] = {channels * 2, width * channels * 2, height * width * channels * 2};
  const cuuint32_t box[4] = {kDepth, box_w, box_h, 1};
  return tensor_map(dtype, data, extents, strides, box);
}

template <class Body>
void with_kernel(DType dtype, const ConvGeometry& g, Body&& body) {
  const bool three = g.kernel_h == 3;
  if (dtype == DType::f16) {
    return three ? body(&conv_tile_per_block<__half, 3, 3>, Layout<3, 3>{}) : body(&conv_tile_per_block<__half, 2, 2>, Layout<2, 2>{});
  }
  return three ? body(&conv_tile_per_block<__nv_bfloat16, 3, 3>, Layout<3, 3>{})
               : body(&conv_tile_per_block<__nv_bfloat16, 2, 2>, Layout<2, 2>{});
}

}  // namespace

void launch_warpgroup_conv(DType dtype, const ConvGeometry& g, const ConvWeights& w, Activation activation, const void* x, void* y,
                           int sm_count, cudaStream_t stream) {
  with_kernel(dtype, g, [&](auto* kernel, auto layout) {
    using L = decltype(layout);
    const auto taps = static_cast<cuuint64_t>(g.taps()), tap_size = static_cast<cuuint64_t>(w.tap_size);
    const cuuint64_t extents[3] = {tap_size, taps, static_cast<cuuint64_t>(w.rows)};
    const cuuint64_t strides[2] = {tap_size * 2, static_cast<cuuint64_t>(w.row) * 2};
    const cuuint32_t box[3] = {kDepth, 1, kHalf};
    WarpgroupArgs args;
    args.x = image_map(dtype, x, g.n, g.in_h, g.in_w, g.in_c, L::kRows, L::kPitch);
    args.w = tensor_map(dtype, w.w, extents, strides, box);
    args.y = image_map(dtype, y, g.n, g.out_h, g.out_w, g.out_c, kTileH, kTileW);
    args.bias = w.bias_f32;
    args.activation = activation;
    args.chunks = ceil_div(g.in_c, kDepth);
    args.tiles_x = ceil_div(g.out_w, kTileW);
    args.tiles_y = ceil_div(g.out_h, kTileH);
    args.groups = ceil_div(g.out_c, kChannels);
    args.pad_w = g.pad_w;
    args.pad_h = g.pad_h;
    args.stagger = std::min(kStagger, args.chunks * L::kTaps - 1);
    args.all = static_cast<int>(warpgroup_tiles(g));
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>(std::min(args.all, sm_count)));
    shape.block = dim3(kThreads);
    shape.shared_bytes = L::kSharedBytes;
    shape.dependent = true;
    // 2 * pixels * out_c * K flops, on tensor cores: bound by them from 128 channels on. A step of 64 of K moves 21 KB from L2 to shared
    // memory. bf16 on an H200, us, and cuDNN's without an epilogue in the same run: see NOTES.md.
    launch_kernel(kernel, shape, stream, args);
  });
}

void preload_warpgroup_conv(DType dtype, const ConvGeometry& g) {
  (void)require_tensor_maps();
  with_kernel(dtype, g, [](auto* kernel, auto) { preload(reinterpret_cast<const void*>(kernel)); });
}

}  // namespace frieze::cuda
