#include <optional>

#include <frieze/layers/group_norm/cuda/nhwc_group_norm.h>
#include <frieze/layers/group_norm/group_norm.h>
#include <frieze/layers/shared/cuda/norm_layer_kernel.h>

namespace frieze::cuda {
namespace {

// Of nchw tensors a group is a contiguous row; of nhwc ones it is a range of channels of every pixel.
class GroupNormKernel final : public NormLayerKernel {
 public:
  GroupNormKernel(const Layer& layer, std::int64_t groups, double eps, const Parameter* weight, const Parameter* bias,
                  const PrepareArgs& args)
      : NormLayerKernel(layer, eps, weight, bias, args) {
    const Shape& x = args.in[0].shape;
    const DType t = args.in[0].dtype;
    const std::int64_t plane = x.elements() / x[0] / x[1];
    if (args.in[0].format == Format::nhwc && !same_layout(x)) {
      check<CudaError>(x[1] <= 0x7FFFFFFF, layer.type_name(), "'s kernel takes at most 2^31 - 1 channels, got ", x[1]);
      pixels_.emplace(NhwcGroupProblem{t, x[0], plane, static_cast<int>(x[1]), static_cast<int>(groups)}, args.device->sm_count);
    } else {
      rows_.emplace(RowNormProblem{t, x[0] * groups, x[1] / groups * plane, plane == 1 ? 0 : plane, groups}, args.device->sm_count);
    }
  }

  std::size_t workspace_bytes() const override { return rows_ ? rows_->workspace_bytes() : pixels_->workspace_bytes(); }
  std::string describe() const override { return rows_ ? "nchw, " + rows_->describe() : "nhwc, " + pixels_->describe(); }
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    if (rows_) {
      rows_->launch(call_of(args), stream);
    } else {
      pixels_->launch(call_of(args), stream);
    }
  }

 private:
  std::optional<RowNorm> rows_;
  std::optional<NhwcGroupNorm> pixels_;
};

std::unique_ptr<Kernel> make_group_norm(const GroupNorm& layer, const PrepareArgs& args) {
  return std::make_unique<GroupNormKernel>(layer, layer.groups(), layer.options().eps, layer.weight(), layer.bias(), args);
}

std::unique_ptr<Kernel> make_instance_norm2d(const InstanceNorm2d& layer, const PrepareArgs& args) {
  return std::make_unique<GroupNormKernel>(layer, layer.channels(), layer.options().eps, layer.weight(), layer.bias(), args);
}

}  // namespace

void register_group_norm(KernelRegistry& registry) {
  registry.add<GroupNorm>(&make_group_norm);
  registry.add<InstanceNorm2d>(&make_instance_norm2d);
}

}  // namespace frieze::cuda
