#include <algorithm>
#include <bit>

#include <frieze/core/error.h>
#include <frieze/layers/shared/cuda/epilogue.h>
#include <frieze/layers/pool2d/cuda/pooling.cuh>

namespace frieze::cuda {
namespace {

struct NhwcPool {
  PoolArgs2d base;
  PoolIndex index;     // of packs: channels, columns of y, the rest
  FastDiv rows;        // of y
  std::int64_t packs;  // of y
  int columns, tiles;  // many positions: packs beside each other in a block, blocks for all channels
};

// A thread owns a pack of channels of one output.
template <class T, int V, PoolKind kKind>
__global__ void __launch_bounds__(kPoolBlock) pool_nhwc_pack_per_thread(const __grid_constant__ NhwcPool a) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kPoolBlock + threadIdx.x;
  if (i >= a.packs) return;
  const PoolWindows<int>& w = a.base.windows;
  int pack, column;
  std::int64_t line;  // n * rows of y + row
  a.index.split(i, pack, column, line);
  const std::int64_t n = a.index.wide ? line / w.h.out : std::int64_t{a.rows.quotient(static_cast<std::uint32_t>(line))};
  const PoolSpan<int> rows = w.h.span(static_cast<int>(line - n * w.h.out)), columns = w.w.span(column);
  const std::int64_t channels = a.base.channels;
  const T* x = static_cast<const T*>(a.base.x) + ((n * w.h.in + rows.first) * w.w.in + columns.first) * channels + std::int64_t{pack} * V;
  const std::int64_t row_step = std::int64_t{rows.step} * w.w.in * channels, column_step = std::int64_t{columns.step} * channels;
  PoolPack<T, V, kKind> all;
  for (int r = 0; r < rows.count; ++r) {
#pragma unroll 4
    for (int c = 0; c < columns.count; ++c) all.join(*reinterpret_cast<const Pack<T, V>*>(x + r * row_step + c * column_step));
  }
  Pack<T, V> out;
#pragma unroll
  for (int j = 0; j < V; ++j) out.v[j] = narrow<T>(pool_end<kKind>(a.base, rows, columns, all.value(j)));
  *reinterpret_cast<Pack<T, V>*>(static_cast<T*>(a.base.y) + i * V) = out;
}

// A thread owns a pack of channels of kRows outputs below each other, whose windows of kSide x kSide positions share rows of the input.
template <class T, int V, PoolKind kKind, int kSide, int kStride, int kRows>
__global__ void __launch_bounds__(kPoolBlock) pool_nhwc_strip_per_thread(const __grid_constant__ NhwcPool a) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kPoolBlock + threadIdx.x;
  if (i >= a.packs) return;
  const PoolWindows<int>& w = a.base.windows;
  int pack, column;
  std::int64_t line;  // n * strips + strip
  a.index.split(i, pack, column, line);
  const int strips = static_cast<int>(a.rows.divisor);
  const std::int64_t n = a.index.wide ? line / strips : std::int64_t{a.rows.quotient(static_cast<std::uint32_t>(line))};
  const int first_row = static_cast<int>(line - n * strips) * kRows;
  const int top = first_row * kStride - w.h.padding, left = column * kStride - w.w.padding;
  const std::int64_t channels = a.base.channels;
  const T* x = static_cast<const T*>(a.base.x) + n * w.h.in * w.w.in * channels + std::int64_t{pack} * V;
  PoolPack<T, V, kKind> all[kRows];
#pragma unroll
  for (int u = 0; u < (kRows - 1) * kStride + kSide; ++u) {
    const int h = top + u;
    if (h < 0 || h >= w.h.in) continue;
    PoolPack<T, V, kKind> row;
#pragma unroll
    for (int c = 0; c < kSide; ++c) {
      const int at = left + c;
      if (at >= 0 && at < w.w.in) row.join(*reinterpret_cast<const Pack<T, V>*>(x + (std::int64_t{h} * w.w.in + at) * channels));
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (u >= r * kStride && u < r * kStride + kSide) all[r].join(row);
    }
  }
  const PoolSpan<int> columns = w.w.span(column);
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int row = first_row + r;
    if (row >= w.h.out) continue;
    const PoolSpan<int> rows = w.h.span(row);
    Pack<T, V> out;
#pragma unroll
    for (int j = 0; j < V; ++j) out.v[j] = narrow<T>(pool_end<kKind>(a.base, rows, columns, all[r].value(j)));
    const std::int64_t at = ((n * w.h.out + row) * w.w.out + column) * channels + std::int64_t{pack} * V;
    *reinterpret_cast<Pack<T, V>*>(static_cast<T*>(a.base.y) + at) = out;
  }
}

// Windows of many positions: a block owns blockDim.x packs of one output, a thread every blockDim.y-th position of one.
template <class T, int V, PoolKind kKind>
__global__ void __launch_bounds__(kPoolBlock) pool_nhwc_block_per_channel_tile(const __grid_constant__ NhwcPool a) {
  __shared__ float shared[kPoolBlock * V];
  const PoolWindows<int>& w = a.base.windows;
  const std::int64_t output = blockIdx.x / static_cast<unsigned>(a.tiles);
  const int pack = static_cast<int>((blockIdx.x - output * a.tiles) * blockDim.x + threadIdx.x);
  const std::int64_t line = output / w.w.out, n = line / w.h.out;
  const PoolSpan<int> rows = w.h.span(static_cast<int>(line - n * w.h.out)), columns = w.w.span(static_cast<int>(output - line * w.w.out));
  const std::int64_t channels = a.base.channels, at = std::int64_t{pack} * V;
  float v[V];
#pragma unroll
  for (int j = 0; j < V; ++j) v[j] = pool_begin<kKind>();
  if (at < channels) {
    const T* x = static_cast<const T*>(a.base.x) + ((n * w.h.in + rows.first) * w.w.in + columns.first) * channels + at;
    constexpr int K = 4;  // positions under way at a time
    const int step = static_cast<int>(blockDim.y);
    for (PoolWalk walk(rows, columns, static_cast<int>(threadIdx.y), step); walk.left > 0;) {
      Pack<T, V> loaded[K];
      int positions = 0;
#pragma unroll
      for (int k = 0; k < K; ++k) {
        if (walk.left <= 0) continue;
        const std::int64_t from = (std::int64_t{walk.row} * rows.step * w.w.in + std::int64_t{walk.column} * columns.step) * channels;
        loaded[k] = *reinterpret_cast<const Pack<T, V>*>(x + from);
        positions = k + 1;
        walk.next(step);
      }
#pragma unroll
      for (int k = 0; k < K; ++k) {
        if (k >= positions) continue;
#pragma unroll
        for (int j = 0; j < V; ++j) v[j] = pool_join<kKind>(v[j], widen(loaded[k].v[j]));
      }
    }
  }
  float* own = shared + (threadIdx.y * blockDim.x + threadIdx.x) * V;
#pragma unroll
  for (int j = 0; j < V; ++j) own[j] = v[j];
  for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {  // a tree of fixed shape: blockDim.y is a power of two
    __syncthreads();
    if (threadIdx.y >= half) continue;
#pragma unroll
    for (int j = 0; j < V; ++j) own[j] = pool_join<kKind>(own[j], own[half * blockDim.x * V + j]);
  }
  if (threadIdx.y != 0 || at >= channels) return;
  Pack<T, V> out;
#pragma unroll
  for (int j = 0; j < V; ++j) out.v[j] = narrow<T>(pool_end<kKind>(a.base, rows, columns, own[j]));
  *reinterpret_cast<Pack<T, V>*>(static_cast<T*>(a.base.y) + output * channels + at) = out;
}

struct Strips {
  void (*kernel)(NhwcPool) = nullptr;  // nullptr: another window
  int rows = 1;
};

template <class T, int V, PoolKind kKind>
Strips strips_of(const PoolWindows<int>& w) {
  const auto is = [](const PoolAxis<int>& a, int side, int stride) {
    return !a.adaptive && a.kernel == side && a.stride == stride && a.dilation == 1;
  };
  if (is(w.h, 2, 2) && is(w.w, 2, 2)) return {&pool_nhwc_strip_per_thread<T, V, kKind, 2, 2, 1>, 1};
  if (is(w.h, 3, 2) && is(w.w, 3, 2)) return {&pool_nhwc_strip_per_thread<T, V, kKind, 3, 2, 2>, 2};
  if (is(w.h, 3, 1) && is(w.w, 3, 1)) return {&pool_nhwc_strip_per_thread<T, V, kKind, 3, 1, 4>, 4};
  return {};
}

template <class T, int V, PoolKind kKind>
void run(NhwcPool& a, PoolPath path, cudaStream_t stream) {
  const PoolWindows<int>& w = a.base.windows;
  const std::int64_t packs = a.base.channels / V, outputs = a.base.images * w.h.out * w.w.out;
  if (path == PoolPath::many_per_output) {
    a.columns = static_cast<int>(std::min<std::uint64_t>(32, std::bit_ceil(static_cast<std::uint64_t>(packs))));
    a.tiles = static_cast<int>(ceil_div<std::int64_t>(packs, a.columns));
    const dim3 block(static_cast<unsigned>(a.columns), static_cast<unsigned>(kPoolBlock / a.columns));
    launch_kernel(&pool_nhwc_block_per_channel_tile<T, V, kKind>, grid_of(outputs * a.tiles), block, 0, stream, a);
    return;
  }
  const Strips strips = path == PoolPath::thread_per_strip ? strips_of<T, V, kKind>(w) : Strips{};
  const int lines = ceil_div(w.h.out, strips.rows);
  a.packs = a.base.images * lines * w.w.out * packs;
  a.index = PoolIndex(packs, w.w.out, a.packs);
  a.rows = FastDiv(static_cast<std::uint32_t>(lines));
  launch_kernel(strips.kernel != nullptr ? strips.kernel : &pool_nhwc_pack_per_thread<T, V, kKind>,
                grid_of(ceil_div<std::int64_t>(a.packs, kPoolBlock)), dim3(kPoolBlock), 0, stream, a);
}

template <class T, int V, PoolKind kKind>
void preload_kernels() {
  preload(reinterpret_cast<const void*>(&pool_nhwc_pack_per_thread<T, V, kKind>));
  preload(reinterpret_cast<const void*>(&pool_nhwc_strip_per_thread<T, V, kKind, 2, 2, 1>));
  preload(reinterpret_cast<const void*>(&pool_nhwc_strip_per_thread<T, V, kKind, 3, 2, 2>));
  preload(reinterpret_cast<const void*>(&pool_nhwc_strip_per_thread<T, V, kKind, 3, 1, 4>));
  preload(reinterpret_cast<const void*>(&pool_nhwc_block_per_channel_tile<T, V, kKind>));
}

}  // namespace

PoolPath pool_path_nhwc(const PoolArgs2d& args) {
  if (strips_of<float, 4, PoolKind::max>(args.windows).kernel != nullptr) return PoolPath::thread_per_strip;
  const auto most = [](const PoolAxis<int>& a) { return std::int64_t{a.adaptive ? a.in / a.out + 1 : a.kernel}; };
  return most(args.windows.h) * most(args.windows.w) >= kManyPositions ? PoolPath::many_per_output : PoolPath::thread_per_output;
}

void preload_pool_nhwc(DType t) {
  dispatch(t, [](auto type) {
    using T = decltype(type);
    constexpr int V = 16 / static_cast<int>(sizeof(T));
    preload_kernels<T, V, PoolKind::max>();
    preload_kernels<T, V, PoolKind::mean>();
    preload_kernels<T, 1, PoolKind::max>();
    preload_kernels<T, 1, PoolKind::mean>();
  });
}

// x in and y out once, the windows' overlap from the cache; bound by memory. Not measured yet.
void launch_pool_nhwc(DType t, const PoolArgs2d& args, cudaStream_t stream) {
  NhwcPool a{};
  a.base = args;
  const PoolPath path = pool_path_nhwc(args);
  dispatch(t, [&](auto type) {
    using T = decltype(type);
    constexpr int V = 16 / static_cast<int>(sizeof(T));
    const bool packs = args.channels % V == 0 && is_aligned(args.x, 16) && is_aligned(args.y, 16), max = args.windows.kind == PoolKind::max;
    if (packs && max) return run<T, V, PoolKind::max>(a, path, stream);
    if (packs) return run<T, V, PoolKind::mean>(a, path, stream);
    if (max) return run<T, 1, PoolKind::max>(a, path, stream);
    run<T, 1, PoolKind::mean>(a, path, stream);
  });
}

}  // namespace frieze::cuda
