#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/pixel_shuffle/pixel_shuffle.h>
#include <frieze/layers/shared/cuda/pointwise.h>

namespace frieze::cuda {
namespace {

// A copy between two views of six axes. With r = 2 or 4 and rows (nchw) or channels (nhwc) of whole packs, it interleaves
// r streams (nchw: r input planes make one output row) or r*r (nhwc: the channels of a pixel make a patch) in registers.
class ShuffleKernel final : public NodeKernel {
 public:
  ShuffleKernel(std::int64_t factor, bool to_space, DType t) : factor_(factor), to_space_(to_space) { preload_copy(t); }

  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    if (to_space_) {
      launch_copy(shuffle_view_wide(args.in[0], factor_), shuffle_view_fine(args.out[0], factor_), stream);
    } else {
      launch_copy(shuffle_view_fine(args.in[0], factor_), shuffle_view_wide(args.out[0], factor_), stream);
    }
  }
  std::string describe() const override { return "a strided copy"; }

 private:
  std::int64_t factor_;
  bool to_space_;
};

std::unique_ptr<Kernel> make_shuffle(const PixelShuffle& layer, const PrepareArgs& args) {
  return std::make_unique<ShuffleKernel>(layer.factor(), true, args.out[0].dtype);
}
std::unique_ptr<Kernel> make_unshuffle(const PixelUnshuffle& layer, const PrepareArgs& args) {
  return std::make_unique<ShuffleKernel>(layer.factor(), false, args.out[0].dtype);
}

}  // namespace

void register_pixel_shuffle(KernelRegistry& registry) {
  registry.add<PixelShuffle>(&make_shuffle);
  registry.add<PixelUnshuffle>(&make_unshuffle);
}

}  // namespace frieze::cuda
