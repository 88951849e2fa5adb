#include <type_traits>

#include <frieze/layers/shared/cuda/pointwise_flat.h>
#include <frieze/layers/shared/cuda/pointwise.cuh>
#include <frieze/layers/shared/cuda/quick_math.cuh>

namespace frieze::cuda {
namespace {

using Code = UnaryOp::Code;

// a / b for results of type T: div.full.f32 is within 2 units of the last place of f32, over its whole range.
template <class T>
__device__ __forceinline__ float divide_for(float a, float b) {
  if constexpr (sizeof(T) == 4) return a / b;
  float q;
  asm("div.full.f32 %0, %1, %2;" : "=f"(q) : "f"(a), "f"(b));
  return q;
}

// sin or cos for results of 16 bits: the argument less whole turns, in two steps, then the fast function, off by 2^-21. Arguments that
// would lose digits so go the accurate way.
__device__ __noinline__ float turn_large(bool sine, float x) { return sine ? sinf(x) : cosf(x); }
template <class T, bool kSine>
__device__ __forceinline__ float turn_for(float x) {
  if constexpr (sizeof(T) == 4) return kSine ? sinf(x) : cosf(x);
  if (!(fabsf(x) < 8192.0F)) return turn_large(kSine, x);
  const float turns = rintf(x * 0.15915494F), rest = fmaf(turns, -0.0019353072F, fmaf(turns, -6.28125F, x));
  if constexpr (!kSine) return __cosf(rest);
  // The fast sine is off by 2^-21 near 0 too, where two terms of the series are exact to 2^-22 of the value.
  return fabsf(rest) < 0.0625F ? fmaf(rest * rest * rest, -1.0F / 6, rest) : __sinf(rest);
}

template <class T, Code kCode, Activation kActivation>
__device__ __forceinline__ float evaluate(float v, float p, float q) {
  switch (kCode) {
    case Code::activation: return activate_for<T, kActivation>(v, p);
    case Code::scale: return p * v;
    case Code::add: return v + p;
    case Code::subtract_from: return p - v;
    case Code::divide: return divide_for<T>(v, p);
    case Code::divide_into: return divide_for<T>(p, v);
    case Code::clamp: {
      const float above = v < p ? p : v;
      return above > q ? q : above;
    }
    case Code::power: return powf(v, p);
    case Code::abs: return fabsf(v);
    case Code::exp: return sizeof(T) == 4 ? expf(v) : __expf(v);
    case Code::log: return logf(v);
    case Code::sqrt: return sqrtf(v);
    case Code::rsqrt: return rsqrtf(v);
    case Code::sin: return turn_for<T, true>(v);
    case Code::cos: return turn_for<T, false>(v);
    case Code::square: return v * v;
    default: return floorf(v);
  }
}

// Two packs a thread, a block apart; the elements behind the last pack one by one.
template <class T, Code kCode, Activation kActivation>
__global__ void __launch_bounds__(kPointwiseBlock) flat_unary_packs_per_thread(const T* x, T* y, std::int64_t count, float p, float q) {
  constexpr int N = 16 / sizeof(T);
  const std::int64_t packs = count / N, first = std::int64_t{blockIdx.x} * (2 * kPointwiseBlock) + threadIdx.x;
  const std::int64_t second = first + kPointwiseBlock;
  const auto* const from = reinterpret_cast<const Pack<T, N>*>(x);
  auto* const to = reinterpret_cast<Pack<T, N>*>(y);
  const auto apply = [&](Pack<T, N> pack) {
#pragma unroll
    for (int i = 0; i < N; ++i) pack.v[i] = narrow<T>(evaluate<T, kCode, kActivation>(widen(pack.v[i]), p, q));
    return pack;
  };
  Pack<T, N> a, b;
  if (first < packs) a = from[first];
  if (second < packs) b = from[second];
  if (first < packs) to[first] = apply(a);
  if (second < packs) to[second] = apply(b);
  if (first == 0) {
#pragma unroll 1
    for (std::int64_t i = packs * N; i < count; ++i) y[i] = narrow<T>(evaluate<T, kCode, kActivation>(widen(x[i]), p, q));
  }
}

// Calls body(code, activation) with both as constants of the compilation; false for a code without a kernel.
template <class Body>
bool with_code(const UnaryOp& op, Body&& body) {
  const auto plain = [&]<Code kCode>(std::integral_constant<Code, kCode> code) {
    body(code, std::integral_constant<Activation, Activation::none>{});
    return true;
  };
  switch (op.code) {
    case Code::activation:
      with_activation(op.activation, [&](auto f) { body(std::integral_constant<Code, Code::activation>{}, f); });
      return true;
    case Code::scale: return plain(std::integral_constant<Code, Code::scale>{});
    case Code::add: return plain(std::integral_constant<Code, Code::add>{});
    case Code::subtract_from: return plain(std::integral_constant<Code, Code::subtract_from>{});
    case Code::divide: return plain(std::integral_constant<Code, Code::divide>{});
    case Code::divide_into: return plain(std::integral_constant<Code, Code::divide_into>{});
    case Code::clamp: return plain(std::integral_constant<Code, Code::clamp>{});
    case Code::power: return plain(std::integral_constant<Code, Code::power>{});
    case Code::abs: return plain(std::integral_constant<Code, Code::abs>{});
    case Code::exp: return plain(std::integral_constant<Code, Code::exp>{});
    case Code::log: return plain(std::integral_constant<Code, Code::log>{});
    case Code::sqrt: return plain(std::integral_constant<Code, Code::sqrt>{});
    case Code::rsqrt: return plain(std::integral_constant<Code, Code::rsqrt>{});
    case Code::sin: return plain(std::integral_constant<Code, Code::sin>{});
    case Code::cos: return plain(std::integral_constant<Code, Code::cos>{});
    case Code::square: return plain(std::integral_constant<Code, Code::square>{});
    case Code::floor: return plain(std::integral_constant<Code, Code::floor>{});
    default: return false;  // comparisons
  }
}

}  // namespace

bool launch_flat_unary(const UnaryOp& op, DType t, const void* x, void* y, std::int64_t count, cudaStream_t stream) {
  return with_code(op, [&](auto code, auto f) {
    dispatch(t, [&](auto v) {
      using T = decltype(v);
      const std::int64_t packs = std::max<std::int64_t>(count / static_cast<std::int64_t>(16 / sizeof(T)), 1);
      launch_kernel(&flat_unary_packs_per_thread<T, code.value, f.value>, grid_of(ceil_div(packs, std::int64_t{2 * kPointwiseBlock})),
                    dim3(kPointwiseBlock), 0, stream, static_cast<const T*>(x), static_cast<T*>(y), count, op.p, op.q);
    });
  });
}

void preload_flat_unary(const UnaryOp& op, DType t) {
  with_code(op, [&](auto code, auto f) {
    dispatch(t, [&](auto v) { preload_all(&flat_unary_packs_per_thread<decltype(v), code.value, f.value>); });
  });
}

}  // namespace frieze::cuda
