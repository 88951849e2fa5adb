#include <frieze/core/error.h>
#include <frieze/layers/shared/cuda/epilogue.h>
#include <frieze/layers/pool2d/cuda/pooling.cuh>

namespace frieze::cuda {
namespace {

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
  static_cast<T*>(a.base.y)[i] = narrow<T>(pool_end<kKind>(w, rows, columns, v));
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
  int r = 0, c = static_cast<int>(threadIdx.x % 32);
  for (;;) {
    while (c >= columns.count && r < rows.count) c -= columns.count, ++r;  // a few steps: positions advance by 32
    if (r >= rows.count) break;
    v = pool_join<kKind>(v, widen(x[std::int64_t{r} * rows.step * w.w.in + c * columns.step]));
    c += 32;
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) v = pool_join<kKind>(v, __shfl_xor_sync(~0U, v, step));
  if (threadIdx.x % 32 == 0) static_cast<T*>(a.base.y)[i] = narrow<T>(pool_end<kKind>(w, rows, columns, v));
}

// A thread owns V / kStride neighbouring outputs of a row. Of each input row under their window it loads one aligned pack of V, and what
// the window takes on either side of it by itself; see row_packs().
template <class T, PoolKind kKind, int kSide, int kStride, int kPadding>
__global__ void __launch_bounds__(kPoolBlock) pool_nchw_packs_of_rows(const __grid_constant__ NchwPool a) {
  constexpr int V = 16 / static_cast<int>(sizeof(T)), O = V / kStride;
  constexpr int kRight = kSide - kPadding - kStride;  // columns behind the pack that the last output takes
  const std::int64_t i = std::int64_t{blockIdx.x} * kPoolBlock + threadIdx.x;
  if (i >= a.count) return;
  const PoolWindows<int>& w = a.base.windows;
  int pack, row;
  std::int64_t plane;
  a.index.split(i, pack, row, plane);
  const PoolSpan<int> rows = w.h.span(row);
  const int first = pack * V;  // column of x
  const T* x = static_cast<const T*>(a.base.x) + (plane * w.h.in + rows.first) * w.w.in + first;
  float v[O];
#pragma unroll
  for (int o = 0; o < O; ++o) v[o] = pool_begin<kKind>();
  Pack<T, V> middle[kSide];
  T left[kSide], right[kSide];
#pragma unroll
  for (int r = 0; r < kSide; ++r) {
    if (r >= rows.count) continue;
    const T* line = x + std::int64_t{r} * w.w.in;
    middle[r] = *reinterpret_cast<const Pack<T, V>*>(line);
    if (kPadding > 0 && first > 0) left[r] = line[-1];
    if (kRight > 0 && first + V < w.w.in) right[r] = line[V];
  }
#pragma unroll
  for (int r = 0; r < kSide; ++r) {
    if (r >= rows.count) continue;
    float columns[V + 2];  // from first - 1 to first + V
    columns[0] = kPadding > 0 && first > 0 ? widen(left[r]) : pool_begin<kKind>();
    columns[V + 1] = kRight > 0 && first + V < w.w.in ? widen(right[r]) : pool_begin<kKind>();
#pragma unroll
    for (int j = 0; j < V; ++j) columns[j + 1] = widen(middle[r].v[j]);
#pragma unroll
    for (int o = 0; o < O; ++o) {
#pragma unroll
      for (int c = 0; c < kSide; ++c) v[o] = pool_join<kKind>(v[o], columns[1 - kPadding + o * kStride + c]);
    }
  }
  Pack<T, O> out;
#pragma unroll
  for (int o = 0; o < O; ++o) out.v[o] = narrow<T>(pool_end<kKind>(w, rows, w.w.span(pack * O + o), v[o]));
  *reinterpret_cast<Pack<T, O>*>(static_cast<T*>(a.base.y) + i * O) = out;
}

// The windows that pool_nchw_packs_of_rows takes, as (side, stride, padding); nullptr: another one.
template <class T, PoolKind kKind>
void (*row_packs(const PoolWindows<int>& w))(NchwPool) {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  const PoolAxis<int>& a = w.w;
  const bool square = !a.adaptive && w.h.kernel == a.kernel && a.dilation == 1 && w.h.dilation == 1;
  if (!square || a.in % V != 0 || a.out * a.stride != a.in) return nullptr;
  if (a.kernel == 2 && a.stride == 2 && a.padding == 0) return &pool_nchw_packs_of_rows<T, kKind, 2, 2, 0>;
  if (a.kernel == 3 && a.stride == 2 && a.padding == 1) return &pool_nchw_packs_of_rows<T, kKind, 3, 2, 1>;
  if (a.kernel == 3 && a.stride == 1 && a.padding == 1) return &pool_nchw_packs_of_rows<T, kKind, 3, 1, 1>;
  return nullptr;
}

template <class T, PoolKind kKind>
void run(NchwPool& a, PoolPath path, cudaStream_t stream) {
  const PoolWindows<int>& w = a.base.windows;
  const std::int64_t planes = a.base.images * a.base.channels;
  if (path == PoolPath::thread_per_pack) {
    const int packs = w.w.in / static_cast<int>(16 / sizeof(T));
    a.count = planes * w.h.out * packs;
    a.index = PoolIndex(packs, w.h.out, a.count);
    launch_kernel(row_packs<T, kKind>(w), grid_of(ceil_div<std::int64_t>(a.count, kPoolBlock)), dim3(kPoolBlock), 0, stream, a);
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
  preload(reinterpret_cast<const void*>(&pool_nchw_packs_of_rows<T, kKind, 2, 2, 0>));
  preload(reinterpret_cast<const void*>(&pool_nchw_packs_of_rows<T, kKind, 3, 2, 1>));
  preload(reinterpret_cast<const void*>(&pool_nchw_packs_of_rows<T, kKind, 3, 1, 1>));
}

}  // namespace

PoolPath pool_path_nchw(DType t, const PoolArgs2d& args, bool aligned) {
  const bool packs = dispatch(t, [&](auto type) { return row_packs<decltype(type), PoolKind::max>(args.windows) != nullptr; });
  if (packs && aligned) return PoolPath::thread_per_pack;
  const auto most = [](const PoolAxis<int>& a) { return std::int64_t{a.adaptive ? a.in / a.out + 1 : a.kernel}; };
  return most(args.windows.h) * most(args.windows.w) >= kManyPositions ? PoolPath::many_per_output : PoolPath::thread_per_output;
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
