#pragma once
/// Internal to ScaledDotProductAttention: what its kernels are given, and their launches.
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include <frieze/core/dtype.h>

namespace frieze::cuda {

enum class MaskKind : std::uint8_t { none, i32, i64, f32, run };  ///< integers: 0 hides; floats are added; run: the run's type

/// A tensor [N, heads, rows, width], strides in elements. `group`: query heads that share one of its heads.
struct HeadsView {
  const void* data = nullptr;
  std::int64_t n = 0, head = 0, row = 0, column = 1;
  int group = 1;

  /// Whether every row consists of packs of 16 bytes, of elements of 2 bytes: `width` of them.
  bool packs(int width) const {
    return column == 1 && width % 8 == 0 && n % 8 == 0 && head % 8 == 0 && row % 8 == 0 && reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
  }
};

struct AttentionCall {
  HeadsView q, k, v, o;  ///< o.data is written
  HeadsView mask;        ///< [N, heads, rows, keys], `column` along the keys; 0 repeats
  MaskKind mask_kind = MaskKind::none;
  bool causal = false;  ///< row i sees the keys up to i
  int n = 1, heads = 1, rows = 1, keys = 1, width = 1, value_width = 1;
  float scale = 1;

  std::int64_t pairs() const { return std::int64_t{n} * heads; }
};

/// The fused kernel of f16 and bf16 for every GPU: any strides, widths up to kFusedWidth, any width of v.
inline constexpr int kFusedWidth = 512;
void launch_fused_attention(DType dtype, const AttentionCall& call, cudaStream_t stream);
void preload_fused_attention(DType dtype, const AttentionCall& call);

/// The fused kernel of f16 and bf16 by warp-group products, for compute capability 9.0, views of whole packs and drivers with tensor
/// copies.
bool takes_warpgroup_attention(DType dtype, const AttentionCall& call, int compute_capability);
void launch_warpgroup_attention(DType dtype, const AttentionCall& call, int sm_count, cudaStream_t stream);
void preload_warpgroup_attention(DType dtype, const AttentionCall& call);

/// Scores of some query rows at a time, in f32, in a workspace; any type, strides and width.
inline constexpr std::int64_t kScoresWorkspace = std::int64_t{32} << 20;  ///< bytes; a row of keys if that is more
std::size_t chunked_attention_workspace(const AttentionCall& call);
void launch_chunked_attention(DType dtype, const AttentionCall& call, void* workspace, cudaStream_t stream);
void preload_chunked_attention(DType dtype);

}  // namespace frieze::cuda
