#pragma once
/// Attention by tensor cores for every GPU from sm_80 on: f16, bf16, any strides, q and k up to 512 wide.
///
/// Read this first. A block of 4 warps owns 64 or 128 query rows of one head, a warp 16 or 32 of them with all their sums in registers, so
/// that no score leaves the block. q lies in shared memory for good. k and v come through one ring of four stages, a stage being 64 keys x
/// 64 columns: of each tile of 64 keys first the columns of k, whose products with q add up to the scores, then those of v. A stage costs
/// one barrier. Rows of 128 bytes lie with their 16-byte packs exchanged by row, which keeps ldmatrix and cp.async free of bank conflicts.
#include <frieze/layers/attention/cuda/attention_rows.cuh>
#include <frieze/layers/shared/cuda/async_copy.cuh>

namespace frieze::cuda {

inline constexpr int kStageKeys = 64, kStageColumns = 64, kStageBytes = kStageKeys * kStageColumns * 2, kRingStages = 4;
inline constexpr int kFusedThreads = 128;
inline constexpr int kMostValueStages = 4;  // columns of v that a block sums: more would not fit into registers

struct FusedArgs {
  AttentionCall call;
  unsigned row_tiles = 1, parts = 1;  // blocks of a head: query rows x parts of v's columns
  int q_stages = 1, v_stages = 1;
  bool q_packs = false, k_packs = false, v_packs = false, o_pairs = false;
};

__device__ __forceinline__ std::uint32_t swizzled_pack(int row, int pack) {
  return static_cast<std::uint32_t>(row * 128 + ((pack ^ (row & 7)) << 4));
}
/// d[16,8] += a[16,16] * b[16,8], d being four of many sums.
template <class T>
__device__ __forceinline__ void multiply_tile(float* d, const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  multiply_add<T>(*reinterpret_cast<float(*)[4]>(d), a, b0, b1);
}

/// load_stage() of rows that are no whole packs. Apart, as it is long and rare.
template <class T>
__device__ __noinline__ void load_stage_by_elements(unsigned char* to, const T* head, std::int64_t row_step, std::int64_t column_step,
                                                    int row, int count, int rows, int column, int width) {
  const bool along_rows = row_step == 1;  // of a transposed view, neighbouring rows are neighbours in memory
  for (int i = static_cast<int>(threadIdx.x); i < count * kStageColumns; i += kFusedThreads) {
    const int r = along_rows ? i % count : i / kStageColumns, c = along_rows ? i / count : i % kStageColumns;
    T value = T(0.0F);
    if (row + r < rows && column + c < width) value = head[std::int64_t{row + r} * row_step + std::int64_t{column + c} * column_step];
    *reinterpret_cast<T*>(to + swizzled_pack(r, c / 8) + c % 8 * 2) = value;
  }
}

/// Rows [row, row + count) x columns [column, column + 64) of `x` to shared memory, zeros where the tensor ends. `head` is one head's
/// matrix.
template <class T>
__device__ __forceinline__ void load_stage(unsigned char* to, const HeadsView& x, const T* head, int row, int count, int rows, int column,
                                           int width, bool packs) {
  const int tid = static_cast<int>(threadIdx.x);
  if (packs) {
    const int pack = tid % 8, from = column + pack * 8;
    for (int r = tid / 8; r < count; r += kFusedThreads / 8) {
      const bool inside = row + r < rows && from < width;
      const T* source = inside ? head + std::int64_t{row + r} * x.row + from : head;
      copy_async_16_or_zero(to + swizzled_pack(r, pack), source, inside);
    }
    return;
  }
  load_stage_by_elements(to, head, x.row, x.column, row, count, rows, column, width);
}

/// kTiles: tiles of 16 rows that a warp owns; kValues: stages of v's columns that a block sums.
template <class T, int kTiles, int kValues>
__global__ void __launch_bounds__(kFusedThreads) attention_rows_per_block(const __grid_constant__ FusedArgs f) {
  extern __shared__ __align__(128) unsigned char shared[];
  constexpr int kRows = 64 * kTiles, kScores = kStageKeys / 2;
  const AttentionCall& a = f.call;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  unsigned rest = blockIdx.x;
  // The longest rows of a causal head first.
  const unsigned turn = rest % f.row_tiles;
  const auto tile = static_cast<int>(a.causal ? f.row_tiles - 1 - turn : turn);
  rest /= f.row_tiles;
  const int first_column = static_cast<int>(rest % f.parts) * kMostValueStages * kStageColumns;
  rest /= f.parts;
  const auto heads = static_cast<unsigned>(a.heads);
  const int head = static_cast<int>(rest % heads), n = static_cast<int>(rest / heads);
  const int row0 = tile * kRows;
  const T* q = static_cast<const T*>(a.q.data) + head_offset(a.q, n, head);
  const T* k = static_cast<const T*>(a.k.data) + head_offset(a.k, n, head);
  const T* v = static_cast<const T*>(a.v.data) + head_offset(a.v, n, head);
  T* o = static_cast<T*>(const_cast<void*>(a.o.data)) + head_offset(a.o, n, head);
  const std::int64_t mask_base = head_offset(a.mask, n, head);

  const int value_stages = min(f.v_stages - first_column / kStageColumns, kValues);
  const int tiles = (seen_keys(a, std::int64_t{row0} + kRows) + kStageKeys - 1) / kStageKeys;
  unsigned char* const ring = shared + f.q_stages * kRows * 128;
  const auto ring_at = static_cast<std::uint32_t>(__cvta_generic_to_shared(ring));
  const auto q_at = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));

  // The next tile to fetch: the copies run ahead of the products.
  int fetch_tile = 0, fetch_part = 0, fetch_slot = 0;
  const auto fetch = [&] {
    if (fetch_tile < tiles) {
      unsigned char* const to = ring + fetch_slot * kStageBytes;
      if (fetch_part < f.q_stages) {
        load_stage(to, a.k, k, fetch_tile * kStageKeys, kStageKeys, a.keys, fetch_part * kStageColumns, a.width, f.k_packs);
      } else {
        const int column = first_column + (fetch_part - f.q_stages) * kStageColumns;
        load_stage(to, a.v, v, fetch_tile * kStageKeys, kStageKeys, a.keys, column, a.value_width, f.v_packs);
      }
      if (++fetch_part == f.q_stages + value_stages) fetch_part = 0, ++fetch_tile;
    }
    fetch_slot = (fetch_slot + 1) % kRingStages;
    commit_async();
  };
  for (int c = 0; c < f.q_stages; ++c) {
    load_stage(shared + c * kRows * 128, a.q, q, row0, kRows, a.rows, c * kStageColumns, a.width, f.q_packs);
  }
  for (int i = 0; i < kRingStages - 1; ++i) fetch();

  float sums[kTiles][kValues * 32] = {}, s[kTiles][kScores];
  RowStatistics rows[kTiles];
  int slot = 0;
  // Ends with the stage's data in shared memory and the next fetch under way, into the slot that all have left.
  const auto next_stage = [&] {
    asm volatile("cp.async.wait_group %0;\n" ::"n"(kRingStages - 2) : "memory");
    __syncthreads();
    fetch();
    const std::uint32_t at = ring_at + slot * kStageBytes;
    slot = (slot + 1) % kRingStages;
    return at;
  };
  const int q_row = warp * 16 * kTiles + lane % 16;  // what this lane addresses for ldmatrix
  const float factor = a.scale * kLog2E;
  for (int t = 0; t < tiles; ++t) {
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int i = 0; i < kScores; ++i) s[m][i] = 0;
    }
    for (int c = 0; c < f.q_stages; ++c) {
      const std::uint32_t from = next_stage(), q_from = q_at + c * kRows * 128;
      const int steps = min(4, (a.width - c * kStageColumns + 15) / 16);
#pragma unroll 4
      for (int step = 0; step < steps; ++step) {
        std::uint32_t left[kTiles][4];
#pragma unroll
        for (int m = 0; m < kTiles; ++m) load_matrices(left[m], q_from + swizzled_pack(q_row + 16 * m, step * 2 + lane / 16));
#pragma unroll
        for (int j = 0; j < kStageKeys / 16; ++j) {
          std::uint32_t right[4];  // keys 16 j to + 7 at columns 0 to 7 and 8 to 15, then the next 8 keys
          load_matrices(right, from + swizzled_pack(j * 16 + lane % 8 + lane / 16 * 8, step * 2 + lane / 8 % 2));
#pragma unroll
          for (int m = 0; m < kTiles; ++m) {
            multiply_tile<T>(s[m] + j * 8, left[m], right[0], right[1]);
            multiply_tile<T>(s[m] + j * 8 + 4, left[m], right[2], right[3]);
          }
        }
      }
    }
    std::uint32_t weights[kTiles][kScores / 2];
    const int key = t * kStageKeys;
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
      const int row = row0 + (warp * kTiles + m) * 16;
      const bool masked = tile_is_masked(a, row, key, kStageKeys);
      if (masked && a.mask_kind == MaskKind::none) hide_keys(a, s[m], row + lane / 4, key + lane % 4 * 2);
      if (a.mask_kind != MaskKind::none) mask_scores<T>(a, s[m], mask_base, row + lane / 4, key + lane % 4 * 2);
      float rescale[2];
      rows[m].add(s[m], masked ? 1.0F : factor, rescale);
      if (__any_sync(~0U, rescale[0] != 1.0F || rescale[1] != 1.0F)) {
#pragma unroll
        for (int i = 0; i < kValues * 32; ++i) sums[m][i] *= rescale[(i & 2) / 2];
      }
#pragma unroll
      for (int i = 0; i < kScores / 2; ++i) weights[m][i] = pack_two<T>(s[m][2 * i], s[m][2 * i + 1]);
    }
#pragma unroll
    for (int c = 0; c < kValues; ++c) {
      if (c >= value_stages) break;
      const std::uint32_t from = next_stage();
      const int columns = a.value_width - first_column - c * kStageColumns;
#pragma unroll
      for (int step = 0; step < kStageKeys / 16; ++step) {
#pragma unroll
        for (int j = 0; j < kStageColumns / 16; ++j) {
          if (j * 16 >= columns) continue;
          std::uint32_t right[4];  // columns 16 j to + 7 of keys 0 to 7 and 8 to 15, then the next 8 columns
          load_matrices_transposed(right, from + swizzled_pack(step * 16 + lane % 16, j * 2 + lane / 16));
#pragma unroll
          for (int m = 0; m < kTiles; ++m) {
            const std::uint32_t(&left)[4] = *reinterpret_cast<const std::uint32_t(*)[4]>(weights[m] + step * 4);
            multiply_tile<T>(sums[m] + c * 32 + j * 8, left, right[0], right[1]);
            multiply_tile<T>(sums[m] + c * 32 + j * 8 + 4, left, right[2], right[3]);
          }
        }
      }
    }
  }
#pragma unroll
  for (int m = 0; m < kTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float inverse = rows[m].inverse(half);
      const int row = row0 + (warp * kTiles + m) * 16 + lane / 4 + half * 8;
      if (row >= a.rows) continue;
      T* const to = o + std::int64_t{row} * a.o.row;
#pragma unroll
      for (int i = 0; i < kValues * 32; i += 4) {
        store_two<T>(to, first_column + i / 4 * 8 + lane % 4 * 2, a.value_width, a.o.column, f.o_pairs, sums[m][i + 2 * half] * inverse,
                     sums[m][i + 2 * half + 1] * inverse);
      }
    }
  }
}

}  // namespace frieze::cuda
