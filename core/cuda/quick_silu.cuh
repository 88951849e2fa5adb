#pragma once
/// SiLU of f32 numbers whose results will be rounded to a 16-bit type: device side, for .cu files only.
#include <type_traits>

#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {

/// t / (1 + exp(-t)) by the fast exponential and reciprocal, without a branch, so that neighbours run side by side. NaN gives NaN, -inf the
/// limit (-0). Within 2^-17 of the result where t > -80 and 2^-16 below (CUDA Programming Guide, "Intrinsic Functions": the exponential's
/// error grows with |t|); results that are subnormal in f32 (and in bf16) are within 2^-142, where the unit of bf16 is 2^-133.
__device__ __forceinline__ float branch_free_silu(float t) {
  const float v = t < -200.0F ? -200.0F : t;  // whose exponential is 0
  const float e = __expf(-fabsf(v));          // at most 1, so that neither it nor the divisor overflows
  float inverse;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(1.0F + e));
  return (v < 0.0F ? v * e : v) * inverse;
}

/// The same for bf16 results, which do not need the last bits of expf and of the division; with them for f32 and f16.
template <class T>
__device__ __forceinline__ float quick_silu(float t) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return branch_free_silu(t);
  } else {
    return activate(Activation::silu, t);
  }
}

}  // namespace frieze::cuda
