#pragma once
/// What every kernel of RMSNorm2d does with one pixel's numbers: packs in and out, 1/rms, and the chain up to the store.
#include <frieze/layers/rms_norm2d/cuda/rms_norm2d_kernels.h>
#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/rms_norm2d/cuda/async_copy.cuh>

namespace frieze::cuda {

/// The bytes of V elements of T, as registers hold them until they are needed: half the registers of f32 for 16-bit types.
template <int kBytes>
struct Word;
template <>
struct Word<2> {
  using Type = unsigned short;
};
template <>
struct Word<4> {
  using Type = unsigned;
};
template <>
struct Word<8> {
  using Type = uint2;
};
template <>
struct Word<16> {
  using Type = uint4;
};
template <class T, int V>
using WordOf = typename Word<static_cast<int>(sizeof(T)) * V>::Type;

__device__ __forceinline__ void keep(unsigned short& w) { asm volatile("" : "+h"(w)); }
__device__ __forceinline__ void keep(unsigned& w) { asm volatile("" : "+r"(w)); }
__device__ __forceinline__ void keep(uint2& w) { keep(w.x), keep(w.y); }
__device__ __forceinline__ void keep(uint4& w) { keep(w.x), keep(w.y), keep(w.z), keep(w.w); }

template <class T, int V>
__device__ __forceinline__ void unpack(const WordOf<T, V>& word, float (&v)[V]) {
  const T* t = reinterpret_cast<const T*>(&word);
#pragma unroll
  for (int j = 0; j < V; ++j) v[j] = widen(t[j]);
}

template <class T, int V>
__device__ __forceinline__ WordOf<T, V> pack(const float (&v)[V]) {
  WordOf<T, V> word;
  T* t = reinterpret_cast<T*>(&word);
#pragma unroll
  for (int j = 0; j < V; ++j) t[j] = narrow<T>(v[j]);
  return word;
}

template <class T>
__device__ __forceinline__ float rounded(float v) {
  return widen(narrow<T>(v));
}

/// 1/sqrt(v), 0 for 0, correctly rounded: two units of f32 more would round one f16 result in a thousand to the wrong side.
__device__ __forceinline__ float inverse_root(float v) { return v == 0.0F ? 0.0F : __frsqrt_rn(v); }

/// The sum of v^2. For f32 the roundings of products and sums are carried along (TwoSum, Knuth), so that a long chain of additions costs
/// one rounding at its end; 16-bit results do not see f32's. Intrinsics, as the compiler must not contract them.
template <class T>
struct SquareSum {
  float high = 0.0F, low = 0.0F;

  __device__ __forceinline__ void add(float v) {
    if constexpr (sizeof(T) == 2) {
      high = fmaf(v, v, high);
    } else {
      const float square = __fmul_rn(v, v), total = __fadd_rn(high, square), back = __fsub_rn(total, high);
      low = __fadd_rn(low, fmaf(v, v, -square));
      low = __fadd_rn(low, __fadd_rn(__fsub_rn(high, __fsub_rn(total, back)), __fsub_rn(square, back)));
      high = total;
    }
  }
  /// A sum of other threads, always in one order.
  __device__ __forceinline__ void join(float sum) {
    const float total = __fadd_rn(high, sum);
    if constexpr (sizeof(T) == 4) {
      const float back = __fsub_rn(total, high);
      low = __fadd_rn(low, __fadd_rn(__fsub_rn(high, __fsub_rn(total, back)), __fsub_rn(sum, back)));
    }
    high = total;
  }
  /// Infinite and NaN sums as they are: their low parts are NaN.
  __device__ __forceinline__ float value() const {
    if constexpr (sizeof(T) == 2) return high;
    const float sum = __fadd_rn(high, low);
    return sum == sum ? sum : high;
  }
};

/// 1/rms of a sum of squares that is in the range of f32. 0 for a pixel of zeros where the formula is 0/0.
template <class T>
__device__ __forceinline__ float inverse_rms(const NormFormula& f, float sum) {
  if (f.mode == EpsMode::add_inside) return inverse_root(fmaf(sum, f.inverse_c, f.eps));
  const float ms = sum * f.inverse_c;
  switch (f.mode) {
    case EpsMode::clamp_norm: return sum < f.least_sum ? f.clamped : inverse_root(ms);
    case EpsMode::clamp_mean_square: return inverse_root(ms < f.eps ? f.eps : ms);
    case EpsMode::add_to_rms: {
      const float rms = __fsqrt_rn(ms) + f.eps;
      return rms == 0.0F ? 0.0F : __frcp_rn(rms);
    }
    default: return inverse_root(ms);
  }
}

/// f16 squares and their sums always fit in f32; those of f32 and bf16 may overflow or vanish.
template <class T>
constexpr bool kMayLeaveRange = !std::is_same_v<T, __half>;

/// True if `sum` must be computed again from scaled values.
__device__ __forceinline__ bool left_range(const NormFormula& f, float sum) { return sum < f.underflow || sum == INFINITY; }
/// By what. Squares of what is below sqrt(underflow) * 2^100, and of 2^128 * 2^-80 65536 times, fit.
__device__ __forceinline__ float range_scale(const NormFormula& f, float sum) {
  return sum < f.underflow ? 0x1p100F : sum == INFINITY ? 0x1p-80F : 1.0F;
}

/// 1/rms as a product of two f32 numbers, of which `power` is a power of two that x can be multiplied with first without loss.
struct SplitInverse {
  float power, rest;
};
/// `scaled_sum` is the sum of (x * scale)^2. Rare, so in double.
static __device__ __noinline__ SplitInverse split_inverse_rms(const NormFormula& f, float scaled_sum, float scale) {
  if (!(scaled_sum < INFINITY)) return {1.0F, scaled_sum == INFINITY ? 0.0F : NAN};
  const double c = static_cast<double>(f.channels), s = scale, eps = f.exact_eps;
  const double sum = static_cast<double>(scaled_sum) / (s * s), ms = sum / c;
  double rms = sqrt(ms);
  switch (f.mode) {
    case EpsMode::add_inside: rms = sqrt(ms + eps); break;
    case EpsMode::clamp_norm: rms = sum < eps * eps ? eps / sqrt(c) : rms; break;
    case EpsMode::clamp_mean_square: rms = sqrt(ms < eps ? eps : ms); break;
    case EpsMode::add_to_rms: rms += eps; break;
    default: break;
  }
  if (rms == 0) return {1.0F, 0.0F};
  int exponent = 0;
  const double mantissa = frexp(1 / rms, &exponent);  // in [0.5, 1)
  const int power = max(-126, min(127, exponent));
  return {ldexpf(1.0F, power), static_cast<float>(ldexp(mantissa, exponent - power))};
}

/// silu and relu are what networks put behind a norm; bf16 results do not need the last bits of expf and of the division.
template <class T>
__device__ __forceinline__ float quick_silu(float t) {
  if constexpr (!std::is_same_v<T, __nv_bfloat16>) return t == -INFINITY ? -0.0F : t / (1.0F + expf(-t));
  return t == -INFINITY ? -0.0F : __fdividef(t, 1.0F + __expf(-t));
}

/// The long functions stand in one place of a kernel, not in every place that might want one.
static __device__ __noinline__ float activate_out_of_line(Activation f, float v) { return activate(f, v); }

/// Applies `f` to V numbers.
template <class T, int V>
__device__ __forceinline__ void activate_all(Activation f, float (&v)[V]) {
  if (f == Activation::none) return;
  if (f == Activation::silu) {
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] = quick_silu<T>(v[j]);
  } else if (f == Activation::relu) {
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] = v[j] < 0.0F ? 0.0F : v[j];
  } else {
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] = activate_out_of_line(f, v[j]);
  }
}

/// t = x * r, * weight, + bias with the roundings that the formula asks for.
template <class T, bool kFull>
__device__ __forceinline__ float scale_and_shift(const NormFormula& f, float x, float r, bool has_weight, float weight, bool has_bias,
                                                 float bias) {
  if (kFull && f.rounding != Rounding::once) {
    float t;
    if (f.rounding == Rounding::wan) {
      t = rounded<T>(rounded<T>(x * (r / f.root_c)) * f.root_c);
    } else {
      t = rounded<T>(x * r);
    }
    if (has_weight) t = rounded<T>(t * weight);
    if (has_bias) t = rounded<T>(t + bias);
    return t;
  }
  float t = x * r;
  if (has_weight) t *= weight;
  if (has_bias) t += bias;
  return t;
}

/// Activations and the residual behind the norm.
template <class T, bool kFull, int V>
__device__ __forceinline__ void finish(const NormFormula& f, float (&v)[V], const WordOf<T, V>& residual) {
  if constexpr (kFull) {
    activate_all<T>(f.first, v);
    if (f.residual_mode == ResidualMode::after) {
      float add[V];
      unpack<T, V>(residual, add);
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] += add[j];
    }
    activate_all<T>(f.second, v);
  }
}

/// Each of `v` summed over the threads of a warp that own the same pixels, which are `lanes` apart.
template <int V>
__device__ __forceinline__ void reduce_in_warp(float (&v)[V], int lanes) {
  for (int step = lanes; step < 32; step *= 2) {
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] += __shfl_xor_sync(~0U, v[j], step);
  }
}

/// V floats to and from shared memory, `p` a multiple of V floats in a 16-byte aligned array.
template <int V>
__device__ __forceinline__ void store_floats(float* p, const float (&v)[V]) {
  if constexpr (V % 4 == 0) {
#pragma unroll
    for (int j = 0; j < V; j += 4) *reinterpret_cast<float4*>(p + j) = make_float4(v[j], v[j + 1], v[j + 2], v[j + 3]);
  } else {
#pragma unroll
    for (int j = 0; j < V; ++j) p[j] = v[j];
  }
}
template <int V>
__device__ __forceinline__ void load_floats(const float* p, float (&v)[V]) {
  if constexpr (V % 4 == 0) {
#pragma unroll
    for (int j = 0; j < V; j += 4) {
      const float4 four = *reinterpret_cast<const float4*>(p + j);
      v[j] = four.x, v[j + 1] = four.y, v[j + 2] = four.z, v[j + 3] = four.w;
    }
  } else {
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] = p[j];
  }
}

/// Asks L2 for the whole packs among `count` elements from `first` on, a multiple of 16 bytes, of a tensor of `elements`.
template <class T>
__device__ __forceinline__ void prefetch_run(const void* x, std::int64_t first, std::int64_t count, std::int64_t elements) {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  const std::int64_t whole = min(count, elements - first) / V * V;
  if (whole > 0) prefetch_to_l2(static_cast<const T*>(x) + first, static_cast<unsigned>(whole * sizeof(T)));
}

/// The pack at `offset` of a tensor, at whose end fewer than V elements may be left.
template <class T, int V>
__device__ __forceinline__ WordOf<T, V> load_some(const void* from, std::int64_t offset, std::int64_t elements) {
  const T* p = static_cast<const T*>(from) + offset;
  if (offset + V <= elements) return *reinterpret_cast<const WordOf<T, V>*>(p);
  WordOf<T, V> w{};
#pragma unroll
  for (int j = 0; j < V; ++j) {
    if (offset + j < elements) reinterpret_cast<T*>(&w)[j] = p[j];
  }
  return w;
}

/// Stores those elements of a pack whose places, of which the first is `at`, are from `low` to `high` - 1.
template <class T, int V>
__device__ __forceinline__ void store_some(T* to, const WordOf<T, V>& w, int at, int low, int high) {
  if (at >= low && at + V <= high) {
    *reinterpret_cast<WordOf<T, V>*>(to) = w;
    return;
  }
#pragma unroll
  for (int j = 0; j < V; ++j) {
    if (at + j >= low && at + j < high) to[j] = reinterpret_cast<const T*>(&w)[j];
  }
}

/// The store of a thread that owns V neighbouring pixels in K channels, `rows` channels apart: y and residual at base + k * step.
/// `power`, if not null: see SplitInverse.
template <class T, int V, int K, bool kFull>
__device__ __forceinline__ void store_rows(const NormArgs& a, WordOf<T, V> (&x)[K], const float (&r)[V], const float* power,
                                           std::int64_t base, std::int64_t step, int first, int rows, bool inside) {
  using W = WordOf<T, V>;
  const NormFormula& f = a.formula;
  const int channels = static_cast<int>(a.channels);
  const T* __restrict__ weight = static_cast<const T*>(a.weight);
  const T* __restrict__ bias = static_cast<const T*>(a.bias);
  T* y = static_cast<T*>(a.y) + base;
  const T* residual = static_cast<const T*>(a.residual) + base;
  constexpr int kBatch = K < 4 ? K : 4;  // loads of the residual that are under way before a store may hold them up
#pragma unroll
  for (int k0 = 0; k0 < K; k0 += kBatch) {
    W add[kBatch];
    if (kFull && f.residual_mode == ResidualMode::after) {
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        add[b] = W{};
        if (inside && k0 + b < K && first + (k0 + b) * rows < channels) add[b] = *reinterpret_cast<const W*>(residual + (k0 + b) * step);
      }
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int k = k0 + b, channel = first + k * rows;
      if (k >= K || !inside || channel >= channels) continue;  // the last batch may be a part of one
      keep(x[k]);
      float v[V];
      unpack<T, V>(x[k], v);
      if (kMayLeaveRange<T> && power != nullptr) {
#pragma unroll
        for (int j = 0; j < V; ++j) v[j] *= power[j];
      }
      const float w = weight != nullptr ? widen(weight[channel]) : 1.0F, c = bias != nullptr ? widen(bias[channel]) : 0.0F;
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] = scale_and_shift<T, kFull>(f, v[j], r[j], weight != nullptr, w, bias != nullptr, c);
      finish<T, kFull, V>(f, v, add[b]);
      *reinterpret_cast<W*>(y + k * step) = pack<T, V>(v);
    }
  }
}

inline int log2_of(int power_of_two) {
  int log = 0;
  while ((1 << log) < power_of_two) ++log;
  return log;
}

}  // namespace frieze::cuda
