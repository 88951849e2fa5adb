// Linear attention with heads of 32 channels in nhwc, which is what published models have.
#include <frieze/layers/linear_attention2d/cuda/attention_kernels.h>
#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {
namespace {

constexpr int kHead = 32;
constexpr int kSums = (kHead + 1) * kHead;  // K with its row of ones

__device__ __forceinline__ float relu(float v) { return activate(Activation::relu, v); }

constexpr int kSumWarps = 8;
constexpr int kTileTokens = 16;  // of one warp: with two loads under way for each, 32 KiB an SM in 16 bits

// One block sums v+ * k^T over a segment of one group's pixels; its warps take tiles of pixels in turn and are added up at the end. A lane
// owns 4 rows x 8 columns of K and one column of the row of ones, so that 3 wide words and a narrow one of shared memory serve 33 sums.
template <class T>
__global__ void __launch_bounds__(kSumWarps * 32, 2) sum_v_kt_head32_block_per_segment(const T* x, AttentionArgs a) {
  constexpr int kPack = 16 / sizeof(T), kRow = 2 * kHead / kPack;  // packs of a pixel: k, then v
  constexpr int kLoads = kTileTokens * kRow / 32;
  __shared__ alignas(16) float shared[kSumWarps][kSums];  // a warp's tile [kTileTokens][k 32 | v 32], at last its sums
  static_assert(kTileTokens * 2 * kHead <= kSums && kSums % 4 == 0);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int row = lane / 4 * 4, column = lane % 4 * 8;
  const std::int64_t task = blockIdx.x / a.segments;
  const int segment = static_cast<int>(blockIdx.x - task * a.segments);
  const std::int64_t image = task / a.groups, group = task - image * a.groups, channels = a.groups * 3 * kHead;
  const T* in = x + image * a.tokens * channels + group * 3 * kHead + kHead;
  const std::int64_t begin = segment * a.segment, end = min(begin + a.segment, a.tokens);
  float* tile = shared[warp];

  float sum[4][8] = {}, ones = 0;
  Pack<T, kPack> next[kLoads] = {};
  const auto load = [&](std::int64_t token) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int pack = i * 32 + lane;
      const std::int64_t t = token + pack / kRow;
      if (t < end) next[i] = *reinterpret_cast<const Pack<T, kPack>*>(in + t * channels + pack % kRow * kPack);
    }
  };
  constexpr int kStep = kSumWarps * kTileTokens;
  std::int64_t token = begin + warp * kTileTokens;
  if (token < end) load(token);
  for (; token < end; token += kStep) {
    __syncwarp();  // the last tile has been used
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int pack = i * 32 + lane;
      const bool is_k = pack % kRow * kPack < kHead;
      float values[kPack];
#pragma unroll
      for (int j = 0; j < kPack; ++j) {
        const float v = widen(next[i].v[j]);
        values[j] = is_k ? relu(v) : v;
      }
#pragma unroll
      for (int j = 0; j < kPack; j += 4) {
        *reinterpret_cast<float4*>(tile + pack * kPack + j) = make_float4(values[j], values[j + 1], values[j + 2], values[j + 3]);
      }
    }
    if (token + kStep < end) load(token + kStep);
    __syncwarp();
    const int count = static_cast<int>(min(static_cast<std::int64_t>(kTileTokens), end - token));
#pragma unroll 2
    for (int t = 0; t < count; ++t) {
      const float* pixel = tile + t * 2 * kHead;
      const float4 v4 = *reinterpret_cast<const float4*>(pixel + kHead + row);
      const float4 k4[2] = {*reinterpret_cast<const float4*>(pixel + column), *reinterpret_cast<const float4*>(pixel + column + 4)};
      ones += pixel[lane];
      const float v[4] = {v4.x, v4.y, v4.z, v4.w}, k[8] = {k4[0].x, k4[0].y, k4[0].z, k4[0].w, k4[1].x, k4[1].y, k4[1].z, k4[1].w};
#pragma unroll
      for (int e = 0; e < 4; ++e) {
#pragma unroll
        for (int f = 0; f < 8; ++f) sum[e][f] = fmaf(v[e], k[f], sum[e][f]);
      }
    }
  }
  __syncwarp();
#pragma unroll
  for (int e = 0; e < 4; ++e) {
#pragma unroll
    for (int f = 0; f < 8; ++f) tile[(row + e) * kHead + column + f] = sum[e][f];
  }
  tile[kHead * kHead + lane] = ones;
  __syncthreads();
  float* out = a.partial + (task * a.segments + segment) * kSums;
  for (int i = threadIdx.x; i < kSums; i += kSumWarps * 32) {
    float total = shared[0][i];
#pragma unroll
    for (int w = 1; w < kSumWarps; ++w) total += shared[w][i];
    out[i] = total;
  }
}

constexpr int kMultiplyThreads = 128;
constexpr int kTokens = 2;  // of one thread: a word of K from shared memory serves both
static_assert(kMultiplyThreads * kTokens == kHead32Tokens);

// One block adds up K of one group, then multiplies it with q of `block_tokens` pixels, a thread two whole pixels at a time, and divides.
template <class T>
__global__ void __launch_bounds__(kMultiplyThreads)
    multiply_q_head32_pixels_per_thread(const T* x, T* y, AttentionArgs a, std::int64_t block_tokens, std::int64_t tasks) {
  constexpr int kPack = 16 / sizeof(T);
  __shared__ alignas(16) float sums[kSums];
  const std::int64_t task = blockIdx.x % tasks;  // neighbouring blocks read neighbouring channels of the same pixels
  const std::int64_t image = task / a.groups, group = task - image * a.groups, channels = a.groups * kHead;
  const T* in = x + image * a.tokens * channels * 3 + group * 3 * kHead;
  T* out = y + image * a.tokens * channels + group * kHead;
  const float* partial = a.partial + task * a.segments * kSums;
  for (int i = threadIdx.x; i < kSums; i += kMultiplyThreads) {
    float total = 0;
    for (int s = 0; s < a.segments; ++s) total += partial[std::int64_t{s} * kSums + i];
    sums[i] = total;
  }
  __syncthreads();
  const std::int64_t begin = blockIdx.x / tasks * block_tokens, end = min(begin + block_tokens, a.tokens);
  for (std::int64_t token = begin + threadIdx.x; token < end; token += kHead32Tokens) {
    const bool both = token + kMultiplyThreads < end;
    const std::int64_t at[kTokens] = {token, both ? token + kMultiplyThreads : token};
    float q[kTokens][kHead];
#pragma unroll
    for (int p = 0; p < kTokens; ++p) {
#pragma unroll
      for (int c = 0; c < kHead; c += kPack) {
        const auto pack = *reinterpret_cast<const Pack<T, kPack>*>(in + at[p] * channels * 3 + c);
#pragma unroll
        for (int j = 0; j < kPack; ++j) q[p][c + j] = relu(widen(pack.v[j]));
      }
    }
    const auto product = [&](int row, float(&result)[kTokens]) {
#pragma unroll
      for (int p = 0; p < kTokens; ++p) result[p] = 0;
#pragma unroll
      for (int f = 0; f < kHead; f += 4) {
        const float4 k4 = *reinterpret_cast<const float4*>(sums + row * kHead + f);
#pragma unroll
        for (int p = 0; p < kTokens; ++p) {
          result[p] = fmaf(k4.x, q[p][f], result[p]);
          result[p] = fmaf(k4.y, q[p][f + 1], result[p]);
          result[p] = fmaf(k4.z, q[p][f + 2], result[p]);
          result[p] = fmaf(k4.w, q[p][f + 3], result[p]);
        }
      }
    };
    float denominator[kTokens];
    product(kHead, denominator);
#pragma unroll
    for (int p = 0; p < kTokens; ++p) denominator[p] += a.eps;
#pragma unroll 1
    for (int e = 0; e < kHead; e += kPack) {
      Pack<T, kPack> result[kTokens];
#pragma unroll
      for (int j = 0; j < kPack; ++j) {
        float values[kTokens];
        product(e + j, values);
#pragma unroll
        for (int p = 0; p < kTokens; ++p) result[p].v[j] = narrow<T>(values[p] / denominator[p]);
      }
      *reinterpret_cast<Pack<T, kPack>*>(out + at[0] * channels + e) = result[0];
      if (both) *reinterpret_cast<Pack<T, kPack>*>(out + at[1] * channels + e) = result[1];
    }
  }
}

}  // namespace

// 512 channels in 32 groups at 128x128 in 16 bits: the first reads k and v, 67 MB, 22 us at 3 TB/s; the second reads q and writes y, 67 MB
// again. 0.55e9 fmaf each, 20 us at the rate of the f32 units. Both bounds are close, so neither may wait for shared memory.
void launch_attention_head32(DType dtype, const void* x, void* y, const AttentionArgs& a, std::int64_t tasks, std::int64_t block_tokens,
                             cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    const std::int64_t per_group = ceil_div(a.tokens, block_tokens);
    launch_kernel(&sum_v_kt_head32_block_per_segment<T>, grid_of(tasks * a.segments), dim3(kSumWarps * 32), 0, stream,
                  static_cast<const T*>(x), a);
    launch_kernel(&multiply_q_head32_pixels_per_thread<T>, grid_of(tasks * per_group), dim3(kMultiplyThreads), 0, stream,
                  static_cast<const T*>(x), static_cast<T*>(y), a, block_tokens, tasks);
  });
}

void preload_attention_head32(DType dtype) {
  dispatch(dtype, [](auto t) {
    using T = decltype(t);
    preload(reinterpret_cast<const void*>(&sum_v_kt_head32_block_per_segment<T>));
    preload(reinterpret_cast<const void*>(&multiply_q_head32_pixels_per_thread<T>));
  });
}

}  // namespace frieze::cuda
