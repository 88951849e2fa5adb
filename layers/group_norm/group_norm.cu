#include <optional>

#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/kernel.h>
#include <frieze/core/error.h>
#include <frieze/layers/group_norm/cuda/nhwc_group_norm.h>
#include <frieze/layers/group_norm/group_norm.h>

namespace frieze::cuda {
namespace {

// Of nchw tensors a group is a contiguous row; of nhwc ones it is a range of channels of every pixel.
class GroupNormKernel final : public NodeKernel {
 public:
  GroupNormKernel(const Layer& layer, std::int64_t groups, double eps, const Parameter* weight, const Parameter* bias,
                  const PrepareArgs& args)
      : type_(layer.type_name()), epilogue_(args.epilogue.begin(), args.epilogue.end()), eps_(static_cast<float>(eps)) {
    const Shape& x = args.in[0].shape;
    const DType t = args.in[0].dtype;
    const std::int64_t plane = x.elements() / x[0] / x[1];
    if (weight != nullptr) weight_ = to_device(weight->values, t);
    if (bias != nullptr) bias_ = to_device(bias->values, t);
    format_ = args.in[0].format;
    if (format_ == Format::nhwc && !same_layout(x)) {
      check<CudaError>(x[1] <= 0x7FFFFFFF, type_, "'s kernel takes at most 2^31 - 1 channels, got ", x[1]);
      pixels_.emplace(NhwcGroupProblem{t, x[0], plane, static_cast<int>(x[1]), static_cast<int>(groups)}, args.device->sm_count);
    } else {
      rows_.emplace(RowNormProblem{t, x[0] * groups, x[1] / groups * plane, plane == 1 ? 0 : plane, groups}, args.device->sm_count);
    }
  }

  std::size_t workspace_bytes() const override { return rows_ ? rows_->workspace_bytes() : pixels_->workspace_bytes(); }
  std::size_t weight_bytes() const override { return weight_.bytes() + bias_.bytes(); }
  std::string describe() const override { return rows_ ? "nchw, " + rows_->describe() : "nhwc, " + pixels_->describe(); }

  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    for (const TensorView& in : args.in) {
      check<CudaError>(in.is_contiguous(format_), type_, "'s kernel takes contiguous ", format_, " tensors only");
    }
    check<CudaError>(args.out[0].is_contiguous(format_), type_, "'s kernel takes contiguous ", format_, " tensors only");
    RowNormCall call;
    call.x = args.in[0].data;
    call.y = args.out[0].data;
    call.weight = weight_.data();
    call.bias = bias_.data();
    call.eps = eps_;
    call.epilogue = make_epilogue(epilogue_, args.in.subspan(1));
    call.workspace = args.workspace;
    if (rows_) {
      rows_->launch(call, stream);
    } else {
      pixels_->launch(call, stream);
    }
  }

 private:
  std::string type_;
  std::vector<EpilogueOp> epilogue_;
  float eps_;
  Format format_ = Format::nchw;
  DeviceBuffer weight_, bias_;
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
