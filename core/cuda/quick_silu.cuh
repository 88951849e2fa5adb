#pragma once
/// SiLU without a branch, for kernels that have many values side by side: device side, for .cu files only.
#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {

/// SiLU of v, `e` being exp(-|v|): at most 1, so that neither it nor the divisor overflows.
__device__ __forceinline__ float silu_of(float v, float e) {
  float inverse;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(1.0F + e));
  return (v < 0.0F ? v * e : v) * inverse;
}

/// t / (1 + exp(-t)) by the fast exponential and reciprocal, without a branch, so that neighbours run side by side. NaN gives NaN, -inf the
/// limit (-0). Within 2^-17 of the result where t > -80 and 2^-16 below (CUDA Programming Guide, "Intrinsic Functions": the exponential's
/// error grows with |t|); results that are subnormal in f32 (and in bf16) are within 2^-142, where the unit of bf16 is 2^-133.
__device__ __forceinline__ float branch_free_silu(float t) {
  const float v = t < -200.0F ? -200.0F : t;  // whose exponential is 0
  return silu_of(v, __expf(-fabsf(v)));
}

/// The same for results of type T. f32: with the exponential's last bits, but a fast reciprocal, at most 2 units more than activate()'s
/// division; 16 bits: branch_free_silu().
template <class T>
__device__ __forceinline__ float quick_silu(float t) {
  if constexpr (sizeof(T) == 2) {
    return branch_free_silu(t);
  } else {
    const float v = t < -200.0F ? -200.0F : t;
    return silu_of(v, expf(-fabsf(v)));
  }
}

}  // namespace frieze::cuda
