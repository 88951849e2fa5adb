#include <algorithm>

#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/interpolate/cuda/resample.cuh>

namespace frieze::cuda {
namespace {

// nchw: a block owns up to kTileColumns columns of some rows of y. The pixels of each row of x that these need go to shared memory once, as
// f32, where they are blended along the width.
constexpr int kTileThreads = 128, kTileColumns = 512, kTileTaps = 8;
constexpr int kTileRows = 32;                                     // of y, with known numbers of weights
constexpr int kTileWindowRows = 4;                                // with any
constexpr int tile_loads(int taps) { return taps == 0 ? 9 : 5; }  // of a thread, for a row of x
constexpr int tile_rows(int taps) { return taps == 0 ? kTileWindowRows : kTileRows; }

// Where a block works, and how it gets rows of x.
template <class T, int K>
struct Tile {
  static constexpr int kLoads = tile_loads(K), kPixels = kLoads * kTileThreads, kColumns = kTileColumns / kTileThreads;
  int first_column, columns, first_row, rows, begin, length;  // begin, length: of the pixels of x
  const T* plane;
  T* out;

  __device__ __forceinline__ Tile(const T* x, T* y, const ResampleArgs& a) {
    const DivMod chunk = div_mod(blockIdx.x, a.tiles), group = div_mod(chunk.quotient, a.row_groups);
    first_column = static_cast<int>(chunk.remainder) * a.tile;
    columns = min(a.tile, a.w.out - first_column);
    first_row = static_cast<int>(group.remainder) * tile_rows(K);
    rows = min(tile_rows(K), a.h.out - first_row);
    plane = x + group.quotient * a.x_plane;
    out = y + group.quotient * a.y_plane + static_cast<std::int64_t>(first_row) * a.w.out + first_column;
    begin = a.w.start[first_column];
    const int last = first_column + columns - 1;
    length = a.w.start[last] + (K > 0 ? K : a.w.count[last]) - begin;  // starts and ends never fall
  }
  __device__ __forceinline__ void fetch(const ResampleArgs& a, int row, T (&to)[kLoads]) const {
    const T* const line = plane + static_cast<std::int64_t>(clamped(row, a.h.in)) * a.w.in;
#pragma unroll
    for (int p = 0; p < kLoads; ++p) {
      const int pixel = static_cast<int>(threadIdx.x) + p * kTileThreads;
      if (pixel < length) to[p] = line[clamped(begin + pixel, a.w.in)];
    }
  }
  __device__ __forceinline__ void put(const T (&from)[kLoads], float* to) const {
#pragma unroll
    for (int p = 0; p < kLoads; ++p) {
      const int pixel = static_cast<int>(threadIdx.x) + p * kTileThreads;
      if (pixel < length) to[pixel] = widen(from[p]);
    }
  }
  __device__ __forceinline__ int column(int i) const {
    return first_column + min(static_cast<int>(threadIdx.x) + i * kTileThreads, columns - 1);
  }
  __device__ __forceinline__ void store_row(const ResampleArgs& a, int row, const float (&v)[kColumns]) const {
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      const int column = static_cast<int>(threadIdx.x) + i * kTileThreads;
      if (column < columns) out[static_cast<std::int64_t>(row) * a.w.out + column] = narrow<T>(v[i]);
    }
  }
};

// K weights along each axis. The block goes down its rows of y, and down those of x without leaving one out: two are on their way while one
// is blended; the last K that were are kept.
template <class T, int K>
__global__ void __launch_bounds__(kTileThreads, 6) interpolate_tile_per_block(const T* x, T* y, const __grid_constant__ ResampleArgs a) {
  using Rows = Tile<T, K>;
  constexpr int C = Rows::kColumns;
  __shared__ float pixels[2][Rows::kPixels];
  __shared__ int starts[kTileRows];
  __shared__ float down[kTileRows][K];
  const Rows tile(x, y, a);
  for (int r = static_cast<int>(threadIdx.x); r < tile.rows; r += kTileThreads) {
    starts[r] = a.h.start[tile.first_row + r];
    load_weights<K>(a.h, tile.first_row + r, down[r]);
  }
  int at[C];
  float across[C][K];
#pragma unroll
  for (int i = 0; i < C; ++i) {
    at[i] = a.w.start[tile.column(i)] - tile.begin;
    load_weights<K>(a.w, tile.column(i), across[i]);
  }
  T next[Rows::kLoads], after[Rows::kLoads];
  int row = a.h.start[tile.first_row];  // of x, the next to be blended; it lies in pixels[buffer], the one behind it in `next`
  tile.fetch(a, row, next);
  tile.fetch(a, row + 1, after);
  tile.put(next, pixels[0]);
#pragma unroll
  for (int p = 0; p < Rows::kLoads; ++p) next[p] = after[p];
  __syncthreads();

  float kept[K][C] = {};
  int buffer = 0;
#pragma unroll 1
  for (int r = 0; r < tile.rows; ++r) {
    const int end = starts[r] + K;
#pragma unroll 1
    for (; row < end; ++row) {
      tile.fetch(a, row + 2, after);
      const float* const line = pixels[buffer];
#pragma unroll
      for (int k = 0; k + 1 < K; ++k) {
#pragma unroll
        for (int i = 0; i < C; ++i) kept[k][i] = kept[k + 1][i];
      }
#pragma unroll
      for (int i = 0; i < C; ++i) {
        float v = 0;
#pragma unroll
        for (int k = 0; k < K; ++k) v = K == 1 ? line[at[i]] : fmaf(across[i][k], line[at[i] + k], v);
        kept[K - 1][i] = v;
      }
      buffer ^= 1;
      tile.put(next, pixels[buffer]);
#pragma unroll
      for (int p = 0; p < Rows::kLoads; ++p) next[p] = after[p];
      __syncthreads();
    }
    float sum[C] = {};
#pragma unroll
    for (int k = 0; k < K; ++k) {
#pragma unroll
      for (int i = 0; i < C; ++i) sum[i] = K == 1 ? kept[k][i] : fmaf(down[r][k], kept[k][i], sum[i]);
    }
    tile.store_row(a, r, sum);
  }
}

// Up to kTileTaps weights along the width, any number along the height: each row of x is added to all rows of y that it is part of, while
// the next is on its way.
template <class T>
__global__ void __launch_bounds__(kTileThreads, 5)
    interpolate_tile_of_windows_per_block(const T* x, T* y, const __grid_constant__ ResampleArgs a) {
  using Rows = Tile<T, 0>;
  constexpr int C = Rows::kColumns, R = kTileWindowRows;
  __shared__ float pixels[2][Rows::kPixels];
  __shared__ int starts[R], ends[R];  // of the rows of x that each row of y takes
  const Rows tile(x, y, a);
  int at[C], taps[C];
  float across[C][kTileTaps];
#pragma unroll
  for (int i = 0; i < C; ++i) {
    const int column = tile.column(i);
    at[i] = a.w.start[column] - tile.begin;
    taps[i] = a.w.count[column];
#pragma unroll
    for (int k = 0; k < kTileTaps; ++k) {
      across[i][k] = k < taps[i] ? a.w.weights[static_cast<std::int64_t>(column) * a.w.taps + k] : 0.0F;
    }
  }
  if (threadIdx.x < R) {
    const int r = static_cast<int>(threadIdx.x), i = tile.first_row + min(r, tile.rows - 1);
    starts[r] = a.h.start[i];
    ends[r] = starts[r] + (r < tile.rows ? a.h.count[i] : 0);
  }
  __syncthreads();
  const int end = ends[tile.rows - 1];
  const auto next_of = [&](int row) {  // the next row of x that is needed
    int next = end;
#pragma unroll
    for (int q = 0; q < R; ++q) {
      const int from = max(row + 1, starts[q]);
      if (from < ends[q]) next = min(next, from);
    }
    return next;
  };
  T ahead[Rows::kLoads];
  float sums[R][C] = {};
  int row = starts[0], buffer = 0;
  tile.fetch(a, row, ahead);
  tile.put(ahead, pixels[0]);
  __syncthreads();
#pragma unroll 1
  while (row < end) {
    const int next = next_of(row);
    if (next < end) tile.fetch(a, next, ahead);
    const float* const line = pixels[buffer];
    float v[C] = {};
#pragma unroll
    for (int k = 0; k < kTileTaps; ++k) {
#pragma unroll
      for (int i = 0; i < C; ++i) {
        if (k < taps[i]) v[i] = fmaf(across[i][k], line[at[i] + k], v[i]);
      }
    }
#pragma unroll
    for (int q = 0; q < R; ++q) {
      const int k = row - starts[q];
      if (k < 0 || row >= ends[q]) continue;
      const float w = a.h.weights[static_cast<std::int64_t>(tile.first_row + q) * a.h.taps + k];
#pragma unroll
      for (int i = 0; i < C; ++i) sums[q][i] = fmaf(w, v[i], sums[q][i]);
    }
    if (next < end) tile.put(ahead, pixels[buffer ^ 1]);
    __syncthreads();
    buffer ^= 1;
    row = next;
  }
#pragma unroll
  for (int q = 0; q < R; ++q) {
    if (q < tile.rows) tile.store_row(a, q, sums[q]);
  }
}

template <class T, class Body>
void with_tile_kernel(std::int64_t taps, Body&& body) {
  switch (taps) {
    case 1: return body(&interpolate_tile_per_block<T, 1>);
    case 2: return body(&interpolate_tile_per_block<T, 2>);
    case 4: return body(&interpolate_tile_per_block<T, 4>);
    default: return body(&interpolate_tile_of_windows_per_block<T>);
  }
}

}  // namespace

// The most columns whose pixels of x fit into shared memory.
int interpolate_tile(const Interpolate::Axis& rows, const Interpolate::Axis& columns, int taps) {
  const auto out = static_cast<std::int64_t>(columns.start.size()), out_rows = static_cast<std::int64_t>(rows.start.size());
  if (columns.taps > kTileTaps || out < kTileThreads / 2) return 0;
  if (taps > 0 && rows.start.back() - rows.start.front() > 2 * out_rows) return 0;  // many rows of x would be read in vain
  const std::int64_t pixels = std::int64_t{tile_loads(taps)} * kTileThreads;
  for (int tile = kTileColumns; tile >= kTileThreads; tile /= 2) {
    bool fits = true;
    for (std::int64_t first = 0; first < out && fits; first += tile) {
      const auto last = static_cast<std::size_t>(std::min<std::int64_t>(first + tile, out) - 1);
      fits = columns.start[last] + columns.count[last] - columns.start[static_cast<std::size_t>(first)] <= pixels;
    }
    if (fits) return tile;
  }
  return 0;
}

std::int64_t interpolate_tile_blocks(ResampleArgs& a, std::int64_t planes, int taps) {
  a.tiles = ceil_div(a.w.out, a.tile);
  a.row_groups = ceil_div(a.h.out, tile_rows(taps));
  return planes * a.tiles * a.row_groups;
}

void launch_interpolate_tile(DType dtype, int taps, const ResampleArgs& args, std::int64_t blocks, const void* x, void* y,
                             cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    with_tile_kernel<T>(taps, [&](auto* kernel) {
      launch_kernel(kernel, grid_of(blocks), dim3(kTileThreads), 0, stream, static_cast<const T*>(x), static_cast<T*>(y), args);
    });
  });
}

void preload_interpolate_tile(DType dtype, int taps) {
  dispatch(dtype,
           [&](auto t) { with_tile_kernel<decltype(t)>(taps, [](auto* kernel) { preload(reinterpret_cast<const void*>(kernel)); }); });
}

}  // namespace frieze::cuda
