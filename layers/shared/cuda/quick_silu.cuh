#pragma once
/// SiLU without a branch, for kernels that have many values side by side: device side, for .cu files only.
#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {

/// 1/v, off by one unit at most; 0 where that is below 2^-126.
__device__ __forceinline__ float quick_reciprocal(float v) {
  float out;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(v));
  return out;
}

/// t / (1 + exp(-t)) for 16-bit results, by the fast exponential and reciprocal, without a branch, so that neighbours run side by side. NaN
/// gives NaN, -inf the limit (-0). Within 2^-17 of the result where t > -80 (CUDA Programming Guide, "Intrinsic Functions": the
/// exponential's error grows with |t|); what is nearer to 0 than 2^-119 becomes -0.
__device__ __forceinline__ float branch_free_silu(float t) {
  float v;
  asm("max.NaN.f32 %0, %1, 0fC3480000;" : "=f"(v) : "f"(t));  // -200, whose exponential is infinite, and the reciprocal of that 0
  return v * quick_reciprocal(1.0F + __expf(-v));
}

/// The same for results of type T. f32: with the exponential's last bits, and at most 2 units more than activate()'s division gives.
template <class T>
__device__ __forceinline__ float quick_silu(float t) {
  if constexpr (sizeof(T) == 2) {
    return branch_free_silu(t);
  } else {
    const float v = t < -200.0F ? -200.0F : t, e = expf(-fabsf(v));  // at most 1, so that neither it nor the divisor overflows
    return (v < 0.0F ? v * e : v) * quick_reciprocal(1.0F + e);
  }
}

}  // namespace frieze::cuda
