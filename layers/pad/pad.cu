#include <algorithm>

#include <frieze/core/cuda/kernel.h>
#include <frieze/core/error.h>
#include <frieze/layers/pad/pad.h>
#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/shared/cuda/index_div.cuh>

namespace frieze::cuda {
namespace {

constexpr int kBlock = 256;  // 16 bytes a thread and 8 blocks an SM: what a copy needs in flight

// Rows of `width` pixels, `inner` neighbouring elements each: the channels in nhwc, 1 otherwise. Row r is row r % out_height of plane
// r / out_height.
struct PadArgs {
  std::int64_t threads = 0, elements = 0;  // of y
  std::int64_t in_elements = 0;
  int inner = 1, width = 0, height = 0, row = 0, out_row = 0;  // row, out_row: elements of a row of x and y
  int left = 0, top = 0;
  PadMode mode = PadMode::zeros;
  IndexDiv packs, out_width, out_rows, out_height;  // of a pixel's packs, of a row's pixels and elements, of a plane's rows
};

// Where place `p`, counted from the first element of x along an axis, comes from; -1: it is the value.
__device__ __forceinline__ int source_of(int p, int extent, PadMode mode) {
  if (p >= 0 && p < extent) return p;
  switch (mode) {
    case PadMode::reflect: return p < 0 ? -p : 2 * (extent - 1) - p;
    case PadMode::replicate: return p < 0 ? 0 : extent - 1;
    case PadMode::circular: return p < 0 ? p + extent : p - extent;
    default: return -1;
  }
}

// The first element of the row of x that row `row` of y comes from; -1: all of it is the value.
__device__ __forceinline__ std::int64_t source_row(const PadArgs& a, std::int64_t row) {
  const DivMod plane = a.out_height(row);
  const int h = source_of(static_cast<int>(plane.remainder) - a.top, a.height, a.mode);
  return h < 0 ? -1 : (plane.quotient * a.height + h) * a.row;
}

// A whole pack of one pixel: inner is a multiple of N, and all pointers are aligned.
template <class E, int N>
__global__ void __launch_bounds__(kBlock) pad_pack_per_thread(const E* x, E* y, const __grid_constant__ PadArgs a, E value) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (i >= a.threads) return;
  const DivMod pixel = a.packs(i), row = a.out_width(pixel.quotient);
  const std::int64_t from = source_row(a, row.quotient);
  const int w = source_of(static_cast<int>(row.remainder) - a.left, a.width, a.mode);
  Pack<E, N> pack;
  if (from >= 0 && w >= 0) {
    pack = *reinterpret_cast<const Pack<E, N>*>(x + from + w * a.inner + static_cast<int>(pixel.remainder) * N);
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
  const std::int64_t first = i * N;
  const DivMod at = a.out_rows(first);
  std::int64_t row = at.quotient, from = source_row(a, row);
  int inside = static_cast<int>(at.remainder) - a.left * a.inner;  // elements from the first of the row of x
  // The second aligned load ends up to 2 * N - 1 elements behind the first wanted one.
  if (N > 1 && from >= 0 && inside >= 0 && inside + N <= a.row && from + inside + 2 * N - 1 <= a.in_elements) {
    *reinterpret_cast<uint4*>(y + first) = load_shifted(x, from + inside);
    return;
  }
  const int count = static_cast<int>(min(std::int64_t{N}, a.elements - first));
  Pack<E, N> pack;
#pragma unroll
  for (int j = 0; j < N; ++j) {
    E v = value;
    if (from >= 0 && j < count) {
      if (inside >= 0 && inside < a.row) {
        v = x[from + inside];
      } else if (a.mode != PadMode::zeros) {
        const int column = inside + a.left * a.inner, pixel = a.inner == 1 ? column : column / a.inner;
        v = x[from + source_of(pixel - a.left, a.width, a.mode) * a.inner + (column - pixel * a.inner)];
      }
    }
    pack.v[j] = v;
    if (++inside == a.out_row - a.left * a.inner && j + 1 < count) {
      inside = -a.left * a.inner;
      from = source_row(a, ++row);
    }
  }
  if (count == N) {
    *reinterpret_cast<Pack<E, N>*>(y + first) = pack;
  } else {
#pragma unroll
    for (int j = 0; j < N; ++j) {
      if (j < count) y[first + j] = pack.v[j];
    }
  }
}

// L lanes own a row of y: packs at multiples of 16 bytes of y that lie inside of the row of x, then the elements on both sides of these
// packs, one by one. x and y are aligned.
template <class E, int L>
__global__ void __launch_bounds__(kBlock) pad_row_per_lanes(const E* x, E* y, const __grid_constant__ PadArgs a, E value) {
  constexpr int N = 16 / sizeof(E);
  const std::int64_t row = (std::int64_t{blockIdx.x} * kBlock + threadIdx.x) / L;
  const int lane = static_cast<int>(threadIdx.x) % L;
  if (row * a.out_row >= a.elements) return;
  const std::int64_t from = source_row(a, row), start = row * a.out_row;
  E* const out = y + start;
  const int skew = static_cast<int>(start & (N - 1));
  // What is alike: all of a row of the value, else what comes from the row of x.
  const int begin = from < 0 ? 0 : a.left * a.inner, end = from < 0 ? a.out_row : begin + a.row;
  int first = (skew + begin + N - 1) / N * N - skew, last = end;
  if (from >= 0 && from + a.row + N - 1 > a.in_elements) last -= N;  // the second load of a pack would end behind x
  const int packs = max(0, (last - first) / N);
  if (packs == 0) first = a.out_row;
  const int behind = packs == 0 ? a.out_row : first + packs * N;
  Pack<E, N> filled;
#pragma unroll
  for (int j = 0; j < N; ++j) filled.v[j] = value;
#pragma unroll 4
  for (int i = lane; i < packs; i += L) {
    const int at = first + i * N;
    if (from >= 0) {
      *reinterpret_cast<uint4*>(out + at) = load_shifted(x, from + at - begin);
    } else {
      *reinterpret_cast<Pack<E, N>*>(out + at) = filled;
    }
  }
  for (int i = lane; i < first + a.out_row - behind; i += L) {
    const int at = i < first ? i : i - first + behind, inside = at - a.left * a.inner;
    E v = value;
    if (from >= 0) {
      if (inside >= 0 && inside < a.row) {
        v = x[from + inside];
      } else if (a.mode != PadMode::zeros) {
        const int pixel = a.inner == 1 ? at : at / a.inner;
        v = x[from + source_of(pixel - a.left, a.width, a.mode) * a.inner + (at - pixel * a.inner)];
      }
    }
    out[at] = v;
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
    const std::int64_t inner = nhwc_ ? x.c() : 1, height = last > 0 ? x[last - 1] : 1, out_height = last > 0 ? y[last - 1] : 1;
    for (const std::int64_t extent : {y[last] * inner, out_height, x[last] * inner, height}) {
      check<CudaError>(extent < std::int64_t{1} << 31, "Pad's kernel takes rows of less than 2^31 elements, got ", extent, " (x ", x,
                       ", y ", y, ")");
    }
    a_.elements = y.elements();
    a_.in_elements = x.elements();
    a_.inner = static_cast<int>(inner);
    a_.width = static_cast<int>(x[last]);
    a_.height = static_cast<int>(height);
    a_.row = a_.width * a_.inner;
    a_.out_row = static_cast<int>(y[last] * inner);
    const auto pack = static_cast<std::int64_t>(16 / size_of(args.out[0].dtype));
    a_.packs = IndexDiv(std::max<std::int64_t>(1, inner / pack), a_.elements);
    a_.out_width = IndexDiv(y[last], a_.elements);
    a_.out_rows = IndexDiv(a_.out_row, a_.elements);
    a_.out_height = IndexDiv(out_height, a_.elements);
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
      preload(reinterpret_cast<const void*>(&pad_row_per_lanes<E, 8>));
      preload(reinterpret_cast<const void*>(&pad_row_per_lanes<E, 32>));
    });
  }

  // Reads what it needs of x and writes y once: bound by memory. [1,256,384,512] bf16 by 1 on an H200: nhwc 50.1 us, 0.98 of a copy; rows
  // of nchw are not measured yet.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const Format format = nhwc_ ? Format::nhwc : Format::nchw;
    check<CudaError>(args.in[0].is_contiguous(format) && args.out[0].is_contiguous(format), "Pad's kernel takes contiguous tensors only");
    const bool aligned = is_aligned(args.in[0].data, 16) && is_aligned(args.out[0].data, 16);
    with_bits(args.out[0].dtype, [&](auto e) {
      using E = decltype(e);
      constexpr int N = 16 / sizeof(E);
      const bool whole = aligned && a_.inner % N == 0;
      const int lanes = !aligned || whole || a_.out_row < 8 * N ? 0 : a_.out_row < 64 * N ? 8 : 32;
      const auto kernel = !aligned     ? &pad_run_per_thread<E, 1>
                          : whole      ? &pad_pack_per_thread<E, N>
                          : lanes == 0 ? &pad_run_per_thread<E, N>
                          : lanes == 8 ? &pad_row_per_lanes<E, 8>
                                       : &pad_row_per_lanes<E, 32>;
      PadArgs a = a_;
      a.threads = lanes > 0 ? a.elements / a.out_row * lanes : ceil_div<std::int64_t>(a.elements, aligned ? N : 1);
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
