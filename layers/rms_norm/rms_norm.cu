#include <frieze/core/cuda/kernel.h>
#include <frieze/core/error.h>
#include <frieze/layers/rms_norm/rms_norm.h>

namespace frieze::cuda {
namespace {

// RMSNorm2d's kernel, on the same memory as images of one pixel each, which it takes for one row of pixels.
class RMSNormKernel final : public NodeKernel {
 public:
  RMSNormKernel(const RMSNorm& layer, const PrepareArgs& args)
      : shape_{args.in[0].shape.elements() / layer.features(), layer.features(), 1, 1} {
    std::vector<TensorSpec> in;
    for (const TensorSpec& spec : args.in) in.push_back({shape_, spec.dtype, Format::nhwc});
    const TensorSpec out{shape_, args.out[0].dtype, Format::nhwc};
    PrepareArgs as_pixels = args;
    as_pixels.in = in;
    as_pixels.out = {&out, 1};
    as_pixels.in_views = as_pixels.out_views = {};
    kernel_ = kernel_registry().prepare(*layer.as_pixels(), as_pixels);
  }

  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    std::vector<TensorView> in;
    for (const TensorView& x : args.in) in.push_back(as_image(x));
    const TensorView out = as_image(args.out[0]);
    kernel_->launch({in, {&out, 1}, args.workspace}, stream);
  }
  std::size_t workspace_bytes() const override { return kernel_->workspace_bytes(); }
  std::size_t weight_bytes() const override { return kernel_->weight_bytes(); }
  std::string describe() const override { return "RMSNorm2d: " + kernel_->describe(); }

 private:
  TensorView as_image(const TensorView& v) const {
    check<CudaError>(v.is_contiguous(Format::nchw), "RMSNorm's kernel takes contiguous tensors only");
    return TensorView(v.data, {shape_, v.dtype, Format::nhwc});
  }

  Shape shape_;
  std::unique_ptr<Kernel> kernel_;
};

std::unique_ptr<Kernel> make(const RMSNorm& layer, const PrepareArgs& args) { return std::make_unique<RMSNormKernel>(layer, args); }

}  // namespace

void register_rms_norm(KernelRegistry& registry) { registry.add<RMSNorm>(&make); }

}  // namespace frieze::cuda
