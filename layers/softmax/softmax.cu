#include <algorithm>
#include <bit>

#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/softmax/softmax.h>
#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {
namespace {

constexpr int kBlock = 256, kMostPacks = 8, kMostRows = 8;  // of a thread, in registers

// exp(x - top) with 3 instructions. x - top is exact or loses nothing that matters: what it is multiplied by falls off faster than |x -
// top| grows. Two units of f32 from ex2.approx.
__device__ __forceinline__ float weight_of(float x, float top) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"((x - top) * 1.44269504F));
  return y;
}

// Maximum and sum of exp(x - top) so far. Starts empty; -Inf adds nothing, NaN makes the sum NaN and stays.
struct Running {
  float top = -INFINITY;
  float sum = 0;

  __device__ __forceinline__ void add(float x) {
    if (x > top) {
      sum = (top == -INFINITY ? sum * 0.0F : sum * weight_of(top, x)) + 1.0F;  // 0 * NaN: a NaN seen before stays
      top = x;
    } else {
      sum += x == -INFINITY ? 0.0F : weight_of(x, top);
    }
  }
  __device__ __forceinline__ void merge(float other_top, float other_sum) {
    const float highest = fmaxf(top, other_top);
    sum = sum * (top == -INFINITY ? 0.0F : weight_of(top, highest)) +
          other_sum * (other_top == -INFINITY ? 0.0F : weight_of(other_top, highest));
    top = highest;
  }
  // exp(x - Inf) would be 0 for the finite ones, but Inf - Inf makes the whole line NaN.
  __device__ __forceinline__ float divisor() const { return top == INFINITY ? NAN : sum; }
};

// The largest, and then the sum, of what kLanes threads have: 8 or 32 of a warp, or the whole block.
template <int kLanes, class Combine>
__device__ __forceinline__ float combine_lanes(float v, float (&parts)[kBlock / 32], Combine combine) {
#pragma unroll
  for (int step = (kLanes < 32 ? kLanes : 32) / 2; step > 0; step /= 2) v = combine(v, __shfl_xor_sync(~0U, v, step));
  if constexpr (kLanes > 32) {
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
    __syncthreads();
    v = parts[0];
#pragma unroll
    for (int i = 1; i < kLanes / 32; ++i) v = combine(v, parts[i]);
  }
  return v;
}
struct Largest {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }  // passes over NaN
};
struct Sum {
  __device__ float operator()(float a, float b) const { return a + b; }
};

// Contiguous lines of whole packs of 16 bytes: kLanes threads own one, with all of it in registers, kPacks packs a thread. Read once.
template <class T, int kLanes, int kPacks>
__global__ void __launch_bounds__(kBlock) softmax_line_in_registers(const T* x, T* y, std::int64_t lines, std::int64_t length) {
  constexpr int N = 16 / sizeof(T);
  __shared__ float tops[kBlock / 32], sums[kBlock / 32];
  const int lane = threadIdx.x % kLanes;
  const std::int64_t line = std::int64_t{blockIdx.x} * (kBlock / kLanes) + threadIdx.x / kLanes, first = line * length;
  Pack<T, N> packs[kPacks];
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const std::int64_t i = (p * kLanes + lane) * N;
    if (line < lines && i < length) packs[p] = *reinterpret_cast<const Pack<T, N>*>(x + first + i);
  }
  float v[kPacks][N], top = -INFINITY, sum = 0;
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const bool inside = line < lines && (p * kLanes + lane) * N < length;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      v[p][j] = inside ? widen(packs[p].v[j]) : -INFINITY;
      top = fmaxf(top, v[p][j]);
    }
  }
  top = combine_lanes<kLanes>(top, tops, Largest{});
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
#pragma unroll
    for (int j = 0; j < N; ++j) sum += v[p][j] = weight_of(v[p][j], top);
  }
  const float inverse = 1.0F / combine_lanes<kLanes>(sum, sums, Sum{});
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const std::int64_t i = (p * kLanes + lane) * N;
    if (line >= lines || i >= length) continue;
#pragma unroll
    for (int j = 0; j < N; ++j) packs[p].v[j] = narrow<T>(v[p][j] * inverse);
    *reinterpret_cast<Pack<T, N>*>(y + first + i) = packs[p];
  }
}

// Contiguous lines: kLanes threads (a warp or the block) own one. Read twice, the second time from the cache.
template <class T, int kLanes>
__global__ void __launch_bounds__(kBlock) softmax_lanes_per_line(const T* x, T* y, std::int64_t lines, std::int64_t length, bool packs) {
  constexpr int N = 16 / sizeof(T);
  const int lane = threadIdx.x % kLanes;
  const std::int64_t line = std::int64_t{blockIdx.x} * (kBlock / kLanes) + threadIdx.x / kLanes;
  if (line >= lines) return;  // the whole warp, or the whole block
  x += line * length;
  y += line * length;
  Running run;
  if (packs) {
    for (std::int64_t i = lane * N; i < length; i += kLanes * N) {
      const auto pack = *reinterpret_cast<const Pack<T, N>*>(x + i);
#pragma unroll
      for (int j = 0; j < N; ++j) run.add(widen(pack.v[j]));
    }
  } else {
    for (std::int64_t i = lane; i < length; i += kLanes) run.add(widen(x[i]));
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const float top = __shfl_down_sync(~0U, run.top, step), sum = __shfl_down_sync(~0U, run.sum, step);
    run.merge(top, sum);
  }
  if constexpr (kLanes == 32) {
    run.top = __shfl_sync(~0U, run.top, 0);
    run.sum = __shfl_sync(~0U, run.sum, 0);
  } else {
    __shared__ float tops[kLanes / 32], sums[kLanes / 32];
    if (lane % 32 == 0) {
      tops[lane / 32] = run.top;
      sums[lane / 32] = run.sum;
    }
    __syncthreads();
    run = Running{tops[0], sums[0]};
    for (int i = 1; i < kLanes / 32; ++i) run.merge(tops[i], sums[i]);  // every thread the same way
  }
  const float factor = 1.0F / run.divisor();
  if (packs) {
    for (std::int64_t i = lane * N; i < length; i += kLanes * N) {
      auto pack = *reinterpret_cast<const Pack<T, N>*>(x + i);
#pragma unroll
      for (int j = 0; j < N; ++j) pack.v[j] = narrow<T>(weight_of(widen(pack.v[j]), run.top) * factor);
      *reinterpret_cast<Pack<T, N>*>(y + i) = pack;
    }
  } else {
    for (std::int64_t i = lane; i < length; i += kLanes) y[i] = narrow<T>(weight_of(widen(x[i]), run.top) * factor);
  }
}

// Lines of at most kRows * blockDim.y elements that lie `stride` apart: a block owns blockDim.x * N neighbouring lines, a thread N of them
// and every blockDim.y-th element, in registers. Read once.
template <class T, int N, int kRows>
__global__ void __launch_bounds__(kBlock)
    softmax_line_tile_in_registers(const T* x, T* y, int length, std::int64_t stride, std::uint32_t tiles) {
  __shared__ float tops[kBlock * N], sums[kBlock * N];
  const std::int64_t outer = blockIdx.x / tiles;
  const std::int64_t inner = (std::int64_t{blockIdx.x % tiles} * blockDim.x + threadIdx.x) * N;
  const bool in = inner < stride;
  const std::int64_t first = outer * length * stride + inner;
  const int rows = blockDim.y, own = threadIdx.y;
  Pack<T, N> packs[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int i = r * rows + own;
    if (in && i < length) packs[r] = *reinterpret_cast<const Pack<T, N>*>(x + first + i * stride);
  }
  const unsigned row = blockDim.x * N, at = threadIdx.x * N;
  float top[N], inverse[N];
  // Of all rows of the block, for each of the thread's columns: a tree of fixed shape, as their number is a power of two.
  const auto combine_rows = [&](float(&v)[N], float* parts, auto combine) {
    for (int half = rows / 2; half > 0; half /= 2) {
      if (own < 2 * half && own >= half) {
#pragma unroll
        for (int j = 0; j < N; ++j) parts[own * row + at + j] = v[j];
      }
      __syncthreads();
      if (own < half) {
#pragma unroll
        for (int j = 0; j < N; ++j) v[j] = combine(v[j], parts[(own + half) * row + at + j]);
      }
    }
    if (rows == 1) return;
    if (own == 0) {
#pragma unroll
      for (int j = 0; j < N; ++j) parts[at + j] = v[j];
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < N; ++j) v[j] = parts[at + j];
  };
#pragma unroll
  for (int j = 0; j < N; ++j) top[j] = -INFINITY;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (!in || r * rows + own >= length) continue;
#pragma unroll
    for (int j = 0; j < N; ++j) top[j] = fmaxf(top[j], widen(packs[r].v[j]));
  }
  combine_rows(top, tops, Largest{});
#pragma unroll
  for (int j = 0; j < N; ++j) inverse[j] = 0;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (!in || r * rows + own >= length) continue;
#pragma unroll
    for (int j = 0; j < N; ++j) inverse[j] += weight_of(widen(packs[r].v[j]), top[j]);
  }
  combine_rows(inverse, sums, Sum{});
#pragma unroll
  for (int j = 0; j < N; ++j) inverse[j] = 1.0F / inverse[j];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int i = r * rows + own;
    if (!in || i >= length) continue;
#pragma unroll
    for (int j = 0; j < N; ++j) packs[r].v[j] = narrow<T>(weight_of(widen(packs[r].v[j]), top[j]) * inverse[j]);
    *reinterpret_cast<Pack<T, N>*>(y + first + i * stride) = packs[r];
  }
}

// Lines whose elements lie `stride` apart: a block owns blockDim.x * N neighbouring lines, a thread N of them and every
// blockDim.y-th element.
template <class T, int N>
__global__ void __launch_bounds__(kBlock)
    softmax_block_per_line_tile(const T* x, T* y, std::int64_t length, std::int64_t stride, std::uint32_t tiles) {
  __shared__ float tops[kBlock * N], sums[kBlock * N];
  const std::int64_t outer = blockIdx.x / tiles;
  const std::int64_t inner = (std::int64_t{blockIdx.x % tiles} * blockDim.x + threadIdx.x) * N;
  const bool in = inner < stride;
  const std::int64_t first = outer * length * stride + inner;
  Running run[N];
  if (in) {
    for (std::int64_t i = threadIdx.y; i < length; i += blockDim.y) {
      const auto pack = *reinterpret_cast<const Pack<T, N>*>(x + first + i * stride);
#pragma unroll
      for (int j = 0; j < N; ++j) run[j].add(widen(pack.v[j]));
    }
  }
  const unsigned row = blockDim.x * N, at = threadIdx.x * N;
#pragma unroll
  for (int j = 0; j < N; ++j) {
    tops[threadIdx.y * row + at + j] = run[j].top;
    sums[threadIdx.y * row + at + j] = run[j].sum;
  }
  for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {  // a tree of fixed shape: blockDim.y is a power of two
    __syncthreads();
    if (threadIdx.y >= half) continue;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      run[j].merge(tops[(threadIdx.y + half) * row + at + j], sums[(threadIdx.y + half) * row + at + j]);
      tops[threadIdx.y * row + at + j] = run[j].top;
      sums[threadIdx.y * row + at + j] = run[j].sum;
    }
  }
  __syncthreads();
  if (!in) return;
  float factor[N];
#pragma unroll
  for (int j = 0; j < N; ++j) {
    run[j] = Running{tops[at + j], sums[at + j]};
    factor[j] = 1.0F / run[j].divisor();
  }
  for (std::int64_t i = threadIdx.y; i < length; i += blockDim.y) {
    auto pack = *reinterpret_cast<const Pack<T, N>*>(x + first + i * stride);
#pragma unroll
    for (int j = 0; j < N; ++j) pack.v[j] = narrow<T>(weight_of(widen(pack.v[j]), run[j].top) * factor[j]);
    *reinterpret_cast<Pack<T, N>*>(y + first + i * stride) = pack;
  }
}

class SoftmaxKernel final : public NodeKernel {
 public:
  SoftmaxKernel(const Softmax& layer, const PrepareArgs& args) : format_(args.in[0].format) {
    const Shape& x = args.in[0].shape;
    const int axis = layer.axis() < 0 ? layer.axis() + x.rank() : layer.axis();
    length_ = x[axis];
    stride_ = contiguous_strides(x, format_)[static_cast<std::size_t>(axis)];
    lines_ = x.elements() / length_;
    dispatch(args.out[0].dtype, [](auto t) {
      using T = decltype(t);
      for (auto kernel : {&softmax_lanes_per_line<T, 32>, &softmax_lanes_per_line<T, kBlock>})
        preload(reinterpret_cast<const void*>(kernel));
      for (auto kernel :
           {&softmax_line_in_registers<T, 8, 1>, &softmax_line_in_registers<T, 8, 2>, &softmax_line_in_registers<T, 32, 2>,
            &softmax_line_in_registers<T, 32, 4>, &softmax_line_in_registers<T, 32, kMostPacks>, &softmax_line_in_registers<T, kBlock, 2>,
            &softmax_line_in_registers<T, kBlock, 4>, &softmax_line_in_registers<T, kBlock, kMostPacks>}) {
        preload(reinterpret_cast<const void*>(kernel));
      }
      for (auto kernel :
           {&softmax_line_tile_in_registers<T, 1, kMostRows>, &softmax_line_tile_in_registers<T, 16 / sizeof(T), kMostRows>}) {
        preload(reinterpret_cast<const void*>(kernel));
      }
      for (auto kernel : {&softmax_block_per_line_tile<T, 1>, &softmax_block_per_line_tile<T, 16 / sizeof(T)>}) {
        preload(reinterpret_cast<const void*>(kernel));
      }
    });
  }

  std::string describe() const override {
    return stride_ > 1 ? "a block per tile of lines" : warp_lines() ? "a warp per line" : "a block per line";
  }

  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    check<CudaError>(args.in[0].is_contiguous(format_) && args.out[0].is_contiguous(format_), "Softmax's kernel takes contiguous ", format_,
                     " tensors only");
    dispatch(args.out[0].dtype, [&](auto t) {
      using T = decltype(t);
      const T* x = args.in[0].as<const T>();
      T* y = args.out[0].as<T>();
      constexpr int kPack = 16 / sizeof(T);
      const bool aligned = (reinterpret_cast<std::uintptr_t>(x) | reinterpret_cast<std::uintptr_t>(y)) % 16 == 0;
      const bool packs = aligned && (stride_ > 1 ? stride_ : length_) % kPack == 0;
      if (stride_ == 1 && packs && length_ <= kBlock * kPack * kMostPacks) return launch_in_registers(x, y, stream);
      if (stride_ == 1) {
        const std::int64_t blocks = ceil_div<std::int64_t>(lines_, warp_lines() ? kBlock / 32 : 1);
        const auto kernel = warp_lines() ? &softmax_lanes_per_line<T, 32> : &softmax_lanes_per_line<T, kBlock>;
        launch_kernel(kernel, grid_of(blocks), dim3(kBlock), 0, stream, x, y, lines_, length_, packs);
        return;
      }
      const std::int64_t threads = ceil_div<std::int64_t>(stride_, packs ? kPack : 1);
      auto columns = static_cast<unsigned>(std::min<std::uint64_t>(32, std::bit_ceil(static_cast<std::uint64_t>(threads))));
      // Fewer columns and more rows, down to 64 bytes of a row, if a block then holds whole lines.
      const unsigned fewest = std::min(columns, 64U / (packs ? 16U : static_cast<unsigned>(sizeof(T))));
      while (columns > fewest && length_ > kMostRows * std::int64_t{kBlock / columns}) columns /= 2;
      if (length_ > kMostRows * std::int64_t{kBlock / columns})
        columns = std::min(32U, std::bit_ceil(static_cast<unsigned>(std::min<std::int64_t>(threads, 32))));
      const std::int64_t tiles = ceil_div<std::int64_t>(threads, columns);
      if (length_ <= kMostRows * std::int64_t{kBlock / columns}) {
        const auto kernel = packs ? &softmax_line_tile_in_registers<T, kPack, kMostRows> : &softmax_line_tile_in_registers<T, 1, kMostRows>;
        launch_kernel(kernel, grid_of(lines_ / stride_ * tiles), dim3(columns, kBlock / columns), 0, stream, x, y,
                      static_cast<int>(length_), stride_, static_cast<std::uint32_t>(tiles));
        return;
      }
      const auto kernel = packs ? &softmax_block_per_line_tile<T, kPack> : &softmax_block_per_line_tile<T, 1>;
      launch_kernel(kernel, grid_of(lines_ / stride_ * tiles), dim3(columns, kBlock / columns), 0, stream, x, y, length_, stride_,
                    static_cast<std::uint32_t>(tiles));
    });
  }

 private:
  // The kernel that gives a line to 8 or 32 lanes, or to a block, with the fewest packs of 16 bytes a thread that hold it.
  template <class T>
  void launch_in_registers(const T* x, T* y, cudaStream_t stream) const {
    const std::int64_t packs = length_ * static_cast<std::int64_t>(sizeof(T)) / 16;
    // Reads and writes each byte once, 8 to 12 instructions an element: bound by memory. Not measured yet.
    const auto run = [&](auto* kernel, int lanes) {
      launch_kernel(kernel, grid_of(ceil_div<std::int64_t>(lines_, kBlock / lanes)), dim3(kBlock), 0, stream, x, y, lines_, length_);
    };
    if (packs <= 8) return run(&softmax_line_in_registers<T, 8, 1>, 8);
    if (packs <= 16) return run(&softmax_line_in_registers<T, 8, 2>, 8);
    if (packs <= 64) return run(&softmax_line_in_registers<T, 32, 2>, 32);
    if (packs <= 128) return run(&softmax_line_in_registers<T, 32, 4>, 32);
    if (packs <= 256) return run(&softmax_line_in_registers<T, 32, kMostPacks>, 32);
    if (packs <= 512) return run(&softmax_line_in_registers<T, kBlock, 2>, kBlock);
    if (packs <= 1024) return run(&softmax_line_in_registers<T, kBlock, 4>, kBlock);
    run(&softmax_line_in_registers<T, kBlock, kMostPacks>, kBlock);
  }

  // Up to 2048 elements a warp has work enough, and needs no barrier; a few long lines are better spread over blocks.
  bool warp_lines() const { return length_ <= 2048; }

  Format format_;
  std::int64_t length_ = 1, stride_ = 1, lines_ = 1;
};

std::unique_ptr<Kernel> make(const Softmax& layer, const PrepareArgs& args) { return std::make_unique<SoftmaxKernel>(layer, args); }

}  // namespace

void register_softmax(KernelRegistry& registry) { registry.add<Softmax>(&make); }

}  // namespace frieze::cuda
