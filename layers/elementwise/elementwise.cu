#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/elementwise/elementwise.h>
#include <frieze/layers/shared/cuda/pointwise.h>

namespace frieze::cuda {
namespace {

class BinaryKernel final : public NodeKernel {
 public:
  BinaryKernel(BinaryOp::Code op, DType t) : op_(op) { preload_binary({op}, t); }

  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const Shape& shape = args.out[0].shape;
    launch_binary({op_}, broadcast_view(args.in[0], shape), broadcast_view(args.in[1], shape), args.out[0], stream);
  }
  std::string describe() const override { return "16 bytes a thread"; }

 private:
  BinaryOp::Code op_;
};

class ScaleKernel final : public NodeKernel {
 public:
  ScaleKernel(float factor, DType t) : factor_(factor) { preload_unary({UnaryOp::Code::scale, factor}, t); }
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    launch_unary({UnaryOp::Code::scale, factor_}, args.in[0], args.out[0], stream);
  }
  std::string describe() const override { return "16 bytes a thread"; }

 private:
  float factor_;
};

std::unique_ptr<Kernel> make_add(const Add&, const PrepareArgs& args) {
  return std::make_unique<BinaryKernel>(BinaryOp::Code::add, args.out[0].dtype);
}
std::unique_ptr<Kernel> make_mul(const Mul&, const PrepareArgs& args) {
  return std::make_unique<BinaryKernel>(BinaryOp::Code::mul, args.out[0].dtype);
}
std::unique_ptr<Kernel> make_scale(const Scale& layer, const PrepareArgs& args) {
  return std::make_unique<ScaleKernel>(layer.factor(), args.out[0].dtype);
}

}  // namespace

void register_elementwise(KernelRegistry& registry) {
  registry.add<Add>(&make_add);
  registry.add<Mul>(&make_mul);
  registry.add<Scale>(&make_scale);
}

}  // namespace frieze::cuda
