#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/prelu/prelu.h>
#include <frieze/layers/shared/cuda/pointwise.h>

namespace frieze::cuda {
namespace {

class PReLUKernel final : public NodeKernel {
 public:
  PReLUKernel(const PReLU& layer, const PrepareArgs& args)
      : weights_(to_device(layer.weight().values, args.out[0].dtype)),
        view_(layer.weight_view(weights_.data(), args.in[0].shape.rank(), args.out[0].dtype)) {
    preload_binary({BinaryOp::Code::prelu}, args.out[0].dtype);
  }
  // 2 * elements * sizeof(T) bytes, and the weights out of the cache: bound by memory. Not measured yet.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    launch_binary({BinaryOp::Code::prelu}, args.in[0], broadcast_view(view_, args.in[0].shape), args.out[0], stream);
  }
  std::size_t weight_bytes() const override { return weights_.bytes(); }
  std::string describe() const override { return "16 bytes a thread"; }

 private:
  DeviceBuffer weights_;
  TensorView view_;
};

std::unique_ptr<Kernel> make(const PReLU& layer, const PrepareArgs& args) { return std::make_unique<PReLUKernel>(layer, args); }

}  // namespace

void register_prelu(KernelRegistry& registry) { registry.add<PReLU>(&make); }

}  // namespace frieze::cuda
