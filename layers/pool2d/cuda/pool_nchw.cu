#include <frieze/core/error.h>
#include <frieze/layers/shared/cuda/epilogue.h>
#include <frieze/layers/pool2d/cuda/pooling.cuh>

namespace frieze::cuda {
namespace {

constexpr int kMostBinColumns = 1024;  // of which a block holds one f32 number each, for every warp

struct NchwPool {
  PoolArgs2d base;
  PoolIndex index;     // columns of y (or packs of them), rows of y, planes
  std::int64_t count;  // of what a thread or a warp owns
};

template <class T, PoolKind kKind>
__global__ void __launch_bounds__(kPoolBlock) pool_nchw_output_per_thread(const __grid_constant__ NchwPool a) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kPoolBlock + threadIdx.x;
  if (i >= a.count) return;
  const PoolWindows<int>& w = a.base.windows;
  int column, row;
  std::int64_t plane;
  a.index.split(i, column, row, plane);
  const PoolSpan<int> rows = w.h.span(row), columns = w.w.span(column);
  const T* x = static_cast<const T*>(a.base.x) + (plane * w.h.in + rows.first) * w.w.in + columns.first;
  float v = pool_begin<kKind>();
  for (int r = 0; r < rows.count; ++r) {
    const T* line = x + std::int64_t{r} * rows.step * w.w.in;
#pragma unroll 4
    for (int c = 0; c < columns.count; ++c) v = pool_join<kKind>(v, widen(line[c * columns.step]));
  }
  static_cast<T*>(a.base.y)[i] = narrow<T>(pool_end<kKind>(a.base, rows, columns, v));
}

// Windows of many positions: a warp owns an output, its lanes neighbouring columns.
template <class T, PoolKind kKind>
__global__ void __launch_bounds__(kPoolBlock) pool_nchw_output_per_warp(const __grid_constant__ NchwPool a) {
  const std::int64_t i = std::int64_t{blockIdx.x} * (kPoolBlock / 32) + threadIdx.x / 32;
  if (i >= a.count) return;  // the whole warp
  const PoolWindows<int>& w = a.base.windows;
  int column, row;
  std::int64_t plane;
  a.index.split(i, column, row, plane);
  const PoolSpan<int> rows = w.h.span(row), columns = w.w.span(column);
  const T* x = static_cast<const T*>(a.base.x) + (plane * w.h.in + rows.first) * w.w.in + columns.first;
  float v = pool_begin<kKind>();
#pragma unroll 4
  for (PoolWalk walk(rows, columns, static_cast<int>(threadIdx.x % 32), 32); walk.left > 0; walk.next(32)) {
    v = pool_join<kKind>(v, widen(x[std::int64_t{walk.row} * rows.step * w.w.in + walk.column * columns.step]));
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) v = pool_join<kKind>(v, __shfl_xor_sync(~0U, v, step));
  if (threadIdx.x % 32 == 0) static_cast<T*>(a.base.y)[i] = narrow<T>(pool_end<kKind>(a.base, rows, columns, v));
}

// Bins of many positions: a warp owns all bins of one row. It adds up the columns of the input's rows, then neighbouring columns.
template <class T, PoolKind kKind>
__global__ void __launch_bounds__(kPoolBlock) pool_nchw_row_of_bins_per_warp(const __grid_constant__ NchwPool a) {
  extern __shared__ float columns_of_warps[];
  const PoolWindows<int>& w = a.base.windows;
  const int lane = static_cast<int>(threadIdx.x % 32);
  float* const sums = columns_of_warps + threadIdx.x / 32 * w.w.in;
  const std::int64_t i = std::int64_t{blockIdx.x} * (kPoolBlock / 32) + threadIdx.x / 32;
  if (i >= a.count) return;  // the whole warp
  const std::int64_t plane = i / w.h.out;
  const PoolSpan<int> rows = w.h.span(static_cast<int>(i - plane * w.h.out));
  const T* x = static_cast<const T*>(a.base.x) + (plane * w.h.in + rows.first) * w.w.in;
  for (int c = lane; c < w.w.in; c += 32) {
    float v = pool_begin<kKind>();
#pragma unroll 8
    for (int r = 0; r < rows.count; ++r) v = pool_join<kKind>(v, widen(x[std::int64_t{r} * w.w.in + c]));
    sums[c] = v;
  }
  __syncwarp();
  for (int j = lane; j < w.w.out; j += 32) {
    const PoolSpan<int> columns = w.w.span(j);
    float v = pool_begin<kKind>();
    for (int c = 0; c < columns.count; ++c) v = pool_join<kKind>(v, sums[columns.first + c]);
    static_cast<T*>(a.base.y)[i * w.w.out + j] = narrow<T>(pool_end<kKind>(a.base, rows, columns, v));
  }
}

// A thread owns V / kStride neighbouring outputs of each of kRows rows below each other. Of each input row under their windows it loads one
// aligned pack of V, and what the windows take on either side of it by itself; see strips_of().
template <class T, PoolKind kKind, int kSide, int kStride, int kPadding, int kRows>
__global__ void __launch_bounds__(kPoolBlock) pool_nchw_strip_per_thread(const __grid_constant__ NchwPool a) {
  constexpr int V = 16 / static_cast<int>(sizeof(T)), O = V / kStride, U = (kRows - 1) * kStride + kSide;
  constexpr int kRight = kSide - kPadding - kStride;  // columns behind the pack that the last output takes
  const std::int64_t i = std::int64_t{blockIdx.x} * kPoolBlock + threadIdx.x;
  if (i >= a.count) return;
  const PoolWindows<int>& w = a.base.windows;
  int pack, strip;
  std::int64_t plane;
  a.index.split(i, pack, strip, plane);
  const int first_row = strip * kRows, top = first_row * kStride - w.h.padding, first = pack * V;  // row of y, row and column of x
  const bool has_left = kPadding > 0 && first > 0, has_right = kRight > 0 && first + V < w.w.in;
  const T* x = static_cast<const T*>(a.base.x) + plane * w.h.in * w.w.in + first;
  Pack<T, V> middle[U];
  T left[U], right[U];
#pragma unroll
  for (int u = 0; u < U; ++u) {
    if (top + u < 0 || top + u >= w.h.in) continue;
    const T* line = x + std::int64_t{top + u} * w.w.in;
    middle[u] = *reinterpret_cast<const Pack<T, V>*>(line);
    if (has_left) left[u] = line[-1];
    if (has_right) right[u] = line[V];
  }
  float all[kRows][V + 2];  // of the columns from first - 1 to first + V
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int j = 0; j < V + 2; ++j) all[r][j] = pool_begin<kKind>();
  }
#pragma unroll
  for (int u = 0; u < U; ++u) {
    if (top + u < 0 || top + u >= w.h.in) continue;
    float columns[V + 2];
    columns[0] = has_left ? widen(left[u]) : pool_begin<kKind>();
    columns[V + 1] = has_right ? widen(right[u]) : pool_begin<kKind>();
#pragma unroll
    for (int j = 0; j < V; ++j) columns[j + 1] = widen(middle[u].v[j]);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (u < r * kStride || u >= r * kStride + kSide) continue;
#pragma unroll
      for (int j = 0; j < V + 2; ++j) all[r][j] = pool_join<kKind>(all[r][j], columns[j]);
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int row = first_row + r, begin = top + r * kStride;
    if (row >= w.h.out) continue;
    const bool whole = begin >= 0 && begin + kSide <= w.h.in;  // no row of the windows is outside
    Pack<T, O> out;
#pragma unroll
    for (int o = 0; o < O; ++o) {
      float v = all[r][1 - kPadding + o * kStride];
#pragma unroll
      for (int c = 1; c < kSide; ++c) v = pool_join<kKind>(v, all[r][1 - kPadding + o * kStride + c]);
      const bool inside = whole && (o > 0 || kPadding == 0 || has_left) && (o + 1 < O || kRight <= 0 || has_right);
      if (kKind == PoolKind::mean) {
        v = inside ? v * a.base.whole_window : pool_end<kKind>(a.base, w.h.span(row), w.w.span(pack * O + o), v);
      }
      out.v[o] = narrow<T>(v);
    }
    *reinterpret_cast<Pack<T, O>*>(static_cast<T*>(a.base.y) + (plane * w.h.out + row) * w.w.out + pack * O) = out;
  }
}

struct Strips {
  void (*kernel)(NchwPool) = nullptr;  // nullptr: another window
  int rows = 1;
};

template <class T, PoolKind kKind>
Strips strips_of(const PoolWindows<int>& w) {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  const PoolAxis<int>& a = w.w;
  const bool square = !a.adaptive && w.h.kernel == a.kernel && w.h.stride == a.stride && a.dilation == 1 && w.h.dilation == 1;
  if (!square || a.in % V != 0 || a.out * a.stride != a.in) return {};
  if (a.kernel == 2 && a.stride == 2 && a.padding == 0) return {&pool_nchw_strip_per_thread<T, kKind, 2, 2, 0, 2>, 2};
  if (a.kernel == 3 && a.stride == 2 && a.padding == 1) return {&pool_nchw_strip_per_thread<T, kKind, 3, 2, 1, 2>, 2};
  if (a.kernel == 3 && a.stride == 1 && a.padding == 1) return {&pool_nchw_strip_per_thread<T, kKind, 3, 1, 1, 4>, 4};
  return {};
}

template <class T, PoolKind kKind>
void run(NchwPool& a, PoolPath path, cudaStream_t stream) {
  const PoolWindows<int>& w = a.base.windows;
  const std::int64_t planes = a.base.images * a.base.channels;
  if (path == PoolPath::thread_per_strip) {
    const Strips strips = strips_of<T, kKind>(w);
    const int packs = w.w.in / static_cast<int>(16 / sizeof(T)), lines = ceil_div(w.h.out, strips.rows);
    a.count = planes * lines * packs;
    a.index = PoolIndex(packs, lines, a.count);
    launch_kernel(strips.kernel, grid_of(ceil_div<std::int64_t>(a.count, kPoolBlock)), dim3(kPoolBlock), 0, stream, a);
    return;
  }
  if (path == PoolPath::warp_per_bins) {
    a.count = planes * w.h.out;
    const std::size_t shared = kPoolBlock / 32 * static_cast<std::size_t>(w.w.in) * sizeof(float);
    launch_kernel(&pool_nchw_row_of_bins_per_warp<T, kKind>, grid_of(ceil_div<std::int64_t>(a.count, kPoolBlock / 32)), dim3(kPoolBlock),
                  shared, stream, a);
    return;
  }
  a.count = planes * w.h.out * w.w.out;
  a.index = PoolIndex(w.w.out, w.h.out, a.count);
  if (path == PoolPath::many_per_output) {
    const std::int64_t blocks = ceil_div<std::int64_t>(a.count, kPoolBlock / 32);
    launch_kernel(&pool_nchw_output_per_warp<T, kKind>, grid_of(blocks), dim3(kPoolBlock), 0, stream, a);
    return;
  }
  const std::int64_t blocks = ceil_div<std::int64_t>(a.count, kPoolBlock);
  launch_kernel(&pool_nchw_output_per_thread<T, kKind>, grid_of(blocks), dim3(kPoolBlock), 0, stream, a);
}

template <class T, PoolKind kKind>
void preload_kernels() {
  preload(reinterpret_cast<const void*>(&pool_nchw_output_per_thread<T, kKind>));
  preload(reinterpret_cast<const void*>(&pool_nchw_output_per_warp<T, kKind>));
  preload(reinterpret_cast<const void*>(&pool_nchw_row_of_bins_per_warp<T, kKind>));
  preload(reinterpret_cast<const void*>(&pool_nchw_strip_per_thread<T, kKind, 2, 2, 0, 2>));
  preload(reinterpret_cast<const void*>(&pool_nchw_strip_per_thread<T, kKind, 3, 2, 1, 2>));
  preload(reinterpret_cast<const void*>(&pool_nchw_strip_per_thread<T, kKind, 3, 1, 1, 4>));
}

}  // namespace

PoolPath pool_path_nchw(DType t, const PoolArgs2d& args, bool aligned) {
  const bool strips = dispatch(t, [&](auto type) { return strips_of<decltype(type), PoolKind::max>(args.windows).kernel != nullptr; });
  if (strips && aligned) return PoolPath::thread_per_strip;
  const auto most = [](const PoolAxis<int>& a) { return std::int64_t{a.adaptive ? a.in / a.out + 1 : a.kernel}; };
  if (most(args.windows.h) * most(args.windows.w) < kManyPositions) return PoolPath::thread_per_output;
  return args.windows.w.adaptive && args.windows.w.in <= kMostBinColumns ? PoolPath::warp_per_bins : PoolPath::many_per_output;
}

void preload_pool_nchw(DType t) {
  dispatch(t, [](auto type) {
    preload_kernels<decltype(type), PoolKind::max>();
    preload_kernels<decltype(type), PoolKind::mean>();
  });
}

// x in and y out once, the windows' overlap from the cache; bound by memory. Not measured yet.
void launch_pool_nchw(DType t, const PoolArgs2d& args, cudaStream_t stream) {
  NchwPool a{};
  a.base = args;
  const PoolPath path = pool_path_nchw(t, args, is_aligned(args.x, 16) && is_aligned(args.y, 16));
  dispatch(t, [&](auto type) {
    using T = decltype(type);
    if (args.windows.kind == PoolKind::max) return run<T, PoolKind::max>(a, path, stream);
    run<T, PoolKind::mean>(a, path, stream);
  });
}

}  // namespace frieze::cuda
