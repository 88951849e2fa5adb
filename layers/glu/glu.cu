#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/glu/glu.h>
#include <frieze/layers/shared/cuda/pointwise.h>

namespace frieze::cuda {
namespace {

class GluKernel final : public NodeKernel {
 public:
  GluKernel(const Glu& layer, const Shape& x, DType t) : f_(layer.function()), axis_(checked_axis("Glu", x, layer.axis())) {
    preload_binary({BinaryOp::Code::gate, f_}, t);
  }
  // 3 * elements(y) * sizeof(T) bytes and some 30 instructions an element: bound by memory. Not measured yet.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const TensorView& x = args.in[0];
    const std::int64_t half = x.shape[axis_] / 2;
    launch_binary({BinaryOp::Code::gate, f_}, slice_view(x, axis_, 0, half), slice_view(x, axis_, half, half), args.out[0], stream);
  }
  std::string describe() const override { return "16 bytes a thread"; }

 private:
  Activation f_;
  int axis_;
};

std::unique_ptr<Kernel> make(const Glu& layer, const PrepareArgs& args) {
  return std::make_unique<GluKernel>(layer, args.in[0].shape, args.out[0].dtype);
}

}  // namespace

void register_glu(KernelRegistry& registry) { registry.add<Glu>(&make); }

}  // namespace frieze::cuda
