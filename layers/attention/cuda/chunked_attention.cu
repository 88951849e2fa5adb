// Attention by whole rows of scores, a bounded number of them at a time: any type, width and strides. Three launches a chunk, of a grid
// over all its heads: scores = mask(scale * q * k^T), rows of weights in place, weights * v. All between is f32.
#include <algorithm>

#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/attention/cuda/attention_rows.cuh>
#include <frieze/layers/shared/cuda/epilogue.cuh>
#include <frieze/layers/shared/cuda/strip_product.cuh>

namespace frieze::cuda {
namespace {

constexpr int kThreads = kStripThreads, kRowThreads = 128;

// What is computed together: some whole heads, or some rows of one.
struct Chunk {
  AttentionCall call;
  float* scores = nullptr;  // [pairs, rows, keys]
  std::int64_t first_pair = 0, first_row = 0, rows = 0;
};

struct Tile {
  std::int64_t row = 0, column = 0, pair = 0;
  int n = 0, head = 0;
};
__device__ __forceinline__ Tile tile_of(const Chunk& c, std::int64_t row_tiles, std::int64_t column_tiles) {
  const DivMod by_column = div_mod(blockIdx.x, column_tiles), by_row = div_mod(by_column.quotient, row_tiles);
  const DivMod pair = div_mod(c.first_pair + by_row.quotient, c.call.heads);
  return {by_row.remainder * kStripRows, by_column.remainder * kStripColumns, by_row.quotient, static_cast<int>(pair.quotient),
          static_cast<int>(pair.remainder)};
}

template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    scores_tile_per_block(const __grid_constant__ Chunk c, std::int64_t row_tiles, std::int64_t column_tiles) {
  const AttentionCall& a = c.call;
  const Tile at = tile_of(c, row_tiles, column_tiles);
  const std::int64_t row0 = c.first_row + at.row;
  const T* q = static_cast<const T*>(a.q.data) + head_offset(a.q, at.n, at.head) + row0 * a.q.row;
  const T* k = static_cast<const T*>(a.k.data) + head_offset(a.k, at.n, at.head) + at.column * a.k.row;
  float acc[8][4] = {};
  multiply_strips(acc, Strip<T>{q, a.q.row, a.q.column, c.rows - at.row}, Strip<T>{k, a.k.row, a.k.column, a.keys - at.column}, a.width);
  const std::int64_t mask_base = head_offset(a.mask, at.n, at.head);
  float* const scores = c.scores + at.pair * c.rows * a.keys;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const std::int64_t row = at.row + strip_row(i);
    if (row >= c.rows) continue;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const std::int64_t key = at.column + strip_column(j);
      if (key >= a.keys) continue;
      scores[row * a.keys + key] = masked_score<T>(a, acc[i][j] * a.scale, mask_base, c.first_row + row, key, 1.0F);
    }
  }
}

// Weights of one row in place; zeros where all is hidden.
__global__ void __launch_bounds__(kRowThreads) weights_row_per_block(float* scores, std::int64_t keys) {
  __shared__ float parts[2][kRowThreads / 32];
  float* const row = scores + std::int64_t{blockIdx.x} * keys;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  float top = -INFINITY;
  for (std::int64_t i = threadIdx.x; i < keys; i += kRowThreads) top = fmaxf(top, row[i]);  // passes over NaN
#pragma unroll
  for (int step = 16; step > 0; step /= 2) top = fmaxf(top, __shfl_xor_sync(~0U, top, step));
  if (lane == 0) parts[0][warp] = top;
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kRowThreads / 32; ++w) top = fmaxf(top, parts[0][w]);
  const float base = top == -INFINITY ? 0.0F : top;
  float sum = 0;
  for (std::int64_t i = threadIdx.x; i < keys; i += kRowThreads) sum += row[i] = expf(row[i] - base);
#pragma unroll
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0U, sum, step);
  if (lane == 0) parts[1][warp] = sum;
  __syncthreads();
  sum = 0;
#pragma unroll
  for (int w = 0; w < kRowThreads / 32; ++w) sum += parts[1][w];
  const float inverse = sum == 0.0F ? 0.0F : 1.0F / sum;
  for (std::int64_t i = threadIdx.x; i < keys; i += kRowThreads) row[i] *= inverse;
}

template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    weighted_values_tile_per_block(const __grid_constant__ Chunk c, std::int64_t row_tiles, std::int64_t column_tiles) {
  const AttentionCall& a = c.call;
  const Tile at = tile_of(c, row_tiles, column_tiles);
  const float* weights = c.scores + (at.pair * c.rows + at.row) * a.keys;
  const T* v = static_cast<const T*>(a.v.data) + head_offset(a.v, at.n, at.head) + at.column * a.v.column;
  float acc[8][4] = {};
  multiply_strips(acc, Strip<float>{weights, a.keys, 1, c.rows - at.row}, Strip<T>{v, a.v.column, a.v.row, a.value_width - at.column},
                  seen_keys(a, c.first_row + at.row + kStripRows));
  T* const o = static_cast<T*>(const_cast<void*>(a.o.data)) + head_offset(a.o, at.n, at.head);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const std::int64_t row = at.row + strip_row(i);
    if (row >= c.rows) continue;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const std::int64_t column = at.column + strip_column(j);
      if (column < a.value_width) o[(c.first_row + row) * a.o.row + column * a.o.column] = narrow<T>(acc[i][j]);
    }
  }
}

// Rows, or whole heads, whose scores fit into the workspace; at least one row.
struct Chunking {
  std::int64_t pairs = 1, rows = 1;
};
Chunking chunking(const AttentionCall& call) {
  const std::int64_t row_bytes = std::int64_t{call.keys} * 4, rows = std::max<std::int64_t>(1, kScoresWorkspace / row_bytes);
  if (rows < call.rows) return {1, rows >= kStripRows ? rows / kStripRows * kStripRows : rows};
  return {std::min(call.pairs(), rows / call.rows), call.rows};
}

}  // namespace

std::size_t chunked_attention_workspace(const AttentionCall& call) {
  const Chunking chunk = chunking(call);
  return static_cast<std::size_t>(chunk.pairs * chunk.rows * call.keys) * 4;
}

void launch_chunked_attention(DType dtype, const AttentionCall& call, void* workspace, cudaStream_t stream) {
  const Chunking size = chunking(call);
  Chunk c;
  c.call = call;
  c.scores = static_cast<float*>(workspace);
  for (std::int64_t pair = 0; pair < call.pairs(); pair += size.pairs) {
    const std::int64_t pairs = std::min(size.pairs, call.pairs() - pair);
    for (std::int64_t row = 0; row < call.rows; row += size.rows) {
      c.first_pair = pair;
      c.first_row = row;
      c.rows = std::min(size.rows, call.rows - row);
      const std::int64_t row_tiles = ceil_div<std::int64_t>(c.rows, kStripRows);
      const std::int64_t keys = ceil_div<std::int64_t>(call.keys, kStripColumns);
      const std::int64_t columns = ceil_div<std::int64_t>(call.value_width, kStripColumns);
      // 2 * rows * keys * width flops each, of f32 outside the tensor cores, and 16 bytes a score through L2: bound by arithmetic. Not
      // measured yet.
      dispatch(dtype, [&](auto t) {
        using T = decltype(t);
        launch_kernel(&scores_tile_per_block<T>, grid_of(pairs * row_tiles * keys), dim3(kThreads), 0, stream, c, row_tiles, keys);
        launch_kernel(&weights_row_per_block, grid_of(pairs * c.rows), dim3(kRowThreads), 0, stream, c.scores, std::int64_t{call.keys});
        launch_kernel(&weighted_values_tile_per_block<T>, grid_of(pairs * row_tiles * columns), dim3(kThreads), 0, stream, c, row_tiles,
                      columns);
      });
    }
  }
}

void preload_chunked_attention(DType dtype) {
  dispatch(dtype, [](auto t) {
    using T = decltype(t);
    preload(reinterpret_cast<const void*>(&scores_tile_per_block<T>));
    preload(reinterpret_cast<const void*>(&weights_row_per_block));
    preload(reinterpret_cast<const void*>(&weighted_values_tile_per_block<T>));
  });
}

}  // namespace frieze::cuda
