#include <frieze/core/cuda/kernel.h>
#include <frieze/core/cuda/pointwise.h>
#include <frieze/layers/merge_phases/merge_phases.h>

namespace frieze::cuda {
namespace {

// A copy, or a sum with the absorbed operand, between views of six axes; nhwc moves whole packs of channels.
class MergePhasesKernel final : public Kernel {
 public:
  explicit MergePhasesKernel(const PrepareArgs& args) : adds_(!args.epilogue.empty()) {
    if (adds_) {
      preload_binary(args.out.dtype);
    } else {
      preload_copy(args.out.dtype);
    }
  }
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const TensorView x = merge_phases_view_input(args.in[0]), y = merge_phases_view_output(args.out);
    if (adds_) {
      launch_binary(BinaryOp::add, x, merge_phases_view_output(args.in[1]), y, stream);
    } else {
      launch_copy(x, y, stream);
    }
  }
  std::string describe() const override { return adds_ ? "a strided sum" : "a strided copy"; }

 private:
  bool adds_;
};

std::unique_ptr<Kernel> make(const MergePhases&, const PrepareArgs& args) { return std::make_unique<MergePhasesKernel>(args); }

}  // namespace

void register_merge_phases(KernelRegistry& registry) { registry.add<MergePhases>(&make); }

}  // namespace frieze::cuda
