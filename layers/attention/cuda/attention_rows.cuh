#pragma once
/// The softmax of the fused kernels, which go over the keys tile by tile, on sums in the registers of tensor-core products: of a tile of
/// 16 rows x 8 columns, lane 4*i + j holds rows i, i, i + 8, i + 8 at columns 2j, 2j + 1, 2j, 2j + 1; tiles follow each other along the
/// columns. m64nNk16 of a warp group and m16n8k16 of a warp agree in this.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include <frieze/layers/attention/cuda/attention_call.h>
#include <frieze/layers/shared/cuda/tensor_core.cuh>

namespace frieze::cuda {

inline constexpr float kLog2E = 1.44269504F;

/// Scores times log2(e) are exponents of 2. ex2.approx is within 2 units of f32.
__device__ __forceinline__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// What a mask adds to a score; -Inf where the key is hidden.
template <class T>
__device__ __forceinline__ float mask_value(MaskKind kind, const void* mask, std::int64_t at) {
  switch (kind) {
    case MaskKind::i32: return static_cast<const std::int32_t*>(mask)[at] != 0 ? 0.0F : -INFINITY;
    case MaskKind::i64: return static_cast<const std::int64_t*>(mask)[at] != 0 ? 0.0F : -INFINITY;
    case MaskKind::f32: return static_cast<const float*>(mask)[at];
    case MaskKind::run: return static_cast<float>(static_cast<const T*>(mask)[at]);
    default: return 0.0F;
  }
}

/// One score, scaled, as mask, causality and the number of keys leave it. Hidden keys have -Inf even if the score is NaN. `unit`: of the
/// score and of what is added, e.g. log2(e).
template <class T>
__device__ __forceinline__ float masked_score(const AttentionCall& a, float score, std::int64_t mask_base, std::int64_t row,
                                              std::int64_t key, float unit) {
  if (key >= a.keys || (a.causal && key > row)) return -INFINITY;
  if (a.mask_kind == MaskKind::none || row >= a.rows) return score;
  const float m = mask_value<T>(a.mask_kind, a.mask.data, mask_base + row * a.mask.row + key * a.mask.column);
  const bool boolean = a.mask_kind == MaskKind::i32 || a.mask_kind == MaskKind::i64;
  return boolean ? (m == 0.0F ? score : m) : fmaf(m, unit, score);
}

/// Running maximum (as exponent of 2), sum and, after add(), the factor for what was summed before, of rows i and i + 8.
struct RowStatistics {
  float top[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};  ///< of this lane's columns

  /// Makes weights 2^(factor * s - top) of the scores; gives the factors. factor > 0. A row of -Inf alone has weights of 0; NaN and +Inf
  /// make the sum NaN.
  template <int N>
  __device__ __forceinline__ void add(float (&s)[N], float factor, float (&rescale)[2]) {
    // Two partial results of each row: chains of half the length.
    float most[2][2] = {{-INFINITY, -INFINITY}, {-INFINITY, -INFINITY}}, base[2], total[2][2] = {};
#pragma unroll
    for (int i = 0; i < N; i += 4) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float& m = most[half][i / 4 % 2];
        m = fmaxf(m, fmaxf(s[i + 2 * half], s[i + 2 * half + 1]));
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float m = fmaxf(most[half][0], most[half][1]);
      m = fmaxf(m, __shfl_xor_sync(~0U, m, 1));
      m = fmaxf(m, __shfl_xor_sync(~0U, m, 2));
      const float now = fmaxf(top[half], m * factor);
      base[half] = now == -INFINITY ? 0.0F : now;
      rescale[half] = power_of_two(top[half] - base[half]);
      top[half] = now;
    }
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const int half = (i & 2) / 2;
      s[i] = power_of_two(fmaf(s[i], factor, -base[half]));
      total[half][i & 1] += s[i];
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) sum[half] = sum[half] * rescale[half] + (total[half][0] + total[half][1]);
  }
  /// 1 over the whole sum; 0 if nothing was seen.
  __device__ __forceinline__ float inverse(int half) const {
    float total = sum[half];
    total += __shfl_xor_sync(~0U, total, 1);
    total += __shfl_xor_sync(~0U, total, 2);
    return total == 0.0F ? 0.0F : 1.0F / total;
  }
};

/// Hides the keys past the last, and past the row where causal, in a tile of scores whose lane begins at `row` and `key`. The scores come
/// out in log2 units.
template <int N>
__device__ __forceinline__ void hide_keys(const AttentionCall& a, float (&s)[N], int row, int key) {
  const float factor = a.scale * kLog2E;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int seen = (a.causal ? min(a.keys, row + half * 8 + 1) : a.keys) - key;
#pragma unroll
    for (int i = 2 * half; i < N; i += 4) {
      s[i] = i / 4 * 8 < seen ? s[i] * factor : -INFINITY;
      s[i + 1] = i / 4 * 8 + 1 < seen ? s[i + 1] * factor : -INFINITY;
    }
  }
}

/// The same with a mask.
template <class T, int N>
__device__ __forceinline__ void mask_scores(const AttentionCall& a, float (&s)[N], std::int64_t mask_base, int row, int key) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    s[i] = masked_score<T>(a, s[i] * (a.scale * kLog2E), mask_base, row + (i & 2) * 4, key + i / 4 * 8 + (i & 1), kLog2E);
  }
}

/// Whether the tile of `columns` keys from `key` on needs one of the two for rows from `row` on: else all its keys are seen, with a factor
/// of scale * log2(e).
__device__ __forceinline__ bool tile_is_masked(const AttentionCall& a, std::int64_t row, std::int64_t key, int columns) {
  return a.mask_kind != MaskKind::none || key + columns > a.keys || (a.causal && key + columns - 1 > row) || !(a.scale > 0);
}

/// Number of keys that rows before `end` may see.
__device__ __forceinline__ int seen_keys(const AttentionCall& a, std::int64_t end) {
  return a.causal && end < a.keys ? static_cast<int>(end) : a.keys;
}

__device__ __forceinline__ std::int64_t head_offset(const HeadsView& x, int n, int head) { return n * x.n + head / x.group * x.head; }

/// Stores two neighbouring results of a row, as many as there are.
template <class T>
__device__ __forceinline__ void store_two(T* row, int column, int width, std::int64_t step, bool pairs, float a, float b) {
  if (pairs && column + 1 < width) {
    *reinterpret_cast<std::uint32_t*>(row + column) = pack_two<T>(a, b);
    return;
  }
  const std::uint32_t both = pack_two<T>(a, b);
  const T* values = reinterpret_cast<const T*>(&both);
  if (column < width) row[column * step] = values[0];
  if (column + 1 < width) row[(column + 1) * step] = values[1];
}

}  // namespace frieze::cuda
