#include <algorithm>
#include <type_traits>

#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/cast/cast.h>
#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {
namespace {

constexpr int kBlock = 256;

// Integers beside what dispatch() knows.
template <class Body>
void dispatch_any(DType t, Body&& body) {
  if (t == DType::i32) return body(std::int32_t{});
  if (t == DType::i64) return body(std::int64_t{});
  dispatch(t, body);
}

template <class T>
constexpr bool kIsInteger = std::is_integral_v<T>;

// As convert() in core/tensor.h: floats go through f32, in which all of them are exact.
template <class To, class From>
__device__ __forceinline__ To cast_to(From v) {
  if constexpr (std::is_same_v<From, To>) {
    return v;
  } else if constexpr (kIsInteger<From> && kIsInteger<To>) {
    return static_cast<To>(v);
  } else if constexpr (kIsInteger<From>) {
    if constexpr (sizeof(From) == 8) return narrow<To>(__ll2float_rn(v));
    return narrow<To>(__int2float_rn(static_cast<int>(v)));
  } else if constexpr (kIsInteger<To>) {
    const float f = widen(v);
    if (f != f) return 0;  // the instruction for i64 gives its least number
    if constexpr (sizeof(To) == 8) return __float2ll_rz(f);
    return __float2int_rz(f);
  } else {
    return narrow<To>(widen(v));
  }
}

template <class From, class To>
__global__ void __launch_bounds__(kBlock) cast_element_per_thread(const From* x, To* y, std::int64_t count) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (i < count) y[i] = cast_to<To>(x[i]);
}

// Elements a thread: 16 bytes of the smaller type.
template <class From, class To>
constexpr int kPack = static_cast<int>(16 / std::min(sizeof(From), sizeof(To)));

// The first thread converts the elements behind the last whole pack.
template <class From, class To>
__global__ void __launch_bounds__(kBlock) cast_pack_per_thread(const From* x, To* y, std::int64_t count) {
  constexpr int N = kPack<From, To>;
  const std::int64_t i = std::int64_t{blockIdx.x} * kBlock + threadIdx.x, packs = count / N;
  if (i < packs) {
    const Pack<From, N> from = reinterpret_cast<const Pack<From, N>*>(x)[i];
    Pack<To, N> to;
#pragma unroll
    for (int j = 0; j < N; ++j) to.v[j] = cast_to<To>(from.v[j]);
    reinterpret_cast<Pack<To, N>*>(y)[i] = to;
  }
  if (i == 0) {
    for (std::int64_t rest = packs * N; rest < count; ++rest) y[rest] = cast_to<To>(x[rest]);
  }
}

class CastKernel final : public NodeKernel {
 public:
  explicit CastKernel(const PrepareArgs& args) {
    with_types(args.in[0].dtype, args.out[0].dtype, [](auto from, auto to) {
      preload(reinterpret_cast<const void*>(&cast_element_per_thread<decltype(from), decltype(to)>));
      preload(reinterpret_cast<const void*>(&cast_pack_per_thread<decltype(from), decltype(to)>));
    });
  }

  // Both tensors are contiguous in one format, so that elements lie in one order. Bound by memory.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const TensorView &x = args.in[0], &y = args.out[0];
    const std::int64_t count = y.shape.elements();
    with_types(x.dtype, y.dtype, [&](auto from, auto to) {
      using From = decltype(from);
      using To = decltype(to);
      constexpr std::int64_t N = kPack<From, To>;
      const bool aligned = reinterpret_cast<std::uintptr_t>(x.data) % (sizeof(From) * N) == 0 &&
                           reinterpret_cast<std::uintptr_t>(y.data) % (sizeof(To) * N) == 0;
      const std::int64_t threads = aligned ? std::max<std::int64_t>(count / N, 1) : count;
      launch_kernel(aligned ? &cast_pack_per_thread<From, To> : &cast_element_per_thread<From, To>,
                    grid_of(ceil_div<std::int64_t>(threads, kBlock)), dim3(kBlock), 0, stream, x.as<const From>(), y.as<To>(), count);
    });
  }
  std::string describe() const override { return "16 bytes or more a thread"; }

 private:
  template <class Body>
  static void with_types(DType from, DType to, Body&& body) {
    dispatch_any(from, [&](auto f) { dispatch_any(to, [&](auto t) { body(f, t); }); });
  }
};

std::unique_ptr<Kernel> make(const Cast&, const PrepareArgs& args) { return std::make_unique<CastKernel>(args); }

}  // namespace

void register_cast(KernelRegistry& registry) { registry.add<Cast>(&make); }

}  // namespace frieze::cuda
