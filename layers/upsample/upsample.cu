#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/shared/cuda/pointwise.h>
#include <frieze/layers/upsample/upsample.h>
#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/shared/cuda/index_div.cuh>

namespace frieze::cuda {
namespace {

constexpr int kBlock = 256;

// nhwc: a thread reads 16 bytes of a pixel and writes them to the whole patch.
__global__ void __launch_bounds__(kBlock)
    repeat_pack_per_thread(const uint4* x, uint4* y, std::int64_t threads, const __grid_constant__ IndexDiv packs,
                           const __grid_constant__ IndexDiv width, int factor) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (i >= threads) return;
  const DivMod pixel = packs(i), row = width(pixel.quotient);
  const std::int64_t out_row = width.divisor * factor * packs.divisor;
  uint4* const patch = y + row.quotient * factor * out_row + row.remainder * factor * packs.divisor + pixel.remainder;
  const uint4 v = x[i];
  for (int a = 0; a < factor; ++a) {
    for (int b = 0; b < factor; ++b) patch[a * out_row + b * packs.divisor] = v;
  }
}

class UpsampleKernel final : public NodeKernel {
 public:
  UpsampleKernel(std::int64_t factor, DType t) : factor_(factor) {
    preload_copy(t);
    preload(reinterpret_cast<const void*>(&repeat_pack_per_thread));
  }

  // nhwc reads a pack of channels and writes it to its patch; nchw with r = 2 or 4 interleaves a pack of a row with itself; else element by
  // element, with neighbours' reads served by the cache.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const TensorView &x = args.in[0], &y = args.out[0];
    const std::int64_t bytes = x.shape.c() * static_cast<std::int64_t>(size_of(x.dtype)), pixels = x.shape.elements() / x.shape.c();
    const bool whole = x.is_contiguous(Format::nhwc) && y.is_contiguous(Format::nhwc) && bytes % 16 == 0;
    if (whole && is_aligned(x.data, 16) && is_aligned(y.data, 16)) {
      const std::int64_t packs = bytes / 16, threads = pixels * packs;
      return launch_kernel(&repeat_pack_per_thread, grid_of(ceil_div<std::int64_t>(threads, kBlock)), dim3(kBlock), 0, stream,
                           x.as<const uint4>(), y.as<uint4>(), threads, IndexDiv(packs, threads), IndexDiv(x.shape.w(), threads),
                           static_cast<int>(factor_));
    }
    launch_copy(upsample_view_input(args.in[0], factor_), upsample_view_output(args.out[0], factor_), stream);
  }
  std::string describe() const override { return "a strided copy"; }

 private:
  std::int64_t factor_;
};

std::unique_ptr<Kernel> make(const Upsample& layer, const PrepareArgs& args) {
  return std::make_unique<UpsampleKernel>(layer.factor(), args.out[0].dtype);
}

}  // namespace

void register_upsample(KernelRegistry& registry) { registry.add<Upsample>(&make); }

}  // namespace frieze::cuda
