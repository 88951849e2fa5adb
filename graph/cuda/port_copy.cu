#include <type_traits>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/device_memory.h>
#include <frieze/graph/cuda/port_copy.h>
#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {
namespace {

constexpr int kThreads = 256;

template <class From, class To>
struct Convert {
  __device__ To operator()(From v) const {
    if constexpr (std::is_integral_v<From>)
      return static_cast<To>(v);
    else
      return narrow<To>(widen(v));
  }
};

// What each byte stands for, rounded on the host: 256 numbers travel with the launch.
template <class To>
struct FromByte {
  To value[256];
  __device__ To operator()(std::uint8_t k) const { return value[k]; }
};

template <class From>
struct ToByte {
  double per_unit, offset;
  // As on the host: no operation is fused with another. fmax gives 0 for NaN.
  __device__ std::uint8_t operator()(From v) const {
    const double k = __dmul_rn(__dsub_rn(static_cast<double>(widen(v)), offset), per_unit);
    return static_cast<std::uint8_t>(__double2int_rn(fmin(255.0, fmax(0.0, k))));
  }
};

// Elements in the order of `to`. They come and go over the bus, which is slower than any way of reading them here.
template <class From, class To, class F>
__global__ void __launch_bounds__(kThreads) convert_element_per_thread(const From* from, To* to, Reorder r, std::int64_t count, F f) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  std::int64_t source = i;
  if (r.mode != Reorder::Mode::none) {
    const std::int64_t plane = r.channels * r.pixels, image = i / plane, at = i - image * plane;
    source = image * plane + (r.mode == Reorder::Mode::to_packed ? at % r.channels * r.pixels + at / r.channels
                                                                 : at % r.pixels * r.channels + at / r.pixels);
  }
  to[i] = f(from[source]);
}

template <class From, class To, class F>
void convert(const void* from, void* to, const Reorder& r, std::int64_t count, const F& f, cudaStream_t stream) {
  launch_kernel(convert_element_per_thread<From, To, F>, grid_of(ceil_div(count, kThreads)), dim3(kThreads), 0, stream,
                static_cast<const From*>(from), static_cast<To*>(to), r, count, f);
}

// Pairs that Port lets through.
template <class From, class To>
inline constexpr bool kConverts = std::is_integral_v<From> == std::is_integral_v<To>;

template <class Body>
void with_type(DType type, Body&& body) {
  switch (type) {
    case DType::i32: return body(std::int32_t{});
    case DType::i64: return body(std::int64_t{});
    default: return dispatch(type, body);
  }
}

template <class Body>
void with_type(HostType type, Body&& body) {
  switch (type) {
    case HostType::f32: return body(float{});
    case HostType::f16: return body(__half{});
    case HostType::bf16: return body(__nv_bfloat16{});
    case HostType::u8: return body(std::uint8_t{});
    case HostType::i32: return body(std::int32_t{});
    case HostType::i64: return body(std::int64_t{});
  }
}

template <class To>
FromByte<To> bytes_as(const HostValues& pixels, DType dtype) {
  FromByte<To> table;
  for (int k = 0; k < 256; ++k) store_element(dtype, table.value, static_cast<std::size_t>(k), value_of(pixels, k));
  return table;
}

}  // namespace

void PortCopies::prepare(const std::string& what, const PortPart& part, const HostValues& array, cudaStream_t stream, int device,
                         LastUse& last_use) {
  check_idle_stream(what, stream, device, "enqueue cudaMemcpyAsync from or to Port::view() there");
  if (array.count == 0) return;
  const std::size_t bytes = array.count * size_of(array.type);
  check_pinned_memory(array.data, bytes, what);
  if (same_bytes(array, part.spec) || staging_.bytes() >= bytes) return;
  last_use.wait();
  staging_ = DeviceBuffer();
  staging_ = DeviceBuffer(bytes);
}

void PortCopies::write(const PortPart& part, const HostValues& from, void* port, cudaStream_t stream) const {
  if (from.count == 0) return;
  const bool same = same_bytes(from, part.spec);
  CUDA_CHECK(cudaMemcpyAsync(same ? port : staging_.data(), from.data, from.count * size_of(from.type), cudaMemcpyHostToDevice, stream));
  if (same) return;
  const Reorder r = reorder(part.spec.shape, from.interleaved, is_packed(part.spec));
  const auto count = static_cast<std::int64_t>(from.count);
  with_type(part.spec.dtype, [&](auto element) {
    using To = decltype(element);
    with_type(from.type, [&](auto value) {
      using From = decltype(value);
      if constexpr (std::is_same_v<From, std::uint8_t>)
        convert<From, To>(staging_.data(), port, r, count, bytes_as<To>(from, part.spec.dtype), stream);
      else if constexpr (kConverts<From, To>)
        convert<From, To>(staging_.data(), port, r, count, Convert<From, To>(), stream);
    });
  });
}

void PortCopies::read(const PortPart& part, const void* port, const HostBuffer& to, cudaStream_t stream) const {
  if (to.count == 0) return;
  const bool same = same_bytes(read_only(to), part.spec);
  if (!same) {
    const Reorder r = reorder(part.spec.shape, is_packed(part.spec), to.interleaved);
    const auto count = static_cast<std::int64_t>(to.count);
    with_type(part.spec.dtype, [&](auto element) {
      using From = decltype(element);
      with_type(to.type, [&](auto value) {
        using To = decltype(value);
        if constexpr (std::is_same_v<To, std::uint8_t> && !std::is_integral_v<From>)
          convert<From, To>(port, staging_.data(), r, count, ToByte<From>{1 / to.scale, to.offset}, stream);
        else if constexpr (!std::is_same_v<To, std::uint8_t> && kConverts<From, To>)
          convert<From, To>(port, staging_.data(), r, count, Convert<From, To>(), stream);
      });
    });
  }
  CUDA_CHECK(cudaMemcpyAsync(to.data, same ? port : staging_.data(), to.count * size_of(to.type), cudaMemcpyDeviceToHost, stream));
}

}  // namespace frieze::cuda
