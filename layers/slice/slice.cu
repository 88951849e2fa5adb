#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/shared/cuda/pointwise.h>
#include <frieze/layers/slice/slice.h>

namespace frieze::cuda {
namespace {

class SliceKernel final : public NodeKernel {
 public:
  SliceKernel(const Slice& layer, DType t) : begin_(layer.begin()), axis_(layer.axis()) { preload_copy(t); }
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const int axis = axis_ < 0 ? axis_ + args.in[0].shape.rank() : axis_;
    launch_copy(slice_view(args.in[0], axis, begin_, args.out[0].shape[axis]), args.out[0], stream);
  }
  std::string describe() const override { return "a strided copy"; }

 private:
  std::int64_t begin_;
  int axis_;
};

std::unique_ptr<Kernel> make(const Slice& layer, const PrepareArgs& args) {
  return std::make_unique<SliceKernel>(layer, args.out[0].dtype);
}

}  // namespace

void register_slice(KernelRegistry& registry) { registry.add<Slice>(&make); }

}  // namespace frieze::cuda
