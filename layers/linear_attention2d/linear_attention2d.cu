#include <algorithm>

#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/linear_attention2d/cuda/attention_kernels.h>
#include <frieze/layers/linear_attention2d/linear_attention2d.h>
#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/shared/cuda/epilogue.cuh>

namespace frieze::cuda {
namespace {

constexpr int kBlock = 256;
constexpr int kTile = 32;          // pixels in shared memory at a time
constexpr int kTilesPerBlock = 8;  // of the second kernel, which has to add up K before its first pixel

// Where a tile of `rows` channels from `channel` on starts, and how one index runs over it with neighbouring threads on neighbouring
// addresses: over channels first in nhwc, over pixels first in nchw.
struct Tile {
  std::int64_t base, channel_stride, token_stride;
};
__device__ __forceinline__ Tile tile_at(const AttentionArgs& a, std::int64_t image, std::int64_t channels, std::int64_t channel) {
  const std::int64_t first = image * channels * a.tokens;
  return a.nhwc ? Tile{first + channel, 1, channels} : Tile{first + channel * a.tokens, a.tokens, 1};
}

// Calls body(channel, pixel) for every element of a tile of `rows` channels by `count` pixels, count <= kTile.
template <class Body>
__device__ __forceinline__ void for_each_element(const AttentionArgs& a, int rows, int count, Body&& body) {
  const int inner = a.nhwc ? rows : count;
  for (int i = threadIdx.x; i < rows * count; i += kBlock) {
    const int outer_index = i / inner, inner_index = i - outer_index * inner;
    if (a.nhwc) {
      body(inner_index, outer_index);
    } else {
      body(outer_index, inner_index);
    }
  }
}

__device__ __forceinline__ float relu(float v) { return activate(Activation::relu, v); }

// One block sums v+ * k^T over one segment of the pixels of one group; each thread owns up to kOwned elements of the [d+1, d] sums.
template <class T, int kOwned>
__global__ void __launch_bounds__(kBlock) sum_v_kt_block_per_segment(const T* x, AttentionArgs a) {
  extern __shared__ float shared[];
  const int d = a.d, v_row = d + 1;
  float *k = shared, *v = shared + kTile * d;  // [kTile][d] and [kTile][d+1], the last column of ones
  const std::int64_t task = blockIdx.x / a.segments;
  const int segment = static_cast<int>(blockIdx.x - task * a.segments);
  const std::int64_t image = task / a.groups, group = task - image * a.groups;
  const Tile in = tile_at(a, image, a.groups * 3 * d, group * 3 * d + d);

  float sum[kOwned] = {};
  int v_at[kOwned], k_at[kOwned];
#pragma unroll
  for (int i = 0; i < kOwned; ++i) {
    const int element = min(static_cast<int>(threadIdx.x) + i * kBlock, (d + 1) * d - 1);
    v_at[i] = element / d;
    k_at[i] = element - v_at[i] * d;
  }
  const std::int64_t begin = segment * a.segment, end = min(begin + a.segment, a.tokens);
  for (std::int64_t token = begin; token < end; token += kTile) {
    const int count = static_cast<int>(min(static_cast<std::int64_t>(kTile), end - token));
    __syncthreads();  // the last tile has been used
    for_each_element(a, 2 * d, count, [&](int channel, int t) {
      const float value = widen(x[in.base + channel * in.channel_stride + (token + t) * in.token_stride]);
      if (channel < d) {
        k[t * d + channel] = relu(value);
      } else {
        v[t * v_row + channel - d] = value;
      }
    });
    for (int t = threadIdx.x; t < count; t += kBlock) v[t * v_row + d] = 1;
    __syncthreads();
    for (int t = 0; t < count; ++t) {
#pragma unroll
      for (int i = 0; i < kOwned; ++i) sum[i] = fmaf(v[t * v_row + v_at[i]], k[t * d + k_at[i]], sum[i]);
    }
  }
  float* out = a.partial + (task * a.segments + segment) * (d + 1) * d;
#pragma unroll
  for (int i = 0; i < kOwned; ++i) {
    const int element = threadIdx.x + i * kBlock;
    if (element < (d + 1) * d) out[element] = sum[i];
  }
}

// One block adds up K of one group, then multiplies it with q for kTilesPerBlock tiles of pixels, and divides.
template <class T>
__global__ void __launch_bounds__(kBlock) multiply_q_block_per_tiles(const T* x, T* y, AttentionArgs a, std::int64_t blocks_per_group) {
  extern __shared__ float shared[];
  const int d = a.d, row = d + 1;                     // rows of odd length for even d: no bank conflicts across rows
  float *sums = shared, *q = shared + (d + 1) * row;  // [d+1][row] and [kTile][row]
  float* denominator = q + kTile * row;               // [kTile]
  const std::int64_t task = blockIdx.x / blocks_per_group;
  const std::int64_t image = task / a.groups, group = task - image * a.groups;
  const std::int64_t begin = (blockIdx.x - task * blocks_per_group) * kTile * kTilesPerBlock;
  const Tile in = tile_at(a, image, a.groups * 3 * d, group * 3 * d);
  const Tile out = tile_at(a, image, a.groups * d, group * d);

  const float* partial = a.partial + task * a.segments * (d + 1) * d;
  for (int element = threadIdx.x; element < (d + 1) * d; element += kBlock) {
    float sum = 0;
    for (int s = 0; s < a.segments; ++s) sum += partial[s * (d + 1) * d + element];
    sums[element / d * row + element % d] = sum;
  }
  const std::int64_t end = min(begin + kTile * kTilesPerBlock, a.tokens);
  for (std::int64_t token = begin; token < end; token += kTile) {
    const int count = static_cast<int>(min(static_cast<std::int64_t>(kTile), end - token));
    __syncthreads();  // K is there, the last tile has been used
    for_each_element(a, d, count, [&](int channel, int t) {
      q[t * row + channel] = relu(widen(x[in.base + channel * in.channel_stride + (token + t) * in.token_stride]));
    });
    __syncthreads();
    for (int t = threadIdx.x; t < count; t += kBlock) {
      float sum = 0;
      for (int f = 0; f < d; ++f) sum = fmaf(sums[d * row + f], q[t * row + f], sum);
      denominator[t] = sum + a.eps;
    }
    __syncthreads();
    for_each_element(a, d, count, [&](int channel, int t) {
      float sum = 0;
      for (int f = 0; f < d; ++f) sum = fmaf(sums[channel * row + f], q[t * row + f], sum);
      y[out.base + channel * out.channel_stride + (token + t) * out.token_stride] = narrow<T>(sum / denominator[t]);
    });
  }
}

class LinearAttentionKernel final : public NodeKernel {
 public:
  LinearAttentionKernel(const LinearAttention2d& layer, const PrepareArgs& args) {
    const Shape &x = args.in[0].shape, &y = args.out[0].shape;
    plan_.d = layer.head_dim();
    plan_.tokens = x.h() * x.w();
    plan_.groups = y.c() / plan_.d;
    plan_.nhwc = args.out[0].format == Format::nhwc;
    plan_.eps = static_cast<float>(layer.eps());
    tasks_ = x.n() * plan_.groups;
    // Segments until there are two blocks an SM, but none shorter than four tiles.
    const std::int64_t wanted = ceil_div<std::int64_t>(2 * args.device->sm_count, tasks_);
    const std::int64_t most = ceil_div<std::int64_t>(plan_.tokens, 4 * kTile);
    const std::int64_t segments = std::clamp<std::int64_t>(wanted, 1, most);
    plan_.segment = ceil_div<std::int64_t>(ceil_div<std::int64_t>(plan_.tokens, segments), kTile) * kTile;
    plan_.segments = static_cast<int>(ceil_div<std::int64_t>(plan_.tokens, plan_.segment));
    dispatch(args.out[0].dtype, [](auto t) {
      using T = decltype(t);
      for (const int d : {16, 32, LinearAttention2d::kMaxHeadDim}) preload(reinterpret_cast<const void*>(sum_kernel<T>(d)));
      preload(reinterpret_cast<const void*>(&multiply_q_block_per_tiles<T>));
    });
    if (plan_.d != 32 || !plan_.nhwc) return;
    preload_attention_head32(args.out[0].dtype);
    // Adding up K costs a block as much as a few hundred pixels; so many of them, where there are enough to keep the GPU busy.
    const bool many = tasks_ * plan_.tokens >= 4 * kHead32Tokens * 3 * args.device->sm_count;
    block_tokens_ = many ? 4 * kHead32Tokens : kHead32Tokens;
  }

  std::size_t workspace_bytes() const override { return static_cast<std::size_t>(tasks_ * plan_.segments * (plan_.d + 1) * plan_.d) * 4; }

  // The kernels here serve any head and format. Every fmaf takes two words of shared memory or more, which bounds both.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    AttentionArgs a = plan_;
    a.partial = static_cast<float*>(args.workspace);
    if (block_tokens_ > 0 && is_aligned(args.in[0].data, 16) && is_aligned(args.out[0].data, 16)) {
      return launch_attention_head32(args.out[0].dtype, args.in[0].data, args.out[0].data, a, tasks_, block_tokens_, stream);
    }
    const std::int64_t per_group = ceil_div<std::int64_t>(a.tokens, kTile * kTilesPerBlock);
    const std::size_t d = static_cast<std::size_t>(a.d), tile = kTile;
    const std::size_t sum_bytes = tile * (2 * d + 1) * sizeof(float);
    const std::size_t multiply_bytes = ((d + 1 + tile) * (d + 1) + tile) * sizeof(float);
    dispatch(args.out[0].dtype, [&](auto t) {
      using T = decltype(t);
      const T* x = args.in[0].as<const T>();
      launch_kernel(sum_kernel<T>(a.d), dim3(static_cast<unsigned>(tasks_ * a.segments)), dim3(kBlock), sum_bytes, stream, x, a);
      launch_kernel(&multiply_q_block_per_tiles<T>, dim3(static_cast<unsigned>(tasks_ * per_group)), dim3(kBlock), multiply_bytes, stream,
                    x, args.out[0].as<T>(), a, per_group);
    });
  }
  std::string describe() const override {
    return std::string(block_tokens_ > 0 ? "nhwc, heads of 32 in registers, f32 sums over " : "f32 sums over ") +
           std::to_string(plan_.segments) + (plan_.segments == 1 ? " segment of pixels" : " segments of pixels");
  }

 private:
  template <class T>
  using SumKernel = void (*)(const T*, AttentionArgs);
  // (d+1)*d sums among the threads of a block.
  template <class T>
  static SumKernel<T> sum_kernel(int d) {
    static_assert(17 * 16 <= 2 * kBlock && 33 * 32 <= 5 * kBlock && 65 * 64 <= 17 * kBlock);
    if (d <= 16) return &sum_v_kt_block_per_segment<T, 2>;
    return d <= 32 ? &sum_v_kt_block_per_segment<T, 5> : &sum_v_kt_block_per_segment<T, 17>;
  }

  AttentionArgs plan_;
  std::int64_t tasks_ = 1;
  std::int64_t block_tokens_ = 0;  // of the kernels for heads of 32; 0: they do not apply
};

std::unique_ptr<Kernel> make(const LinearAttention2d& layer, const PrepareArgs& args) {
  return std::make_unique<LinearAttentionKernel>(layer, args);
}

}  // namespace

void register_linear_attention2d(KernelRegistry& registry) { registry.add<LinearAttention2d>(&make); }

}  // namespace frieze::cuda
