#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {
namespace {

// One thread owns one pack of 16 bytes; the last thread also takes the tail. Elementwise, so any format is flat memory.
template <class T>
__global__ void activation_pack_per_thread(const T* x, T* y, std::int64_t count, Activation f) {
  constexpr int kPack = 16 / sizeof(T);
  const std::int64_t first = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kPack;
  if (first >= count) return;
  const bool aligned = (reinterpret_cast<std::uintptr_t>(x) | reinterpret_cast<std::uintptr_t>(y)) % 16 == 0;
  if (aligned && first + kPack <= count) {
    auto pack = *reinterpret_cast<const Pack<T, kPack>*>(x + first);
#pragma unroll
    for (int i = 0; i < kPack; ++i) pack.v[i] = narrow<T>(activate(f, widen(pack.v[i])));
    *reinterpret_cast<Pack<T, kPack>*>(y + first) = pack;
    return;
  }
  for (std::int64_t i = first; i < min(first + kPack, count); ++i) y[i] = narrow<T>(activate(f, widen(x[i])));
}

class ActivationKernel final : public Kernel {
 public:
  ActivationKernel(const ActivationLayer& layer, const PrepareArgs& args) : f_(layer.function()) {
    dispatch(args.out.dtype, [](auto t) { preload(reinterpret_cast<const void*>(&activation_pack_per_thread<decltype(t)>)); });
  }

  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    dispatch(args.out.dtype, [&](auto t) {
      using T = decltype(t);
      const std::int64_t count = args.out.shape.elements();
      // 2 * count * sizeof(T) bytes, a few flops each: bound by memory. 256 threads of 16 bytes keep 8 blocks an SM busy.
      const std::int64_t blocks = ceil_div<std::int64_t>(count, 256 * (16 / sizeof(T)));
      launch_kernel(activation_pack_per_thread<T>, dim3(static_cast<unsigned>(blocks)), dim3(256), 0, stream, args.in[0].as<const T>(),
                    args.out.as<T>(), count, f_);
    });
  }

 private:
  Activation f_;
};

template <class L>
std::unique_ptr<Kernel> make(const L& layer, const PrepareArgs& args) {
  return std::make_unique<ActivationKernel>(layer, args);
}

}  // namespace

void register_activation(KernelRegistry& registry) {
  registry.add<ActivationLayer>(&make<ActivationLayer>);
  registry.add<ReLU>(&make<ReLU>);
  registry.add<SiLU>(&make<SiLU>);
  registry.add<GELU>(&make<GELU>);
  registry.add<Sigmoid>(&make<Sigmoid>);
}

}  // namespace frieze::cuda
