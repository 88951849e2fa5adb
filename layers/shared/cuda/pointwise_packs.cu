// Functions of two values in whole packs: a kernel a function, offsets of 32 bits.
#include <type_traits>

#include <frieze/layers/shared/cuda/pointwise_flat.h>
#include <frieze/layers/shared/cuda/pointwise.cuh>
#include <frieze/layers/shared/cuda/quick_math.cuh>

namespace frieze::cuda {
namespace {

using Code = BinaryOp::Code;

// ThreadNest of y, a and b where every row is whole packs and no offset reaches 2^31.
struct PackNest {
  std::uint32_t threads = 0;
  int rank = 1;
  Divisor extent[Shape::kMaxRank]{};
  std::uint32_t stride[Shape::kMaxRank][3]{};
  bool repeat_a = false, repeat_b = false;  // one element for the whole pack
};

template <class T, Code kCode, Activation kActivation>
__device__ __forceinline__ float evaluate(float u, float v) {
  switch (kCode) {
    case Code::add: return u + v;
    case Code::subtract: return u - v;
    case Code::mul: return u * v;
    case Code::divide: {
      if constexpr (sizeof(T) == 4) return u / v;
      float q;
      asm("div.full.f32 %0, %1, %2;" : "=f"(q) : "f"(u), "f"(v));  // within 2 units of f32
      return q;
    }
    case Code::minimum: return u < v || isnan(u) ? u : v;
    case Code::maximum: return u > v || isnan(u) ? u : v;
    case Code::gate: return u * activate_for<T, kActivation>(v, 0.0F);
    default: return u < 0.0F ? u * v : u;  // prelu
  }
}

template <class T, Code kCode, Activation kActivation>
__global__ void __launch_bounds__(kPointwiseBlock)
    binary_whole_pack_per_thread(const T* a, const T* b, T* y, const __grid_constant__ PackNest nest) {
  constexpr int N = 16 / sizeof(T);
  std::uint32_t i = blockIdx.x * kPointwiseBlock + threadIdx.x, to = 0, in_a = 0, in_b = 0;
  if (i >= nest.threads) return;
  for (int axis = 0; axis < nest.rank; ++axis) {
    std::uint32_t at = i;
    if (axis + 1 < nest.rank) {
      i = divide(nest.extent[axis], i);
      at -= i * nest.extent[axis].by;
    }
    to += at * nest.stride[axis][0];
    in_a += at * nest.stride[axis][1];
    in_b += at * nest.stride[axis][2];
  }
  auto u = load_pack<T, N>(a + in_a, N, nest.repeat_a);
  const auto v = load_pack<T, N>(b + in_b, N, nest.repeat_b);
#pragma unroll
  for (int j = 0; j < N; ++j) u.v[j] = narrow<T>(evaluate<T, kCode, kActivation>(widen(u.v[j]), widen(v.v[j])));
  store_pack(y + to, N, u);
}

template <class Body>
bool with_code(const BinaryOp& op, Body&& body) {
  using A = Activation;
  const auto plain = [&]<Code kCode>(std::integral_constant<Code, kCode> code) {
    body(code, std::integral_constant<A, A::none>{});
    return true;
  };
  const auto gate = [&]<A kFunction>(std::integral_constant<A, kFunction> f) {
    body(std::integral_constant<Code, Code::gate>{}, f);
    return true;
  };
  switch (op.code) {
    case Code::add: return plain(std::integral_constant<Code, Code::add>{});
    case Code::subtract: return plain(std::integral_constant<Code, Code::subtract>{});
    case Code::mul: return plain(std::integral_constant<Code, Code::mul>{});
    case Code::divide: return plain(std::integral_constant<Code, Code::divide>{});
    case Code::minimum: return plain(std::integral_constant<Code, Code::minimum>{});
    case Code::maximum: return plain(std::integral_constant<Code, Code::maximum>{});
    case Code::prelu: return plain(std::integral_constant<Code, Code::prelu>{});
    case Code::gate:
      if (op.activation == A::sigmoid) return gate(std::integral_constant<A, A::sigmoid>{});
      if (op.activation == A::silu) return gate(std::integral_constant<A, A::silu>{});
      if (op.activation == A::gelu) return gate(std::integral_constant<A, A::gelu>{});
      if (op.activation == A::relu) return gate(std::integral_constant<A, A::relu>{});
      return false;
    default: return false;
  }
}

}  // namespace

bool launch_pack_binary(const BinaryOp& op, const Nest& loops, const TensorView& a, const TensorView& b, const TensorView& y,
                        cudaStream_t stream) {
  const std::int64_t pack = static_cast<std::int64_t>(16 / size_of(y.dtype));
  if (loops.axes[0].extent % pack != 0 || loops.elements() / pack > 0x7FFFFFFF) return false;
  PackNest nest;
  nest.rank = loops.rank;
  nest.threads = static_cast<std::uint32_t>(loops.elements() / pack);
  std::int64_t end[3] = {};
  for (int axis = 0; axis < loops.rank; ++axis) {
    const NestAxis& loop = loops.axes[static_cast<std::size_t>(axis)];
    nest.extent[axis] = Divisor(static_cast<std::uint32_t>(axis == 0 ? loop.extent / pack : loop.extent));
    for (std::size_t k = 0; k < 3; ++k) {
      end[k] += loop.extent * loop.stride[k];
      if (end[k] > 0x7FFFFFFF) return false;
      nest.stride[axis][k] = static_cast<std::uint32_t>(loop.stride[k] * (axis == 0 ? pack : 1));
    }
  }
  nest.repeat_a = loops.axes[0].stride[1] == 0;
  nest.repeat_b = loops.axes[0].stride[2] == 0;
  return with_code(op, [&](auto code, auto f) {
    dispatch(y.dtype, [&](auto t) {
      using T = decltype(t);
      launch_kernel(&binary_whole_pack_per_thread<T, code.value, f.value>, blocks(nest.threads), dim3(kPointwiseBlock), 0, stream,
                    a.as<const T>(), b.as<const T>(), y.as<T>(), nest);
    });
  });
}

void preload_pack_binary(const BinaryOp& op, DType t) {
  with_code(op, [&](auto code, auto f) {
    dispatch(t, [&](auto v) { preload_all(&binary_whole_pack_per_thread<decltype(v), code.value, f.value>); });
  });
}

}  // namespace frieze::cuda
