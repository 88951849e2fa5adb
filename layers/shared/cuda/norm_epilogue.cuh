#pragma once
/// What normalisations apply at their store: mostly nothing or SiLU, which have kernels of their own, since the code of a chain is long.
#include <frieze/layers/shared/cuda/epilogue.cuh>

namespace frieze::cuda {

enum class NormEpilogue : std::uint8_t { none, silu, chain };
inline constexpr NormEpilogue kNormEpilogues[] = {NormEpilogue::none, NormEpilogue::silu, NormEpilogue::chain};

inline NormEpilogue epilogue_kind(const EpilogueArgs& e) {
  if (e.count == 0) return NormEpilogue::none;
  const bool silu = e.count == 1 && e.ops[0].kind == EpilogueOp::Kind::activation && e.ops[0].activation == Activation::silu;
  return silu ? NormEpilogue::silu : NormEpilogue::chain;
}

/// Applies it to V values and stores them at y + at.
template <class T, int V, NormEpilogue kEpilogue>
__device__ __forceinline__ void store_normalised(T* y, const EpilogueArgs& e, float (&v)[V], std::int64_t at) {
  if constexpr (kEpilogue == NormEpilogue::chain) apply_epilogue<T, V>(e, v, at);
  if constexpr (kEpilogue == NormEpilogue::silu) {
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] = sizeof(T) == 2 ? branch_free_silu(v[j]) : activate(Activation::silu, v[j]);
  }
  Pack<T, V> out;
#pragma unroll
  for (int j = 0; j < V; ++j) out.v[j] = narrow<T>(v[j]);
  *reinterpret_cast<Pack<T, V>*>(y + at) = out;
}

}  // namespace frieze::cuda
