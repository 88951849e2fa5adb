#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/permute/permute.h>
#include <frieze/layers/shared/cuda/pointwise.h>

namespace frieze::cuda {
namespace {

class PermuteKernel final : public NodeKernel {
 public:
  PermuteKernel(const Permute& layer, DType t) : layer_(layer.axes()) { preload_copy(t); }
  void launch(const LaunchArgs& args, cudaStream_t stream) const override { launch_copy(layer_.permuted(args.in[0]), args.out[0], stream); }
  std::string describe() const override { return "a strided copy"; }

 private:
  Permute layer_;
};

std::unique_ptr<Kernel> make(const Permute& layer, const PrepareArgs& args) {
  return std::make_unique<PermuteKernel>(layer, args.out[0].dtype);
}

}  // namespace

void register_permute(KernelRegistry& registry) { registry.add<Permute>(&make); }

}  // namespace frieze::cuda
