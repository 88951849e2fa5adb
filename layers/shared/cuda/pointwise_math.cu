// Elementwise arithmetic: one kernel for all functions of one value, one for all of two, one that chooses.
#include <frieze/layers/shared/cuda/pointwise_flat.h>
#include <frieze/layers/shared/cuda/pointwise.cuh>
#include <frieze/layers/shared/cuda/quick_math.cuh>

namespace frieze::cuda {
namespace {

constexpr std::uint32_t kUnaryPacks = 2, kBinaryPacks = 2;  // a thread: one load each leaves an H200 idle

// Long functions, for the packs' loops to call: inlined, each would stand in the kernel once an element.
__device__ __noinline__ float activate_one(Activation f, float x, float p) { return activate(f, x, p); }
__device__ __noinline__ float long_function(UnaryOp::Code code, float x, float p) {
  switch (code) {
    case UnaryOp::Code::sin: return sinf(x);  // these two reduce arguments of any size
    case UnaryOp::Code::cos: return cosf(x);
    case UnaryOp::Code::log: return logf(x);
    default: return powf(x, p);
  }
}
__device__ __forceinline__ float truth(bool v) { return v ? 1.0F : 0.0F; }

template <class T, int N, class F>
__device__ __forceinline__ Pack<T, N> map_pack(Pack<T, N> pack, F f) {
#pragma unroll
  for (int i = 0; i < N; ++i) pack.v[i] = narrow<T>(f(widen(pack.v[i])));
  return pack;
}

// The function is chosen once a pack. Out of line: a thread has several packs, and the code is long.
template <class T, int N>
__device__ __noinline__ Pack<T, N> unary_pack(UnaryOp op, Pack<T, N> x) {
  const float p = op.p, q = op.q;
  switch (op.code) {
    case UnaryOp::Code::activation:
      if (op.activation == Activation::relu) return map_pack(x, [](float v) { return v < 0.0F ? 0.0F : v; });
      if (op.activation == Activation::silu) return map_pack(x, [](float v) { return activate(Activation::silu, v); });
      if (op.activation == Activation::gelu) return map_pack(x, [](float v) { return activate(Activation::gelu, v); });
      if (op.activation == Activation::gelu_tanh) return map_pack(x, [](float v) { return activate(Activation::gelu_tanh, v); });
      return map_pack(x, [&](float v) { return activate_one(op.activation, v, p); });
    case UnaryOp::Code::scale: return map_pack(x, [=](float v) { return p * v; });
    case UnaryOp::Code::add: return map_pack(x, [=](float v) { return v + p; });
    case UnaryOp::Code::subtract_from: return map_pack(x, [=](float v) { return p - v; });
    case UnaryOp::Code::divide: return map_pack(x, [=](float v) { return v / p; });
    case UnaryOp::Code::divide_into: return map_pack(x, [=](float v) { return p / v; });
    case UnaryOp::Code::clamp:
      return map_pack(x, [=](float v) {
        const float above = v < p ? p : v;
        return above > q ? q : above;
      });
    case UnaryOp::Code::greater: return map_pack(x, [=](float v) { return truth(v > p); });
    case UnaryOp::Code::greater_equal: return map_pack(x, [=](float v) { return truth(v >= p); });
    case UnaryOp::Code::less: return map_pack(x, [=](float v) { return truth(v < p); });
    case UnaryOp::Code::less_equal: return map_pack(x, [=](float v) { return truth(v <= p); });
    case UnaryOp::Code::equal: return map_pack(x, [=](float v) { return truth(v == p); });
    case UnaryOp::Code::not_equal: return map_pack(x, [=](float v) { return truth(v != p); });
    case UnaryOp::Code::abs: return map_pack(x, [](float v) { return fabsf(v); });
    case UnaryOp::Code::exp: return map_pack(x, [](float v) { return expf(v); });
    case UnaryOp::Code::sqrt: return map_pack(x, [](float v) { return sqrtf(v); });
    case UnaryOp::Code::rsqrt: return map_pack(x, [](float v) { return rsqrtf(v); });
    case UnaryOp::Code::square: return map_pack(x, [](float v) { return v * v; });
    case UnaryOp::Code::floor: return map_pack(x, [](float v) { return floorf(v); });
    default: return map_pack(x, [&](float v) { return long_function(op.code, v, p); });
  }
}

// A block owns kUnaryPacks runs of kPointwiseBlock packs, a thread one pack of each.
template <class T, int N>
__global__ void __launch_bounds__(kPointwiseBlock) unary_packs_per_thread(const T* x, T* y, ThreadNest<2> nest, UnaryOp op) {
  std::int64_t offset[kUnaryPacks][2];
  int count[kUnaryPacks];
  Pack<T, N> pack[kUnaryPacks];
#pragma unroll
  for (int u = 0; u < kUnaryPacks; ++u) {
    count[u] = locate(nest, (blockIdx.x * kUnaryPacks + u) * kPointwiseBlock + threadIdx.x, N, offset[u]);
    if (count[u] > 0) pack[u] = load_pack<T, N>(x + offset[u][1], count[u], false);
  }
#pragma unroll
  for (int u = 0; u < kUnaryPacks; ++u) {
    if (count[u] > 0) store_pack(y + offset[u][0], count[u], unary_pack(op, pack[u]));
  }
}

template <class T, int N, class F>
__device__ __forceinline__ Pack<T, N> join_packs(Pack<T, N> a, const Pack<T, N>& b, F f) {
#pragma unroll
  for (int i = 0; i < N; ++i) a.v[i] = narrow<T>(f(widen(a.v[i]), widen(b.v[i])));
  return a;
}

template <class T, int N>
__device__ __forceinline__ Pack<T, N> binary_pack(const BinaryOp& op, const Pack<T, N>& a, const Pack<T, N>& b) {
  switch (op.code) {
    case BinaryOp::Code::add: return join_packs(a, b, [](float u, float v) { return u + v; });
    case BinaryOp::Code::subtract: return join_packs(a, b, [](float u, float v) { return u - v; });
    case BinaryOp::Code::mul: return join_packs(a, b, [](float u, float v) { return u * v; });
    case BinaryOp::Code::divide:
      return join_packs(a, b, [](float u, float v) {
        if constexpr (sizeof(T) == 4) return u / v;
        float q;
        asm("div.full.f32 %0, %1, %2;" : "=f"(q) : "f"(u), "f"(v));  // within 2 units of f32
        return q;
      });
    case BinaryOp::Code::minimum: return join_packs(a, b, [](float u, float v) { return u < v || isnan(u) ? u : v; });
    case BinaryOp::Code::maximum: return join_packs(a, b, [](float u, float v) { return u > v || isnan(u) ? u : v; });
    case BinaryOp::Code::greater: return join_packs(a, b, [](float u, float v) { return truth(u > v); });
    case BinaryOp::Code::greater_equal: return join_packs(a, b, [](float u, float v) { return truth(u >= v); });
    case BinaryOp::Code::less: return join_packs(a, b, [](float u, float v) { return truth(u < v); });
    case BinaryOp::Code::less_equal: return join_packs(a, b, [](float u, float v) { return truth(u <= v); });
    case BinaryOp::Code::equal: return join_packs(a, b, [](float u, float v) { return truth(u == v); });
    case BinaryOp::Code::not_equal: return join_packs(a, b, [](float u, float v) { return truth(u != v); });
    case BinaryOp::Code::gate:
      if (op.activation == Activation::silu)
        return join_packs(a, b, [](float u, float v) { return u * activate_for<T, Activation::silu>(v, 0); });
      if (op.activation == Activation::sigmoid)
        return join_packs(a, b, [](float u, float v) { return u * activate_for<T, Activation::sigmoid>(v, 0); });
      if (op.activation == Activation::gelu)
        return join_packs(a, b, [](float u, float v) { return u * activate_for<T, Activation::gelu>(v, 0); });
      if (op.activation == Activation::relu) return join_packs(a, b, [](float u, float v) { return u * (v < 0.0F ? 0.0F : v); });
      return join_packs(a, b, [&](float u, float v) { return u * activate_one(op.activation, v, 0.0F); });
    default: return join_packs(a, b, [](float u, float v) { return u < 0.0F ? u * v : u; });
  }
}

// As unary_packs_per_thread, two packs of each operand in flight.
template <class T, int N>
__global__ void __launch_bounds__(kPointwiseBlock) binary_packs_per_thread(const T* a, const T* b, T* y, ThreadNest<3> nest, BinaryOp op) {
  std::int64_t offset[kBinaryPacks][3];
  int count[kBinaryPacks];
  Pack<T, N> u[kBinaryPacks], v[kBinaryPacks];
#pragma unroll
  for (int k = 0; k < kBinaryPacks; ++k) {
    count[k] = locate(nest, (blockIdx.x * kBinaryPacks + k) * kPointwiseBlock + threadIdx.x, N, offset[k]);
    if (count[k] == 0) continue;
    u[k] = load_pack<T, N>(a + offset[k][1], count[k], nest.stride[0][1] == 0);
    v[k] = load_pack<T, N>(b + offset[k][2], count[k], nest.stride[0][2] == 0);
  }
#pragma unroll
  for (int k = 0; k < kBinaryPacks; ++k) {
    if (count[k] > 0) store_pack(y + offset[k][0], count[k], binary_pack(op, u[k], v[k]));
  }
}

template <class T, int N>
__global__ void __launch_bounds__(kPointwiseBlock)
    choose_pack_per_thread(const T* condition, const T* a, const T* b, T* y, ThreadNest<4> nest) {
  std::int64_t offset[4];
  const int count = locate(nest, blockIdx.x * kPointwiseBlock + threadIdx.x, N, offset);
  if (count == 0) return;
  const auto choice = load_pack<T, N>(condition + offset[1], count, nest.stride[0][1] == 0);
  auto u = load_pack<T, N>(a + offset[2], count, nest.stride[0][2] == 0);
  const auto v = load_pack<T, N>(b + offset[3], count, nest.stride[0][3] == 0);
#pragma unroll
  for (int i = 0; i < N; ++i) u.v[i] = widen(choice.v[i]) != 0.0F ? u.v[i] : v.v[i];
  store_pack(y + offset[0], count, u);
}

}  // namespace

void launch_unary(const UnaryOp& op, const TensorView& x, const TensorView& y, cudaStream_t stream) {
  const TensorView views[] = {y, x};
  const Nest loops = collapse(views);
  const bool flat = loops.rank == 1 && loops.axes[0].stride[0] == 1 && loops.axes[0].stride[1] == 1;
  if (flat && ((reinterpret_cast<std::uintptr_t>(x.data) | reinterpret_cast<std::uintptr_t>(y.data)) % 16 == 0) &&
      launch_flat_unary(op, y.dtype, x.data, y.data, loops.elements(), stream)) {
    return;
  }
  dispatch(y.dtype, [&](auto t) {
    using T = decltype(t);
    constexpr int kPack = 16 / sizeof(T);
    const bool packs = pack_size(loops, addresses(y, x), sizeof(T), false) == kPack;
    for_each_piece<2>(loops, packs ? kPack : 1, [&](const ThreadNest<2>& nest) {
      const auto kernel = packs ? &unary_packs_per_thread<T, kPack> : &unary_packs_per_thread<T, 1>;
      launch_kernel(kernel, blocks(nest.threads, kUnaryPacks), dim3(kPointwiseBlock), 0, stream, x.as<const T>(), y.as<T>(), nest, op);
    });
  });
}

void launch_binary(const BinaryOp& op, const TensorView& a, const TensorView& b, const TensorView& y, cudaStream_t stream) {
  const TensorView views[] = {y, a, b};
  const Nest loops = collapse(views);
  dispatch(y.dtype, [&](auto t) {
    using T = decltype(t);
    constexpr int kPack = 16 / sizeof(T);
    const bool packs = pack_size(loops, addresses(y, a, b), sizeof(T), true) == kPack;
    if (packs && launch_pack_binary(op, loops, a, b, y, stream)) return;
    for_each_piece<3>(loops, packs ? kPack : 1, [&](const ThreadNest<3>& nest) {
      const auto kernel = packs ? &binary_packs_per_thread<T, kPack> : &binary_packs_per_thread<T, 1>;
      launch_kernel(kernel, blocks(nest.threads, kBinaryPacks), dim3(kPointwiseBlock), 0, stream, a.as<const T>(), b.as<const T>(),
                    y.as<T>(), nest, op);
    });
  });
}

void launch_where(const TensorView& condition, const TensorView& a, const TensorView& b, const TensorView& y, cudaStream_t stream) {
  const TensorView views[] = {y, condition, a, b};
  const Nest loops = collapse(views);
  dispatch(y.dtype, [&](auto t) {
    using T = decltype(t);
    constexpr int kPack = 16 / sizeof(T);
    const bool packs = pack_size(loops, addresses(y, condition, a, b), sizeof(T), true) == kPack;
    for_each_piece<4>(loops, packs ? kPack : 1, [&](const ThreadNest<4>& nest) {
      const auto kernel = packs ? &choose_pack_per_thread<T, kPack> : &choose_pack_per_thread<T, 1>;
      launch_kernel(kernel, blocks(nest.threads), dim3(kPointwiseBlock), 0, stream, condition.as<const T>(), a.as<const T>(),
                    b.as<const T>(), y.as<T>(), nest);
    });
  });
}

void preload_unary(const UnaryOp& op, DType t) {
  preload_flat_unary(op, t);
  dispatch(t, [](auto v) {
    using T = decltype(v);
    preload_all(&unary_packs_per_thread<T, 16 / sizeof(T)>, &unary_packs_per_thread<T, 1>);
  });
}

void preload_binary(const BinaryOp& op, DType t) {
  preload_pack_binary(op, t);
  dispatch(t, [](auto v) {
    using T = decltype(v);
    preload_all(&binary_packs_per_thread<T, 16 / sizeof(T)>, &binary_packs_per_thread<T, 1>);
  });
}

void preload_where(DType t) {
  dispatch(t, [](auto v) {
    using T = decltype(v);
    preload_all(&choose_pack_per_thread<T, 16 / sizeof(T)>, &choose_pack_per_thread<T, 1>);
  });
}

}  // namespace frieze::cuda
