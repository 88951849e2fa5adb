#include <frieze/core/cuda/kernel.h>
#include <frieze/core/error.h>
#include <frieze/layers/pad/pad.h>
#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/shared/cuda/epilogue.cuh>

namespace frieze::cuda {
namespace {

constexpr int kBlock = 256;  // 16 bytes a thread and 8 blocks an SM: what a copy needs in flight

// Rows of `width` pixels, `inner` neighbouring elements each: the channels in nhwc, 1 otherwise. Row r is row r % height of plane
// r / height.
struct PadArgs {
  std::int64_t threads = 0, elements = 0;  // of y
  std::int64_t in_elements = 0;
  std::int64_t inner = 1, width = 0, height = 0, out_width = 0, out_height = 0;
  int left = 0, top = 0;
  PadMode mode = PadMode::zeros;
};

// Where place `p`, counted from the first element of x along an axis, comes from; -1: it is the value.
__device__ __forceinline__ std::int64_t source_of(std::int64_t p, std::int64_t extent, PadMode mode) {
  if (p >= 0 && p < extent) return p;
  switch (mode) {
    case PadMode::reflect: return p < 0 ? -p : 2 * (extent - 1) - p;
    case PadMode::replicate: return p < 0 ? 0 : extent - 1;
    case PadMode::circular: return p < 0 ? p + extent : p - extent;
    default: return -1;
  }
}

// The first element of the row of x that row `row` of y comes from; -1: all of it but copies of columns is the value.
__device__ __forceinline__ std::int64_t source_row(const PadArgs& a, std::int64_t row) {
  const DivMod plane = div_mod(row, a.out_height);
  const std::int64_t h = source_of(plane.remainder - a.top, a.height, a.mode);
  return h < 0 ? -1 : (plane.quotient * a.height + h) * a.width * a.inner;
}

// A whole pack of one pixel: inner is a multiple of N, and all pointers are aligned.
template <class E, int N>
__global__ void __launch_bounds__(kBlock) pad_pack_per_thread(const E* x, E* y, const __grid_constant__ PadArgs a, E value) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (i >= a.threads) return;
  const DivMod pixel = div_mod(i, a.inner / N), row = div_mod(pixel.quotient, a.out_width);
  const std::int64_t from = source_row(a, row.quotient), w = source_of(row.remainder - a.left, a.width, a.mode);
  Pack<E, N> pack;
  if (from >= 0 && w >= 0) {
    pack = *reinterpret_cast<const Pack<E, N>*>(x + from + w * a.inner + pixel.remainder * N);
  } else {
#pragma unroll
    for (int j = 0; j < N; ++j) pack.v[j] = value;
  }
  *reinterpret_cast<Pack<E, N>*>(y + i * N) = pack;
}

// 16 bytes at a multiple of sizeof(E), out of the one or two aligned ones that hold them; x is aligned. The caller says that both are in x.
template <class E>
__device__ __forceinline__ uint4 load_shifted(const E* x, std::int64_t offset) {
  const std::int64_t bytes = offset * static_cast<std::int64_t>(sizeof(E));
  const int shift = static_cast<int>(bytes & 15);
  const auto* from = reinterpret_cast<const uint4*>(reinterpret_cast<const char*>(x) + (bytes - shift));
  const uint4 low = from[0];
  if (shift == 0) return low;
  const uint4 high = from[1];
  unsigned w[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
  if ((shift & 8) != 0) {
#pragma unroll
    for (int k = 0; k < 6; ++k) w[k] = w[k + 2];
  }
  if ((shift & 4) != 0) {
#pragma unroll
    for (int k = 0; k < 5; ++k) w[k] = w[k + 1];
  }
  const int bits = (shift & 3) * 8;
  return make_uint4(__funnelshift_r(w[0], w[1], bits), __funnelshift_r(w[1], w[2], bits), __funnelshift_r(w[2], w[3], bits),
                    __funnelshift_r(w[3], w[4], bits));
}

// N neighbouring elements of y, wherever rows end. Packs inside a row of x are moved as a whole (N > 1: then x and y are aligned).
template <class E, int N>
__global__ void __launch_bounds__(kBlock) pad_run_per_thread(const E* x, E* y, const __grid_constant__ PadArgs a, E value) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (i >= a.threads) return;
  const std::int64_t first = i * N, out_row = a.out_width * a.inner, row_elements = a.width * a.inner;
  const DivMod at = div_mod(first, out_row);
  std::int64_t row = at.quotient, column = at.remainder, from = source_row(a, row);
  const std::int64_t inside = column - std::int64_t{a.left} * a.inner;
  const bool whole = N > 1 && from >= 0 && inside >= 0 && inside + N <= row_elements;
  // The second aligned load ends up to 2 * N - 1 elements behind the first wanted one.
  if (whole && from + inside + 2 * N - 1 <= a.in_elements) {
    *reinterpret_cast<uint4*>(y + first) = load_shifted(x, from + inside);
    return;
  }
  Pack<E, N> pack;
#pragma unroll
  for (int j = 0; j < N; ++j) {
    E v = value;
    if (from >= 0 && first + j < a.elements) {
      const std::int64_t pixel = a.inner == 1 ? column : column / a.inner;
      const std::int64_t w = source_of(pixel - a.left, a.width, a.mode);
      if (w >= 0) v = x[from + w * a.inner + (column - pixel * a.inner)];
    }
    pack.v[j] = v;
    if (++column == out_row && first + j + 1 < a.elements) {
      column = 0;
      from = source_row(a, ++row);
    }
  }
  if (first + N <= a.elements) {
    *reinterpret_cast<Pack<E, N>*>(y + first) = pack;
  } else {
    for (int j = 0; j < N && first + j < a.elements; ++j) y[first + j] = pack.v[j];
  }
}

// Calls body with an unsigned integer of the type's size: nothing is computed.
template <class Body>
void with_bits(DType t, Body&& body) {
  if (size_of(t) == 4) return body(std::uint32_t{});
  body(std::uint16_t{});
}

class PadKernel final : public NodeKernel {
 public:
  PadKernel(const Pad& layer, const PrepareArgs& args) : nhwc_(args.out[0].format == Format::nhwc && !same_layout(args.out[0].shape)) {
    const Shape &x = args.in[0].shape, &y = args.out[0].shape;
    const int last = nhwc_ ? 3 : x.rank() - 1;
    a_.elements = y.elements();
    a_.in_elements = x.elements();
    a_.inner = nhwc_ ? x.c() : 1;
    a_.width = x[last];
    a_.out_width = y[last];
    a_.height = last > 0 ? x[last - 1] : 1;
    a_.out_height = last > 0 ? y[last - 1] : 1;
    a_.left = layer.padding().left;
    a_.top = layer.padding().top;
    a_.mode = layer.mode();
    const float value[] = {static_cast<float>(layer.value())};
    const HostTensor rounded({Shape{1}, args.out[0].dtype}, value);
    with_bits(args.out[0].dtype, [&](auto e) {
      using E = decltype(e);
      value_ = *static_cast<const E*>(rounded.data());
      constexpr int N = 16 / sizeof(E);
      preload(reinterpret_cast<const void*>(&pad_pack_per_thread<E, N>));
      preload(reinterpret_cast<const void*>(&pad_run_per_thread<E, N>));
      preload(reinterpret_cast<const void*>(&pad_run_per_thread<E, 1>));
    });
  }

  // Reads what it needs of x and writes y once: bound by memory, a copy's speed. Not measured yet.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const Format format = nhwc_ ? Format::nhwc : Format::nchw;
    check<CudaError>(args.in[0].is_contiguous(format) && args.out[0].is_contiguous(format), "Pad's kernel takes contiguous tensors only");
    const bool aligned = is_aligned(args.in[0].data, 16) && is_aligned(args.out[0].data, 16);
    with_bits(args.out[0].dtype, [&](auto e) {
      using E = decltype(e);
      constexpr int N = 16 / sizeof(E);
      const int run = aligned ? N : 1;
      const auto kernel = !aligned ? &pad_run_per_thread<E, 1> : a_.inner % N == 0 ? &pad_pack_per_thread<E, N> : &pad_run_per_thread<E, N>;
      PadArgs a = a_;
      a.threads = ceil_div<std::int64_t>(a.elements, run);
      launch_kernel(kernel, grid_of(ceil_div<std::int64_t>(a.threads, kBlock)), dim3(kBlock), 0, stream, args.in[0].as<const E>(),
                    args.out[0].as<E>(), a, static_cast<E>(value_));
    });
  }
  std::string describe() const override {
    return concat_text(nhwc_ ? "nhwc, " : "", a_.inner % 8 == 0 ? "a pack of channels a thread" : "16 bytes of a row a thread");
  }

 private:
  bool nhwc_;
  PadArgs a_;
  std::uint32_t value_ = 0;
};

std::unique_ptr<Kernel> make(const Pad& layer, const PrepareArgs& args) { return std::make_unique<PadKernel>(layer, args); }

}  // namespace

void register_pad(KernelRegistry& registry) { registry.add<Pad>(&make); }

}  // namespace frieze::cuda
