#pragma once
/// Activations for results of 16 bits, by the fast exponential and reciprocal: within 2^-15 of the result, which the store's rounding
/// hides. Device side, for .cu files only; the activation is known when the code is compiled.
#include <frieze/layers/shared/cuda/quick_silu.cuh>

namespace frieze::cuda {

/// max(x, -200), NaN kept: there every function below has reached its limit, and no product of an infinity and 0 is left.
__device__ __forceinline__ float above_minus_200(float x) {
  float v;
  asm("max.NaN.f32 %0, %1, 0fC3480000;" : "=f"(v) : "f"(x));
  return v;
}

/// exp(x) - 1: a series near 0, where the difference would cancel.
__device__ __forceinline__ float quick_expm1(float x) {
  const float series = x * fmaf(x, fmaf(x, fmaf(x, fmaf(x, 1.0F / 120, 1.0F / 24), 1.0F / 6), 0.5F), 1.0F);
  return fabsf(x) < 0.25F ? series : __expf(x) - 1.0F;
}
__device__ __forceinline__ float quick_tanh(float x) {
  const float s = x * x, series = x * fmaf(s, fmaf(s, fmaf(s, -17.0F / 315, 2.0F / 15), -1.0F / 3), 1.0F);
  const float e = __expf(-2.0F * fabsf(x));
  return fabsf(x) < 0.25F ? series : copysignf((1.0F - e) * quick_reciprocal(1.0F + e), x);
}
__device__ __forceinline__ float quick_softplus(float x) {
  const float e = __expf(x), series = e * fmaf(e, fmaf(e, 1.0F / 3, -0.5F), 1.0F);  // of log(1 + e)
  return x > 20.0F ? x : e < 0.02F ? series : __logf(1.0F + e);
}
__device__ __forceinline__ float quick_mish(float x) {
  const float v = above_minus_200(x), e = __expf(fminf(v, 20.0F)), n = e * (e + 2.0F);
  return v > 20.0F || isnan(v) ? v : v * (n * quick_reciprocal(n + 2.0F));
}
/// x * erfc(-x / sqrt 2) / 2; erfc(z) = exp(-z^2) * a polynomial in 1 / (1 + 0.45 z), within 1e-5 of itself on all z >= 0 (a fit).
__device__ __forceinline__ float quick_gelu(float x) {
  const float v = above_minus_200(x), z = fabsf(v) * 0.70710678F, t = quick_reciprocal(fmaf(0.45F, z, 1.0F));
  float p = fmaf(t, -0.1355961881F, 0.2914226549F);
  p = fmaf(t, p, 0.0904347345F);
  p = fmaf(t, p, 0.2479288566F);
  p = fmaf(t, p, 0.2518464157F);
  p = fmaf(t, p, 0.2539541739F);
  const float tail = 0.5F * t * p * __expf(-z * z);
  return v < 0.0F ? v * tail : v - (tail > 0.0F ? v * tail : 0.0F);
}
__device__ __forceinline__ float quick_gelu_tanh(float x) {
  const float v = above_minus_200(x);
  return v * quick_reciprocal(1.0F + __expf(-1.59576912F * fmaf(0.044715F * v * v, v, v)));
}

/// activate<F>() for results of type T.
template <class T, Activation kFunction>
__device__ __forceinline__ float activate_for(float x, float p) {
  if constexpr (sizeof(T) == 4) return activate(kFunction, x, p);
  switch (kFunction) {
    case Activation::silu: return branch_free_silu(x);
    case Activation::gelu: return quick_gelu(x);
    case Activation::gelu_tanh: return quick_gelu_tanh(x);
    case Activation::sigmoid: return quick_reciprocal(1.0F + __expf(-x));
    case Activation::tanh: return quick_tanh(x);
    case Activation::softplus: return quick_softplus(x);
    case Activation::mish: return quick_mish(x);
    case Activation::hardsigmoid: return x <= -3.0F ? 0.0F : x >= 3.0F ? 1.0F : (x + 3.0F) * (1.0F / 6);
    case Activation::hardswish: return x <= -3.0F ? -0.0F : x >= 3.0F ? x : x * ((x + 3.0F) * (1.0F / 6));
    case Activation::leaky_relu: return x < 0.0F ? p * x : x;
    case Activation::elu: return x < 0.0F ? p * quick_expm1(x) : x;
    default: return activate(kFunction, x, p);
  }
}

/// Calls body(constant) with the activation as a constant of the compilation.
template <class Body>
void with_activation(Activation f, Body&& body) {
  using A = Activation;
  switch (f) {
    case A::relu: return body(std::integral_constant<A, A::relu>{});
    case A::silu: return body(std::integral_constant<A, A::silu>{});
    case A::gelu: return body(std::integral_constant<A, A::gelu>{});
    case A::gelu_tanh: return body(std::integral_constant<A, A::gelu_tanh>{});
    case A::sigmoid: return body(std::integral_constant<A, A::sigmoid>{});
    case A::tanh: return body(std::integral_constant<A, A::tanh>{});
    case A::softplus: return body(std::integral_constant<A, A::softplus>{});
    case A::mish: return body(std::integral_constant<A, A::mish>{});
    case A::hardsigmoid: return body(std::integral_constant<A, A::hardsigmoid>{});
    case A::hardswish: return body(std::integral_constant<A, A::hardswish>{});
    case A::leaky_relu: return body(std::integral_constant<A, A::leaky_relu>{});
    case A::elu: return body(std::integral_constant<A, A::elu>{});
    case A::none: return body(std::integral_constant<A, A::none>{});
  }
}

}  // namespace frieze::cuda
