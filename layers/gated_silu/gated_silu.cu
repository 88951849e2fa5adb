#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/gated_silu/gated_silu.h>
#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/shared/cuda/epilogue.cuh>

namespace frieze::cuda {
namespace {

constexpr int kBlock = 256;

// Both formats are rows of `half` values followed by `half` gates: nchw has a row per image, nhwc a row per pixel.
template <class T, int N>
__global__ void __launch_bounds__(kBlock) gated_silu_pack_per_thread(const T* x, T* y, std::int64_t packs, std::int64_t half) {
  const std::int64_t pack = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (pack >= packs) return;
  const DivMod at = div_mod(pack, half / N);
  const T* value = x + at.quotient * 2 * half + at.remainder * N;
  const auto v = *reinterpret_cast<const Pack<T, N>*>(value);
  const auto gate = *reinterpret_cast<const Pack<T, N>*>(value + half);
  Pack<T, N> out;
#pragma unroll
  for (int i = 0; i < N; ++i) out.v[i] = narrow<T>(widen(v.v[i]) * activate(Activation::silu, widen(gate.v[i])));
  *reinterpret_cast<Pack<T, N>*>(y + pack * N) = out;
}

class GatedSiLUKernel final : public NodeKernel {
 public:
  explicit GatedSiLUKernel(const PrepareArgs& args) {
    const Shape& y = args.out[0].shape;
    const bool nhwc = args.out[0].format == Format::nhwc && y.rank() == 4;
    half_ = nhwc ? y.c() : y.elements() / y[0];
    dispatch(args.out[0].dtype, [](auto t) {
      using T = decltype(t);
      preload(reinterpret_cast<const void*>(&gated_silu_pack_per_thread<T, 16 / sizeof(T)>));
      preload(reinterpret_cast<const void*>(&gated_silu_pack_per_thread<T, 1>));
    });
  }

  // Two reads and a write of 16 bytes a thread: bound by memory.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    dispatch(args.out[0].dtype, [&](auto t) {
      using T = decltype(t);
      constexpr int kPack = 16 / sizeof(T);
      const bool packs = half_ % kPack == 0 && is_aligned(args.in[0].data, 16) && is_aligned(args.out[0].data, 16);
      const std::int64_t count = args.out[0].shape.elements() / (packs ? kPack : 1);
      const auto kernel = packs ? &gated_silu_pack_per_thread<T, kPack> : &gated_silu_pack_per_thread<T, 1>;
      launch_kernel(kernel, dim3(static_cast<unsigned>(ceil_div<std::int64_t>(count, kBlock))), dim3(kBlock), 0, stream,
                    args.in[0].as<const T>(), args.out[0].as<T>(), count, half_);
    });
  }
  std::string describe() const override { return "16 bytes a thread"; }

 private:
  std::int64_t half_ = 1;
};

std::unique_ptr<Kernel> make(const GatedSiLU&, const PrepareArgs& args) { return std::make_unique<GatedSiLUKernel>(args); }

}  // namespace

void register_gated_silu(KernelRegistry& registry) { registry.add<GatedSiLU>(&make); }

}  // namespace frieze::cuda
