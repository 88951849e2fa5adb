#pragma once
/// The chain of elementwise operations that a kernel applies to f32 values right before its store: the device's side.
#include <frieze/layers/shared/cuda/epilogue.h>
#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/shared/cuda/quick_silu.cuh>

namespace frieze::cuda {

/// activate() without the code of the rare ones.
__device__ __forceinline__ float activate_common(Activation f, float v) {
  switch (f) {
    case Activation::relu: return activate(Activation::relu, v);
    case Activation::silu: return activate(Activation::silu, v);
    case Activation::gelu: return activate(Activation::gelu, v);
    case Activation::gelu_tanh: return activate(Activation::gelu_tanh, v);
    case Activation::sigmoid: return activate(Activation::sigmoid, v);
    default: return v;
  }
}

/// activate() of N numbers whose results will be rounded to T. 16-bit types do not see the errors of the branch-free SiLU.
/// Without `kRare` the chain must have no rare ones: kernels that have no register left for a call take that.
template <class T, bool kRare, int N>
__device__ __forceinline__ void activate_pack(Activation f, float parameter, float (&v)[N]) {
  if (sizeof(T) == 2 && f == Activation::silu) {
#pragma unroll
    for (int j = 0; j < N; ++j) v[j] = branch_free_silu(v[j]);
    return;
  }
#pragma unroll
  for (int j = 0; j < N; ++j) v[j] = kRare ? activate(f, v[j], parameter) : activate_common(f, v[j]);
}

/// Applies the chain to N neighbouring values that will be stored at `offset`. For N > 1 every operand must be aligned to N elements
/// at `offset`, and N * sizeof(T) must be at most 16. Pass the arguments as `const __grid_constant__ EpilogueArgs`: the loop indexes
/// them, and a plain copy would go to local memory. The code is long (it holds every activation): call it in one place, in a rolled loop.
/// The operand of operation `ready` may be handed over: a kernel that loads it before its sums does not wait for it behind them.
template <class T, int N, bool kRare = true>
__device__ __forceinline__ void apply_epilogue(const EpilogueArgs& e, float (&v)[N], std::int64_t offset, int ready = -1,
                                               const Pack<T, N>& loaded = {}) {
  static_assert(N == 1 || N * sizeof(T) <= 16);
#pragma unroll 1
  for (int i = 0; i < e.count; ++i) {
    if (e.ops[i].kind == EpilogueOp::Kind::activation) {
      activate_pack<T, kRare>(e.ops[i].activation, e.ops[i].parameter, v);
      continue;
    }
    Pack<T, N> operand = loaded;
    if (i != ready) operand = *reinterpret_cast<const Pack<T, N>*>(static_cast<const T*>(e.ops[i].operand) + offset);
    if (e.ops[i].kind == EpilogueOp::Kind::add) {
#pragma unroll
      for (int j = 0; j < N; ++j) v[j] += widen(operand.v[j]);
    } else {
#pragma unroll
      for (int j = 0; j < N; ++j) v[j] *= widen(operand.v[j]);
    }
  }
}

/// a / b and a % b of non-negative numbers: 32-bit arithmetic where it suffices, which is several times faster.
struct DivMod {
  std::int64_t quotient, remainder;
};
__device__ __forceinline__ DivMod div_mod(std::int64_t a, std::int64_t b) {
  if (((a | b) >> 32) == 0) {
    const auto a32 = static_cast<std::uint32_t>(a), b32 = static_cast<std::uint32_t>(b);
    const std::uint32_t q = a32 / b32;
    return {q, a32 - q * b32};
  }
  const std::int64_t q = a / b;
  return {q, a - q * b};
}

}  // namespace frieze::cuda
