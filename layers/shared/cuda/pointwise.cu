#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/shared/cuda/pointwise.h>
#include <frieze/layers/shared/nest.h>
#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {
namespace {

constexpr unsigned kBlock = 256;  // 16 bytes a thread and 8 blocks an SM: 32 KiB in flight, what an H100 needs

// Where this thread's pack begins in each operand, and how many of its elements are left in the row; 0 past the end.
template <int K>
__device__ __forceinline__ int locate(const ThreadNest<K>& nest, int pack, std::int64_t (&offset)[K]) {
  std::uint32_t i = blockIdx.x * kBlock + threadIdx.x;
  if (i >= nest.threads) return 0;
#pragma unroll
  for (int k = 0; k < K; ++k) offset[k] = nest.base[k];
  std::int64_t left = nest.row;
  for (int axis = 0; axis < nest.rank; ++axis) {
    std::uint32_t at = i;
    if (axis + 1 < nest.rank) {
      i /= nest.extent[axis];
      at -= i * nest.extent[axis];
    }
    if (axis == 0) left -= std::int64_t{at} * pack;
#pragma unroll
    for (int k = 0; k < K; ++k) offset[k] += at * nest.stride[axis][k];
  }
  return static_cast<int>(min(left, std::int64_t{pack}));
}

// E is an unsigned integer of the element's size: a copy has no arithmetic, and signalling NaNs must survive it.
template <class E, int N>
__global__ void __launch_bounds__(kBlock) copy_pack_per_thread(const E* src, E* dst, ThreadNest<2> nest) {
  std::int64_t offset[2];
  const int count = locate(nest, N, offset);
  if (count == N) {
    *reinterpret_cast<Pack<E, N>*>(dst + offset[0]) = *reinterpret_cast<const Pack<E, N>*>(src + offset[1]);
    return;
  }
  for (int i = 0; i < count; ++i) dst[offset[0] + i] = src[offset[1] + i];
}

// One thread owns kStreams packs: it loads a pack of every stream and stores their interleaving, or the other way round.
template <class E, int kStreams, bool kWeave>
__global__ void __launch_bounds__(kBlock)
    interleave_packs_per_thread(const E* src, E* dst, ThreadNest<2> nest, int shift, std::int64_t near, std::int64_t far) {
  constexpr int N = 16 / sizeof(E);
  std::int64_t offset[2];
  if (locate(nest, N, offset) == 0) return;
  const auto stream = [&](int j) { return (j & ((1 << shift) - 1)) * near + (j >> shift) * far; };
  Pack<E, N> in[kStreams];
#pragma unroll
  for (int j = 0; j < kStreams; ++j) {
    in[j] = *reinterpret_cast<const Pack<E, N>*>(src + offset[1] + (kWeave ? stream(j) : std::int64_t{j} * N));
  }
#pragma unroll
  for (int j = 0; j < kStreams; ++j) {
    Pack<E, N> out;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const int woven = kWeave ? j * N + i : i * kStreams + j;  // place in the interleaved run
      out.v[i] = kWeave ? in[woven % kStreams].v[woven / kStreams] : in[woven / N].v[woven % N];
    }
    *reinterpret_cast<Pack<E, N>*>(dst + offset[0] + (kWeave ? std::int64_t{j} * N : stream(j))) = out;
  }
}

template <class T, int N>
__global__ void __launch_bounds__(kBlock) unary_pack_per_thread(const T* x, T* y, ThreadNest<2> nest, UnaryOp op) {
  std::int64_t offset[2];
  const int count = locate(nest, N, offset);
  if (N > 1 && count == N) {
    auto pack = *reinterpret_cast<const Pack<T, N>*>(x + offset[1]);
#pragma unroll
    for (int i = 0; i < N; ++i) pack.v[i] = narrow<T>(op.factor * activate(op.f, widen(pack.v[i]), op.parameter));
    *reinterpret_cast<Pack<T, N>*>(y + offset[0]) = pack;
    return;
  }
  for (int i = 0; i < count; ++i) y[offset[0] + i] = narrow<T>(op.factor * activate(op.f, widen(x[offset[1] + i]), op.parameter));
}

template <class T, int N>
__device__ __forceinline__ Pack<T, N> load_or_repeat(const T* x, bool repeat) {
  if (!repeat) return *reinterpret_cast<const Pack<T, N>*>(x);
  Pack<T, N> pack;
  const T v = *x;
#pragma unroll
  for (int i = 0; i < N; ++i) pack.v[i] = v;
  return pack;
}

__device__ __forceinline__ float combine(BinaryOp op, float a, float b) { return op == BinaryOp::add ? a + b : a * b; }

template <class T, int N>
__global__ void __launch_bounds__(kBlock) binary_pack_per_thread(const T* a, const T* b, T* y, ThreadNest<3> nest, BinaryOp op) {
  std::int64_t offset[3];
  const int count = locate(nest, N, offset);
  const bool repeat_a = nest.stride[0][1] == 0, repeat_b = nest.stride[0][2] == 0;
  if (N > 1 && count == N) {
    auto u = load_or_repeat<T, N>(a + offset[1], repeat_a);
    const auto v = load_or_repeat<T, N>(b + offset[2], repeat_b);
#pragma unroll
    for (int i = 0; i < N; ++i) u.v[i] = narrow<T>(combine(op, widen(u.v[i]), widen(v.v[i])));
    *reinterpret_cast<Pack<T, N>*>(y + offset[0]) = u;
    return;
  }
  for (int i = 0; i < count; ++i) {
    y[offset[0] + i] = narrow<T>(combine(op, widen(a[offset[1] + (repeat_a ? 0 : i)]), widen(b[offset[2] + (repeat_b ? 0 : i)])));
  }
}

template <class... V>
std::array<std::uintptr_t, sizeof...(V)> addresses(const V&... views) {
  return {reinterpret_cast<std::uintptr_t>(views.data)...};
}

dim3 blocks(std::uint32_t threads) { return dim3(ceil_div(threads, kBlock)); }

// Calls body with the type to copy elements of T as.
template <class Body>
void dispatch_bits(DType t, Body&& body) {
  if (size_of(t) == 8) {
    body(std::uint64_t{});
  } else if (size_of(t) == 4) {
    body(std::uint32_t{});
  } else {
    body(std::uint16_t{});
  }
}

template <class E, int kStreams>
void launch_interleave(const Interleave& plan, bool weave, const TensorView& src, const TensorView& dst, cudaStream_t stream) {
  for_each_piece<2>(plan.rest, 16 / sizeof(E), [&](const ThreadNest<2>& nest) {
    const auto kernel = weave ? &interleave_packs_per_thread<E, kStreams, true> : &interleave_packs_per_thread<E, kStreams, false>;
    launch_kernel(kernel, blocks(nest.threads), dim3(kBlock), 0, stream, src.as<const E>(), dst.as<E>(), nest, plan.shift, plan.near,
                  plan.far);
  });
}

template <class E>
bool try_interleave(const TensorView& src, const TensorView& dst, const Nest& by_dst, cudaStream_t stream) {
  const TensorView views[] = {dst, src};
  const auto data = addresses(dst, src);
  bool weave = true;
  Interleave plan = find_interleave(by_dst, 0, data, sizeof(E));
  if (plan.streams == 0) {
    weave = false;
    plan = find_interleave(collapse(views, 1), 1, data, sizeof(E));
  }
  switch (plan.streams) {
    case 2: launch_interleave<E, 2>(plan, weave, src, dst, stream); return true;
    case 4: launch_interleave<E, 4>(plan, weave, src, dst, stream); return true;
    case 16: launch_interleave<E, 16>(plan, weave, src, dst, stream); return true;
    default: return false;
  }
}

template <class E, int N>
void launch_copy_packs(const Nest& loops, const TensorView& src, const TensorView& dst, cudaStream_t stream) {
  for_each_piece<2>(loops, N, [&](const ThreadNest<2>& nest) {
    launch_kernel(copy_pack_per_thread<E, N>, blocks(nest.threads), dim3(kBlock), 0, stream, src.as<const E>(), dst.as<E>(), nest);
  });
}

template <class... F>
void preload_all(F... kernels) {
  (preload(reinterpret_cast<const void*>(kernels)), ...);
}

}  // namespace

void launch_copy(const TensorView& src, const TensorView& dst, cudaStream_t stream) {
  const TensorView views[] = {dst, src};
  const Nest loops = collapse(views);
  dispatch_bits(dst.dtype, [&](auto e) {
    using E = decltype(e);
    const std::int64_t pack = pack_size(loops, addresses(dst, src), sizeof(E), false);
    if constexpr (sizeof(E) < 8) {
      if (pack == 1 && try_interleave<E>(src, dst, loops, stream)) return;
    }
    if constexpr (sizeof(E) == 2) {
      if (pack >= 8) return launch_copy_packs<E, 8>(loops, src, dst, stream);
    }
    if constexpr (sizeof(E) < 8) {
      if (pack >= 4) return launch_copy_packs<E, 4>(loops, src, dst, stream);
    }
    if (pack >= 2) return launch_copy_packs<E, 2>(loops, src, dst, stream);
    launch_copy_packs<E, 1>(loops, src, dst, stream);
  });
}

void launch_unary(const UnaryOp& op, const TensorView& x, const TensorView& y, cudaStream_t stream) {
  const TensorView views[] = {y, x};
  const Nest loops = collapse(views);
  dispatch(y.dtype, [&](auto t) {
    using T = decltype(t);
    constexpr int kPack = 16 / sizeof(T);
    const bool packs = pack_size(loops, addresses(y, x), sizeof(T), false) == kPack;
    for_each_piece<2>(loops, packs ? kPack : 1, [&](const ThreadNest<2>& nest) {
      const auto kernel = packs ? &unary_pack_per_thread<T, kPack> : &unary_pack_per_thread<T, 1>;
      launch_kernel(kernel, blocks(nest.threads), dim3(kBlock), 0, stream, x.as<const T>(), y.as<T>(), nest, op);
    });
  });
}

void launch_binary(BinaryOp op, const TensorView& a, const TensorView& b, const TensorView& y, cudaStream_t stream) {
  const TensorView views[] = {y, a, b};
  const Nest loops = collapse(views);
  dispatch(y.dtype, [&](auto t) {
    using T = decltype(t);
    constexpr int kPack = 16 / sizeof(T);
    const bool packs = pack_size(loops, addresses(y, a, b), sizeof(T), true) == kPack;
    for_each_piece<3>(loops, packs ? kPack : 1, [&](const ThreadNest<3>& nest) {
      const auto kernel = packs ? &binary_pack_per_thread<T, kPack> : &binary_pack_per_thread<T, 1>;
      launch_kernel(kernel, blocks(nest.threads), dim3(kBlock), 0, stream, a.as<const T>(), b.as<const T>(), y.as<T>(), nest, op);
    });
  });
}

void preload_copy(DType t) {
  dispatch_bits(t, [](auto e) {
    using E = decltype(e);
    preload_all(&copy_pack_per_thread<E, 1>, &copy_pack_per_thread<E, 2>);
    if constexpr (sizeof(E) == 2) preload_all(&copy_pack_per_thread<E, 8>);
    if constexpr (sizeof(E) < 8) {
      preload_all(&copy_pack_per_thread<E, 4>);
      preload_all(&interleave_packs_per_thread<E, 2, true>, &interleave_packs_per_thread<E, 4, true>,
                  &interleave_packs_per_thread<E, 16, true>);
      preload_all(&interleave_packs_per_thread<E, 2, false>, &interleave_packs_per_thread<E, 4, false>,
                  &interleave_packs_per_thread<E, 16, false>);
    }
  });
}

void preload_unary(DType t) {
  dispatch(t, [](auto v) {
    using T = decltype(v);
    preload_all(&unary_pack_per_thread<T, 16 / sizeof(T)>, &unary_pack_per_thread<T, 1>);
  });
}

void preload_binary(DType t) {
  dispatch(t, [](auto v) {
    using T = decltype(v);
    preload_all(&binary_pack_per_thread<T, 16 / sizeof(T)>, &binary_pack_per_thread<T, 1>);
  });
}

TensorView broadcast_view(const TensorView& x, const Shape& shape) {
  TensorView repeated(x.data, shape, x.dtype, x.strides);
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (x.shape[axis] == 1) repeated.strides[static_cast<std::size_t>(axis)] = 0;
  }
  return repeated;
}

TensorView slice_view(const TensorView& x, int axis, std::int64_t begin, std::int64_t extent) {
  char* first = x.as<char>() + begin * x.stride(axis) * static_cast<std::int64_t>(size_of(x.dtype));
  return TensorView(first, x.shape.with(axis, extent), x.dtype, x.strides);
}

}  // namespace frieze::cuda
