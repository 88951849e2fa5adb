#include <algorithm>
#include <bit>

#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/pool/pool.h>
#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {
namespace {

constexpr int kBlock = 256;

// Pixels are cut into `segments` ranges of `segment` each; one block sums one range for one row (nchw) or for a tile of channels
// (nhwc). One segment: the mean goes to y. Several: the sum goes to partial[n][segment][c], and finish_means adds them up.
struct PoolArgs {
  std::int64_t rows = 0, channels = 0, pixels = 0, segment = 0;
  int segments = 1;
  float* partial = nullptr;
};

template <class T>
__device__ __forceinline__ void store_sum(const PoolArgs& a, T* y, std::int64_t n, std::int64_t c, int segment, float sum) {
  if (a.segments == 1) {
    y[n * a.channels + c] = narrow<T>(sum / static_cast<float>(a.pixels));
  } else {
    a.partial[(n * a.segments + segment) * a.channels + c] = sum;
  }
}

template <class T>
__device__ __forceinline__ float pack_sum(const T* x) {
  constexpr int N = 16 / sizeof(T);
  const auto pack = *reinterpret_cast<const Pack<T, N>*>(x);
  float sum = 0;
#pragma unroll
  for (int i = 0; i < N; i += 2) sum += widen(pack.v[i]) + widen(pack.v[i + 1]);
  return sum;
}

// nchw: kLanes threads (a warp or the block) own one segment of one row of H*W pixels.
template <class T, int kLanes>
__global__ void __launch_bounds__(kBlock) mean_lanes_per_row(const T* x, T* y, PoolArgs a, bool packs) {
  constexpr int N = 16 / sizeof(T), kRows = kBlock / kLanes;
  const int lane = threadIdx.x % kLanes;
  const std::int64_t task = std::int64_t{blockIdx.x} * kRows + threadIdx.x / kLanes;
  const std::int64_t row = task / a.segments;
  const int segment = static_cast<int>(task - row * a.segments);
  float sum = 0;
  if (row < a.rows) {
    const T* first = x + row * a.pixels;
    const std::int64_t begin = segment * a.segment, end = min(begin + a.segment, a.pixels);
    if (packs) {
#pragma unroll 8
      for (std::int64_t p = begin + lane * N; p < end; p += kLanes * N) sum += pack_sum(first + p);
    } else {
#pragma unroll 4
      for (std::int64_t p = begin + lane; p < end; p += kLanes) sum += widen(first[p]);
    }
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0U, sum, step);
  if constexpr (kLanes > 32) {
    __shared__ float warps[kLanes / 32];
    if (lane % 32 == 0) warps[lane / 32] = sum;
    __syncthreads();
    sum = 0;
#pragma unroll
    for (int i = 0; i < kLanes / 32; ++i) sum += warps[i];
  }
  if (lane == 0 && row < a.rows) store_sum(a, y, row / a.channels, row % a.channels, segment, sum);
}

// nhwc: a thread owns N neighbouring channels and every blockDim.y-th pixel of a segment; the block adds up its pixels.
template <class T, int N>
__global__ void __launch_bounds__(kBlock) mean_block_per_channel_tile(const T* x, T* y, PoolArgs a, int tiles) {
  __shared__ float sums[kBlock * N];
  const std::int64_t task = blockIdx.x / tiles;
  const std::int64_t n = task / a.segments;
  const int segment = static_cast<int>(task - n * a.segments);
  const std::int64_t c = (std::int64_t{blockIdx.x % tiles} * blockDim.x + threadIdx.x) * N;
  float sum[N] = {};
  if (c < a.channels) {
    const std::int64_t begin = segment * a.segment, end = min(begin + a.segment, a.pixels);
    const T* first = x + n * a.pixels * a.channels + c;
#pragma unroll 4
    for (std::int64_t p = begin + threadIdx.y; p < end; p += blockDim.y) {
      const auto pack = *reinterpret_cast<const Pack<T, N>*>(first + p * a.channels);
#pragma unroll
      for (int i = 0; i < N; ++i) sum[i] += widen(pack.v[i]);
    }
  }
  float* own = sums + (threadIdx.y * blockDim.x + threadIdx.x) * N;
#pragma unroll
  for (int i = 0; i < N; ++i) own[i] = sum[i];
  for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {  // a tree of fixed shape: blockDim.y is a power of two
    __syncthreads();
    if (threadIdx.y < half) {
#pragma unroll
      for (int i = 0; i < N; ++i) own[i] += own[half * blockDim.x * N + i];
    }
  }
  if (threadIdx.y != 0 || c >= a.channels) return;
#pragma unroll
  for (int i = 0; i < N; ++i) store_sum(a, y, n, c + i, segment, own[i]);
}

template <class T>
__global__ void __launch_bounds__(kBlock) finish_means(T* y, PoolArgs a) {
  const std::int64_t row = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (row >= a.rows) return;
  const std::int64_t n = row / a.channels, c = row - n * a.channels;
  float sum = 0;
  for (int s = 0; s < a.segments; ++s) sum += a.partial[(n * a.segments + s) * a.channels + c];
  y[row] = narrow<T>(sum / static_cast<float>(a.pixels));
}

class PoolKernel final : public NodeKernel {
 public:
  explicit PoolKernel(const PrepareArgs& args) {
    const Shape& x = args.in[0].shape;
    nhwc_ = args.in[0].format == Format::nhwc && !same_layout(x);
    plan_.rows = x.n() * x.c();
    plan_.channels = x.c();
    plan_.pixels = x.h() * x.w();
    const std::int64_t pack = static_cast<std::int64_t>(16 / size_of(args.in[0].dtype));
    whole_packs_ = (nhwc_ ? plan_.channels : plan_.pixels) % pack == 0;
    // Ranges of pixels until there are 4 blocks an SM, but none so short that the block is not filled a few times over.
    std::int64_t blocks = 0, filled = 0;
    if (nhwc_) {
      const std::int64_t threads = ceil_div<std::int64_t>(plan_.channels, whole_packs_ ? pack : 1);
      columns_ = static_cast<unsigned>(std::min<std::uint64_t>(32, std::bit_ceil(static_cast<std::uint64_t>(threads))));
      tiles_ = ceil_div<std::int64_t>(threads, columns_);
      blocks = x.n() * tiles_;
      filled = kBlock / columns_ * 4;
    } else {
      // Long rows too, where there are enough for all warps: a block has only a load or two a thread to wait for, and a barrier.
      warp_rows_ = plan_.pixels <= 32 * 4 * pack || (plan_.pixels <= 32 * 32 * pack && plan_.rows >= 32 * args.device->sm_count);
      blocks = warp_rows_ ? ceil_div<std::int64_t>(plan_.rows, kBlock / 32) : plan_.rows;
      filled = warp_rows_ ? plan_.pixels : kBlock * 4 * pack;
    }
    const std::int64_t wanted = ceil_div<std::int64_t>(4 * args.device->sm_count, blocks);
    const std::int64_t segments = std::max<std::int64_t>(1, std::min(wanted, plan_.pixels / filled));
    plan_.segment = ceil_div(ceil_div(plan_.pixels, segments), pack) * pack;
    plan_.segments = static_cast<int>(ceil_div(plan_.pixels, plan_.segment));
    dispatch(args.out[0].dtype, [](auto t) {
      using T = decltype(t);
      for (auto kernel : {&mean_lanes_per_row<T, 32>, &mean_lanes_per_row<T, kBlock>}) preload(reinterpret_cast<const void*>(kernel));
      for (auto kernel : {&mean_block_per_channel_tile<T, 1>, &mean_block_per_channel_tile<T, 16 / sizeof(T)>}) {
        preload(reinterpret_cast<const void*>(kernel));
      }
      preload(reinterpret_cast<const void*>(&finish_means<T>));
    });
  }

  std::size_t workspace_bytes() const override {
    return plan_.segments == 1 ? 0 : static_cast<std::size_t>(plan_.rows) * static_cast<std::size_t>(plan_.segments) * sizeof(float);
  }

  std::string describe() const override {
    const char* owner = nhwc_ ? "a block per channel tile" : warp_rows_ ? "a warp per row" : "a block per row";
    return concat_text(nhwc_ ? "nhwc, " : "nchw, ", owner, ", ", plan_.segments, plan_.segments == 1 ? " range" : " ranges of pixels");
  }

  // Reads x once: elements * sizeof(T) bytes, one addition each; bound by memory.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    check<CudaError>(args.in[0].is_contiguous(nhwc_ ? Format::nhwc : Format::nchw), "GlobalAvgPool's kernel takes contiguous inputs only");
    check<CudaError>(args.out[0].is_contiguous(Format::nchw), "GlobalAvgPool's kernel takes a contiguous output only");
    PoolArgs a = plan_;
    a.partial = static_cast<float*>(args.workspace);
    const bool packs = whole_packs_ && reinterpret_cast<std::uintptr_t>(args.in[0].data) % 16 == 0;
    dispatch(args.out[0].dtype, [&](auto t) {
      using T = decltype(t);
      const T* x = args.in[0].as<const T>();
      T* y = args.out[0].as<T>();
      if (nhwc_) {
        launch_nhwc(x, y, a, packs, stream);
      } else {
        const std::int64_t blocks = ceil_div<std::int64_t>(a.rows * a.segments, warp_rows_ ? kBlock / 32 : 1);
        const auto kernel = warp_rows_ ? &mean_lanes_per_row<T, 32> : &mean_lanes_per_row<T, kBlock>;
        launch_kernel(kernel, grid_of(blocks), dim3(kBlock), 0, stream, x, y, a, packs);
      }
      if (a.segments > 1) {
        const std::int64_t blocks = ceil_div<std::int64_t>(a.rows, kBlock);
        launch_kernel(finish_means<T>, grid_of(blocks), dim3(kBlock), 0, stream, y, a);
      }
    });
  }

 private:
  template <class T>
  void launch_nhwc(const T* x, T* y, const PoolArgs& a, bool packs, cudaStream_t stream) const {
    constexpr int kPack = 16 / sizeof(T);
    const std::int64_t images = a.rows / a.channels;
    // A misaligned x of whole packs needs as many tiles more.
    const std::int64_t tiles = whole_packs_ && !packs ? ceil_div<std::int64_t>(a.channels, columns_) : tiles_;
    const auto kernel = packs ? &mean_block_per_channel_tile<T, kPack> : &mean_block_per_channel_tile<T, 1>;
    launch_kernel(kernel, grid_of(images * a.segments * tiles), dim3(columns_, kBlock / columns_), 0, stream, x, y, a,
                  static_cast<int>(tiles));
  }

  PoolArgs plan_;
  bool nhwc_ = false, whole_packs_ = false, warp_rows_ = false;
  unsigned columns_ = 32;
  std::int64_t tiles_ = 1;
};

std::unique_ptr<Kernel> make(const GlobalAvgPool&, const PrepareArgs& args) { return std::make_unique<PoolKernel>(args); }

}  // namespace

void register_pool(KernelRegistry& registry) { registry.add<GlobalAvgPool>(&make); }

}  // namespace frieze::cuda
