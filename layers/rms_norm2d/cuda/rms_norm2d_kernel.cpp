// RMSNorm2d on the GPU: the layer's kernel.
#include <frieze/core/cuda/handles.h>
#include <frieze/core/error.h>
#include <frieze/layers/rms_norm2d/cuda/norm_tuning.h>

namespace frieze::cuda {
namespace {

// What absorbs() agreed to, laid over the layer's own options: second(first(t) + residual).
NormOptions with_chain(const RMSNorm2dOptions& own, std::span<const EpilogueOp> chain) {
  NormOptions o{own.eps.value_or(default_eps(own.eps_mode)), own.eps_mode, own.rounding, own.activation, Activation::none, own.residual};
  for (const EpilogueOp& op : chain) {
    if (op.kind == EpilogueOp::Kind::add) {
      o.residual = ResidualMode::after;
    } else if (o.first == Activation::none && o.residual != ResidualMode::after) {
      o.first = op.activation;
    } else {
      o.second = op.activation;
    }
  }
  return o;
}

class RMSNorm2dKernel final : public NodeKernel {
 public:
  RMSNorm2dKernel(const RMSNorm2d& layer, const PrepareArgs& prepare)
      : format_(prepare.out[0].format), device_(as_code_runs(*prepare.device)) {
    const TensorSpec& x = prepare.in[0];
    formula_ = make_formula(with_chain(layer.options(), prepare.epilogue), x.shape.c(), x.dtype);
    if (layer.weight() != nullptr) weight_ = to_device(layer.weight()->values, x.dtype);
    if (layer.bias() != nullptr) bias_ = to_device(layer.bias()->values, x.dtype);
    prepared_ = call_for(TensorView(nullptr, x), TensorView(nullptr, prepare.out[0]), nullptr);  // aligned, as the plan's tensors are
    if (!prepare.in_views.empty()) {
      const TensorView* const residual = prepare.in_views.size() > 1 ? &prepare.in_views[1] : nullptr;
      const NormCall seen = call_for(prepare.in_views[0], prepare.out_views[0], residual);
      if (!seen.problem.contiguous) {
        prepared_ = seen;
        choice_ = {default_norm_config(seen.problem), "other strides"};
        return;
      }
    }
    choice_ = choose_norm(prepared_, prepare.tune, device_, prepare.stream);
  }

  void launch(const LaunchArgs& launch, cudaStream_t stream) const override {
    const NormCall call = call_for(launch.in[0], launch.out[0], launch.in.size() > 1 ? &launch.in[1] : nullptr);
    // The plan's tensors are aligned and contiguous; other views get what is the default for them.
    const NormConfig config = call.problem == prepared_.problem ? choice_.config : default_norm_config(call.problem);
    launch_norm(config, call.problem.dtype, call.args, call.strides, stream);
  }
  std::size_t weight_bytes() const override { return weight_.bytes() + bias_.bytes(); }
  std::string describe() const override {
    return concat_text(cuda::describe(choice_.config, prepared_.args, prepared_.problem.dtype), " (", choice_.why, ')');
  }

 private:
  NormCall call_for(const TensorView& x, const TensorView& y, const TensorView* residual) const {
    return make_norm_call(x, y, residual, weight_.data(), bias_.data(), formula_, format_, device_);
  }

  Format format_;
  DeviceInfo device_;
  NormFormula formula_;
  DeviceBuffer weight_, bias_;
  NormCall prepared_;
  NormChoice choice_;
};

std::unique_ptr<Kernel> make_rms_norm2d(const RMSNorm2d& layer, const PrepareArgs& args) {
  return std::make_unique<RMSNorm2dKernel>(layer, args);
}

}  // namespace

void register_rms_norm2d(KernelRegistry& registry);
void register_rms_norm2d(KernelRegistry& registry) { registry.add<RMSNorm2d>(&make_rms_norm2d); }

}  // namespace frieze::cuda
