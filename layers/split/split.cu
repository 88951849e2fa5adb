#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/shared/cuda/pointwise.h>
#include <frieze/layers/split/split.h>

namespace frieze::cuda {
namespace {

class SplitKernel final : public NodeKernel {
 public:
  SplitKernel(int axis, DType t) : axis_(axis) { preload_copy(t); }

  // One copy per range.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const int axis = axis_ < 0 ? axis_ + args.in[0].shape.rank() : axis_;
    std::int64_t begin = 0;
    for (const TensorView& y : args.out) {
      launch_copy(slice_view(args.in[0], axis, begin, y.shape[axis]), y, stream);
      begin += y.shape[axis];
    }
  }
  std::string describe() const override { return "a strided copy per range"; }

 private:
  int axis_;
};

std::unique_ptr<Kernel> make(const Split& layer, const PrepareArgs& args) {
  return std::make_unique<SplitKernel>(layer.axis(), args.out[0].dtype);
}

}  // namespace

void register_split(KernelRegistry& registry) { registry.add<Split>(&make); }

}  // namespace frieze::cuda
