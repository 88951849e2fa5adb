#pragma once
/// What every kernel of RMSNorm2d does with one pixel's numbers: packs in and out, 1/rms, and the chain up to the store.
#include <algorithm>

#include <frieze/layers/rms_norm2d/cuda/rms_norm2d_kernels.h>
#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/shared/cuda/async_copy.cuh>
#include <frieze/layers/shared/cuda/quick_silu.cuh>

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

/// The compiler forgets what it knows of `w`: it cannot keep in registers, over a barrier, what it could compute again.
__device__ __forceinline__ void keep(unsigned short& w) { asm volatile("" : "+h"(w)); }
__device__ __forceinline__ void keep(unsigned& w) { asm volatile("" : "+r"(w)); }
__device__ __forceinline__ void keep(int& w) { asm volatile("" : "+r"(w)); }
__device__ __forceinline__ void keep(std::int64_t& w) { asm volatile("" : "+l"(w)); }
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

/// a + b, rounded.
template <class T, int V>
__device__ __forceinline__ WordOf<T, V> add_packs(const WordOf<T, V>& a, const WordOf<T, V>& b) {
  float v[V], add[V];
  unpack<T, V>(a, v);
  unpack<T, V>(b, add);
#pragma unroll
  for (int j = 0; j < V; ++j) v[j] += add[j];
  return pack<T, V>(v);
}

template <class T>
__device__ __forceinline__ float rounded(float v) {
  return widen(narrow<T>(v));
}

/// 1/sqrt(v), 0 for 0, correctly rounded: two units of f32 more would round one f16 result in a thousand to the wrong side.
__device__ __forceinline__ float inverse_root(float v) { return v == 0.0F ? 0.0F : __frsqrt_rn(v); }

/// The sum of v^2, as a thread adds it up and as threads hand it on. For f32 what the sums' roundings lost is carried along in `low`
/// (Fast2Sum, Dekker 1971), through registers, shuffles and shared memory: whatever order a configuration adds in, the sum of the rounded
/// squares is exact to some 2^-44, and 1/rms comes out the same. The squares' own roundings are not carried: of many, they cancel.
/// 16-bit results do not see f32's roundings: only `high` is used. Intrinsics, as the compiler must not contract them.
template <class T>
struct SquareSum {
  static constexpr int kFloats = sizeof(T) == 2 ? 1 : 2;  // of a sum in shared memory

  float high = 0.0F, low = 0.0F;

  __device__ __forceinline__ void add(float v) {
    if constexpr (kFloats == 1) {
      high = fmaf(v, v, high);
    } else {
      low = __fadd_rn(low, grow(__fmul_rn(v, v)));
    }
  }
  /// Another thread's sum. a.join(b) and b.join(a) give the same bits, so that lanes that swap sums agree.
  __device__ __forceinline__ void join(const SquareSum& other) {
    if constexpr (kFloats == 1) {
      high = __fadd_rn(high, other.high);
    } else {
      low = __fadd_rn(low, other.low);
      low = __fadd_rn(low, grow(other.high));
    }
  }
  /// Joins the sum of the lane whose number differs in the bit `step`.
  __device__ __forceinline__ void join_lane(int step) {
    SquareSum other;
    other.high = __shfl_xor_sync(~0U, high, step);
    if constexpr (kFloats == 2) other.low = __shfl_xor_sync(~0U, low, step);
    join(other);
  }
  /// Rounded. Infinite and NaN sums as they are: their low parts are NaN.
  __device__ __forceinline__ float value() const {
    if constexpr (kFloats == 1) return high;
    const float sum = __fadd_rn(high, low);
    return sum == sum ? sum : high;
  }
  __device__ __forceinline__ double exact() const {
    if constexpr (kFloats == 1) return high;
    const double sum = static_cast<double>(high) + static_cast<double>(low);
    return sum == sum ? sum : high;
  }

 private:
  // high += v >= 0; what the rounding lost. NaN stays in `high`.
  __device__ __forceinline__ float grow(float v) {
    const float total = __fadd_rn(high, v);
    const float lost = __fsub_rn(fminf(high, v), __fsub_rn(total, fmaxf(high, v)));
    high = total;
    return lost;
  }
};

/// `count` sums in shared memory: the high parts and, for f32, the low parts behind them.
template <class T>
struct SharedSums {
  float* floats;
  int count;

  __device__ __forceinline__ void put(int i, const SquareSum<T>& sum) const {
    floats[i] = sum.high;
    if constexpr (SquareSum<T>::kFloats == 2) floats[count + i] = sum.low;
  }
  __device__ __forceinline__ SquareSum<T> get(int i) const {
    SquareSum<T> sum;
    sum.high = floats[i];
    if constexpr (SquareSum<T>::kFloats == 2) sum.low = floats[count + i];
    return sum;
  }
};

/// 1/sqrt(mean of squares [+ eps]) with its last bit right but for one in some 10^5: mean and eps as sums of two floats, then one step of
/// Newton's from the hardware's root, whose residue fma gives. All of a tenth of what double takes where that runs at 1/64 of the speed.
static __device__ __forceinline__ float exact_inverse_rms(const NormFormula& f, const SquareSum<float>& sum) {
  const float whole = __fadd_rn(sum.high, sum.low), rest = __fsub_rn(sum.low, __fsub_rn(whole, sum.high));
  float high = __fmul_rn(whole, f.inverse_c);
  float low = fmaf(rest, f.inverse_c, fmaf(whole, f.inverse_c_low, fmaf(whole, f.inverse_c, -high)));
  if (f.mode == EpsMode::add_inside) {
    const float total = __fadd_rn(high, f.eps), back = __fsub_rn(total, high);
    low = __fadd_rn(__fadd_rn(low, f.eps_low), __fadd_rn(__fsub_rn(high, __fsub_rn(total, back)), __fsub_rn(f.eps, back)));
    high = total;
  } else if (f.mode == EpsMode::clamp_mean_square && high < f.eps) {
    high = f.eps;
    low = f.eps_low;
  }
  const float root = rsqrtf(high), product = __fmul_rn(high, root);
  const float residue =
      fmaf(-__fmul_rn(low, root), root, fmaf(-fmaf(high, root, -product), root, fmaf(-product, root, 1.0F)));  // 1 - (high + low) * root^2
  return high == 0.0F ? 0.0F : fmaf(root, 0.5F * residue, root);
}

/// Of a mode that few use, so in double and in one place.
static __device__ __noinline__ float inverse_of_rms_and_eps(const NormFormula& f, double sum) {
  const double rms = sqrt(sum / static_cast<double>(f.channels)) + f.exact_eps;
  return rms == 0 ? 0.0F : static_cast<float>(1 / rms);
}

/// 1/rms of a sum of squares that is in the range of f32. 0 for a pixel of zeros where the formula is 0/0.
template <class T>
__device__ __forceinline__ float inverse_rms(const NormFormula& f, const SquareSum<T>& squares) {
  if constexpr (sizeof(T) == 4) {
    if (f.mode == EpsMode::add_to_rms) return inverse_of_rms_and_eps(f, squares.exact());
    return f.mode == EpsMode::clamp_norm && squares.value() < f.least_sum ? f.clamped : exact_inverse_rms(f, squares);
  } else {
    const float sum = squares.high;
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
}

/// f16 squares and their sums always fit in f32; those of f32 and bf16 may overflow or vanish.
template <class T>
constexpr bool kMayLeaveRange = !std::is_same_v<T, __half>;

/// True if a sum's value() must be computed again from scaled values.
__device__ __forceinline__ bool left_range(const NormFormula& f, float sum) { return sum < f.underflow || sum == INFINITY; }
/// By what. Squares of what is below sqrt(underflow) * 2^100, and of 2^128 * 2^-80 65536 times, fit.
__device__ __forceinline__ float range_scale(const NormFormula& f, float sum) {
  return sum < f.underflow ? 0x1p100F : sum == INFINITY ? 0x1p-80F : 1.0F;
}

/// 1/rms as a product of two f32 numbers, of which `power` is a power of two that x can be multiplied with first without loss.
struct SplitInverse {
  float power, rest;
};
/// `scaled_sum` is the exact() sum of (x * scale)^2. Rare, so in double.
static __device__ __noinline__ SplitInverse split_inverse_rms(const NormFormula& f, double scaled_sum, float scale) {
  constexpr double kInfinity = INFINITY;
  if (!(scaled_sum < kInfinity)) return {1.0F, scaled_sum == kInfinity ? 0.0F : NAN};
  const double c = static_cast<double>(f.channels), s = scale, eps = f.exact_eps;
  const double sum = scaled_sum / (s * s), ms = sum / c;
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

/// For one thread's pixels, each with all its channels, whose squares may leave the range of f32: element c of pixel p is
/// x[p * pixel_step + c * channel_step]. `r` holds 1/rms and keeps it where nothing is scaled. Out of line and on copies, so that it
/// costs others no registers.
template <class T>
static __device__ __noinline__ void split_pixels(const NormFormula& f, const T* x, int pixels, int pixel_step, int channel_step, float* r,
                                                 float* power) {
  const int channels = static_cast<int>(f.channels);
#pragma unroll 1
  for (int p = 0; p < pixels; ++p) {
    const auto sum_scaled = [&](float scale) {
      SquareSum<T> sum;
#pragma unroll 1
      for (int c = 0; c < channels; ++c) sum.add(widen(x[p * pixel_step + c * channel_step]) * scale);
      return sum;
    };
    const float scale = range_scale(f, sum_scaled(1.0F).value());
    power[p] = 1.0F;
    if (scale == 1.0F) continue;
    const SplitInverse split = split_inverse_rms(f, sum_scaled(scale).exact(), scale);
    power[p] = split.power;
    r[p] = split.rest;
  }
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
  const float t = x * r;
  if (!has_bias) return has_weight ? t * weight : t;
  return has_weight ? fmaf(t, weight, bias) : t + bias;
}

/// A channel's weight and bias. Where nothing is rounded between, a missing weight is 1 and a missing bias -0, which change no bit.
struct ChannelAffine {
  float weight, bias;
};
template <class T>
__device__ __forceinline__ ChannelAffine channel_affine(const T* __restrict__ weight, const T* __restrict__ bias, int channel) {
  return {weight != nullptr ? widen(weight[channel]) : 1.0F, bias != nullptr ? widen(bias[channel]) : -0.0F};
}

/// scale_and_shift() of pixels that share a channel, without branches.
template <class T, NormChain kChain, int V>
__device__ __forceinline__ void scale_and_shift_row(const NormArgs& a, float (&v)[V], const float (&r)[V], const ChannelAffine& affine) {
  if constexpr (kChain == NormChain::bare) {
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] *= r[j];
  } else if (kChain == NormChain::full && a.formula.rounding != Rounding::once) {
#pragma unroll
    for (int j = 0; j < V; ++j) {
      v[j] = scale_and_shift<T, true>(a.formula, v[j], r[j], a.weight != nullptr, affine.weight, a.bias != nullptr, affine.bias);
    }
  } else {
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] = fmaf(v[j] * r[j], affine.weight, affine.bias);
  }
}

/// v += residual.
template <class T, int V>
__device__ __forceinline__ void add_to(const WordOf<T, V>& residual, float (&v)[V]) {
  float add[V];
  unpack<T, V>(residual, add);
#pragma unroll
  for (int j = 0; j < V; ++j) v[j] += add[j];
}

/// Activations and the residual behind the norm.
template <class T, bool kFull, int V>
__device__ __forceinline__ void finish(const NormFormula& f, float (&v)[V], const WordOf<T, V>& residual) {
  if constexpr (kFull) {
    activate_all<T>(f.first, v);
    if (f.residual_mode == ResidualMode::after) add_to<T, V>(residual, v);
    activate_all<T>(f.second, v);
  }
}

/// Each of `sums` joined over the threads of a warp that own the same pixels, which are `lanes` apart.
template <class T, int V>
__device__ __forceinline__ void reduce_in_warp(SquareSum<T> (&sums)[V], int lanes) {
  for (int step = lanes; step < 32; step *= 2) {
#pragma unroll
    for (int j = 0; j < V; ++j) sums[j].join_lane(step);
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

/// Sums i to i + V - 1, i and the count of all being multiples of V.
template <class T, int V>
__device__ __forceinline__ void put_sums(const SharedSums<T>& to, int i, const SquareSum<T> (&sums)[V]) {
  float part[V];
#pragma unroll
  for (int j = 0; j < V; ++j) part[j] = sums[j].high;
  store_floats<V>(to.floats + i, part);
  if constexpr (SquareSum<T>::kFloats == 2) {
#pragma unroll
    for (int j = 0; j < V; ++j) part[j] = sums[j].low;
    store_floats<V>(to.floats + to.count + i, part);
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
/// affine(k, channel): of the k-th load.
template <class T, int V, int K, NormChain kChain, class Affine>
__device__ __forceinline__ void store_rows(const NormArgs& a, WordOf<T, V> (&x)[K], const float (&r)[V], const float* power,
                                           std::int64_t base, std::int64_t step, int first, int rows, bool inside, const Affine& affine) {
  using W = WordOf<T, V>;
  constexpr bool kFull = kChain == NormChain::full;
  const NormFormula& f = a.formula;
  const int channels = static_cast<int>(a.channels);
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
      scale_and_shift_row<T, kChain>(a, v, r, kChain == NormChain::bare ? ChannelAffine{} : affine(k, channel));
      if constexpr (kChain == NormChain::silu) {
#pragma unroll
        for (int j = 0; j < V; ++j) v[j] = quick_silu<T>(v[j]);
      }
      finish<T, kFull, V>(f, v, add[b]);
      *reinterpret_cast<W*>(y + k * step) = pack<T, V>(v);
    }
  }
}

/// `a` for a launch of that shape. What a multiprocessor prefetches early should be what its blocks read next, and no more: 384 threads'
/// worth was best, half of it for grids that keep the memory busy long (NOTES.md).
inline NormArgs with_early_blocks(const NormArgs& a, const LaunchShape& shape) {
  const unsigned processors = a.early_blocks / kMostEarlyBlocks, worth = shape.grid.x > 32 * processors ? 192 : 384;
  NormArgs out = a;
  out.early_blocks = processors * std::clamp((worth + shape.block.x / 2) / shape.block.x, 1U, kMostEarlyBlocks);
  return out;
}

/// What `c` is launched with. Throws CudaError where the grid has no room for it.
inline LaunchShape norm_launch_shape(const NormConfig& c, DType dtype, const NormArgs& a) {
  const LaunchNeeds needs = norm_launch_needs(c, dtype, chain_of(a), a.images, a.channels, a.pixels);
  LaunchShape shape{grid_of(needs.blocks), dim3(static_cast<unsigned>(needs.threads)), needs.dynamic_shared};
  shape.cluster = needs.cluster;
  shape.dependent = true;
  return shape;
}

inline int log2_of(int power_of_two) {
  int log = 0;
  while ((1 << log) < power_of_two) ++log;
  return log;
}

}  // namespace frieze::cuda
