#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/pixel_shuffle/pixel_shuffle.h>
#include <frieze/layers/shared/cuda/pointwise.h>
#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/shared/cuda/index_div.cuh>

namespace frieze::cuda {
namespace {

constexpr int kBlock = 256;

struct UnshuffleArgs {
  std::int64_t threads = 0, channels = 0, fine_row = 0;  // of x; elements from one of its rows to the next
  IndexDiv parts, width;                                 // packs of a pixel of y, pixels of a row of it
};

// nhwc, r = 2: a thread owns 16 bytes of y, a few channels of the four pixels of a patch.
template <class E>
__global__ void __launch_bounds__(kBlock) unshuffle_pack_per_thread(const E* x, E* y, const __grid_constant__ UnshuffleArgs a) {
  constexpr int N = 16 / sizeof(E), kIn = N / 4;
  const std::int64_t thread = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (thread >= a.threads) return;
  const DivMod pixel = a.parts(thread), row = a.width(pixel.quotient);
  const E* const corner = x + row.quotient * 2 * a.fine_row + row.remainder * 2 * a.channels + pixel.remainder * kIn;
  Pack<E, kIn> in[4];
#pragma unroll
  for (int p = 0; p < 4; ++p) in[p] = *reinterpret_cast<const Pack<E, kIn>*>(corner + p / 2 * a.fine_row + p % 2 * a.channels);
  Pack<E, N> out;
#pragma unroll
  for (int i = 0; i < N; ++i) out.v[i] = in[i % 4].v[i / 4];
  *reinterpret_cast<Pack<E, N>*>(y + thread * N) = out;
}

template <class E>
void launch_unshuffle(const TensorView& x, const TensorView& y, cudaStream_t stream) {
  constexpr std::int64_t N = 16 / sizeof(E);
  UnshuffleArgs a;
  a.threads = y.shape.elements() / N;
  a.channels = x.shape.c();
  a.fine_row = x.shape.w() * x.shape.c();
  a.parts = IndexDiv(y.shape.c() / N, a.threads);
  a.width = IndexDiv(y.shape.w(), a.threads);
  launch_kernel(&unshuffle_pack_per_thread<E>, grid_of(ceil_div<std::int64_t>(a.threads, kBlock)), dim3(kBlock), 0, stream, x.as<const E>(),
                y.as<E>(), a);
}

// A copy between two views of six axes. With r = 2 or 4 and rows (nchw) or channels (nhwc) of whole packs, it interleaves
// r streams (nchw: r input planes make one output row) or r*r (nhwc: the channels of a pixel make a patch) in registers.
class ShuffleKernel final : public NodeKernel {
 public:
  ShuffleKernel(std::int64_t factor, bool to_space, DType t) : factor_(factor), to_space_(to_space) {
    preload_copy(t);
    preload(reinterpret_cast<const void*>(&unshuffle_pack_per_thread<std::uint16_t>));
    preload(reinterpret_cast<const void*>(&unshuffle_pack_per_thread<std::uint32_t>));
  }

  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const TensorView &x = args.in[0], &y = args.out[0];
    const std::size_t size = size_of(x.dtype);
    const bool nhwc = !to_space_ && factor_ == 2 && x.is_contiguous(Format::nhwc) && y.is_contiguous(Format::nhwc);
    if (nhwc && size <= 4 && y.shape.c() * static_cast<std::int64_t>(size) % 16 == 0 && is_aligned(x.data, 16) && is_aligned(y.data, 16)) {
      return size == 4 ? launch_unshuffle<std::uint32_t>(x, y, stream) : launch_unshuffle<std::uint16_t>(x, y, stream);
    }
    if (to_space_) {
      launch_copy(shuffle_view_wide(args.in[0], factor_), shuffle_view_fine(args.out[0], factor_), stream);
    } else {
      launch_copy(shuffle_view_fine(args.in[0], factor_), shuffle_view_wide(args.out[0], factor_), stream);
    }
  }
  std::string describe() const override { return "a strided copy"; }

 private:
  std::int64_t factor_;
  bool to_space_;
};

std::unique_ptr<Kernel> make_shuffle(const PixelShuffle& layer, const PrepareArgs& args) {
  return std::make_unique<ShuffleKernel>(layer.factor(), true, args.out[0].dtype);
}
std::unique_ptr<Kernel> make_unshuffle(const PixelUnshuffle& layer, const PrepareArgs& args) {
  return std::make_unique<ShuffleKernel>(layer.factor(), false, args.out[0].dtype);
}

}  // namespace

void register_pixel_shuffle(KernelRegistry& registry) {
  registry.add<PixelShuffle>(&make_shuffle);
  registry.add<PixelUnshuffle>(&make_unshuffle);
}

}  // namespace frieze::cuda
