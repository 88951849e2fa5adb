#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/shared/cuda/pointwise.h>

namespace frieze::cuda {
namespace {

class ActivationKernel final : public NodeKernel {
 public:
  ActivationKernel(Activation f, float parameter, DType t) : f_(f), parameter_(parameter) {
    preload_unary({UnaryOp::Code::activation, parameter, 0, f}, t);
  }

  // 2 * elements * sizeof(T) bytes, and up to 40 instructions an element: bound by memory on every GPU but for gelu in bf16,
  // which comes near its limit of instructions.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    launch_unary({UnaryOp::Code::activation, parameter_, 0, f_}, args.in[0], args.out[0], stream);
  }
  std::string describe() const override { return "16 bytes a thread"; }

 private:
  Activation f_;
  float parameter_;
};

template <class L>
std::unique_ptr<Kernel> make(const L& layer, const PrepareArgs& args) {
  return std::make_unique<ActivationKernel>(layer.function(), layer.parameter(), args.out[0].dtype);
}

}  // namespace

void register_activation(KernelRegistry& registry) {
  registry.add<ActivationLayer>(&make<ActivationLayer>);
  registry.add<ReLU>(&make<ReLU>);
  registry.add<SiLU>(&make<SiLU>);
  registry.add<Tanh>(&make<Tanh>);
  registry.add<Softplus>(&make<Softplus>);
  registry.add<Mish>(&make<Mish>);
  registry.add<Hardsigmoid>(&make<Hardsigmoid>);
  registry.add<Hardswish>(&make<Hardswish>);
  registry.add<LeakyReLU>(&make<LeakyReLU>);
  registry.add<ELU>(&make<ELU>);
  registry.add<GELU>(&make<GELU>);
  registry.add<Sigmoid>(&make<Sigmoid>);
}

}  // namespace frieze::cuda
