// A layer of the consumer's own, with its own kernel: what the installed core/cuda headers are for.
#include <frieze/core/cuda/kernel.h>
#include <frieze/graph/session.h>
#include <frieze/core/cuda/launch.cuh>

#include <iostream>

namespace {

// y = -x
class Negate final : public frieze::Layer {
 public:
  frieze::Inferred infer(std::span<const frieze::TensorSpec> in) const override {
    frieze::check_inputs(type_name(), in, 1);
    return frieze::elementwise_cost(in, in[0], 1);
  }
  void reference(const frieze::ReferenceArgs& args) const override {
    std::vector<float> y = frieze::to_floats(args.in[0]);
    for (float& v : y) v = -v;
    frieze::from_floats(y, args.out[0]);
  }
  std::string_view type_name() const override { return "Negate"; }
};

template <class T>
__global__ void negate_element_per_thread(const T* x, T* y, std::int64_t count) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count) y[i] = frieze::cuda::narrow<T>(-frieze::cuda::widen(x[i]));
}

class NegateKernel final : public frieze::cuda::Kernel {
 public:
  void launch(const frieze::cuda::LaunchArgs& args, cudaStream_t stream) const override {
    const std::int64_t count = args.out[0].shape.elements();
    frieze::cuda::dispatch(args.out[0].dtype, [&]<class T>(T) {
      frieze::cuda::launch_kernel(negate_element_per_thread<T>, dim3(frieze::cuda::ceil_div<std::int64_t>(count, 256)), dim3(256), 0,
                                  stream, static_cast<const T*>(args.in[0].data), static_cast<T*>(args.out[0].data), count);
    });
  }
};

std::unique_ptr<frieze::cuda::Kernel> make_negate(const Negate&, const frieze::cuda::PrepareArgs&) {
  return std::make_unique<NegateKernel>();
}

}  // namespace

int main() {
  frieze::cuda::kernel_registry().add<Negate>(&make_negate);
  const Negate layer;
  const auto device = frieze::Device::cuda_count() > 0 ? frieze::Device::cuda() : frieze::Device::cpu();
  frieze::Session net = frieze::compile(layer, {{"x", {1, 1, 2, 2}}}, device);
  net.input().copy_from(std::vector<float>{1, -2, 3, -4});
  net.run();
  const bool right = net.output().floats() == std::vector<float>{-1, 2, -3, 4};
  std::cout << "own kernel on " << device.name() << (right ? ": right\n" : ": wrong\n");
  return right ? 0 : 1;
}
