#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/shared/cuda/pointwise.h>
#include <frieze/layers/slice/slice.h>

namespace frieze::cuda {
namespace {

class SliceKernel final : public NodeKernel {
 public:
  SliceKernel(std::int64_t begin, DType t) : begin_(begin) { preload_copy(t); }
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    launch_copy(slice_view(args.in[0], 1, begin_, args.out[0].shape[1]), args.out[0], stream);
  }
  std::string describe() const override { return "a strided copy"; }

 private:
  std::int64_t begin_;
};

std::unique_ptr<Kernel> make(const Slice& layer, const PrepareArgs& args) {
  return std::make_unique<SliceKernel>(layer.begin(), args.out[0].dtype);
}

}  // namespace

void register_slice(KernelRegistry& registry) { registry.add<Slice>(&make); }

}  // namespace frieze::cuda
