#pragma once
/// What the kernels of layers that normalise by mean and variance share: parameters on the device, and a launch's arguments.
#include <string>
#include <vector>

#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/kernel.h>
#include <frieze/core/error.h>
#include <frieze/layers/shared/cuda/row_norm.h>

namespace frieze::cuda {

class NormLayerKernel : public NodeKernel {
 public:
  /// `weight` and `bias` may be nullptr. Throws CudaError.
  NormLayerKernel(const Layer& layer, double eps, const Parameter* weight, const Parameter* bias, const PrepareArgs& args)
      : type_(layer.type_name()),
        format_(args.in[0].format),
        eps_(static_cast<float>(eps)),
        epilogue_(args.epilogue.begin(), args.epilogue.end()) {
    if (weight != nullptr) weight_ = to_device(weight->values, args.in[0].dtype);
    if (bias != nullptr) bias_ = to_device(bias->values, args.in[0].dtype);
  }
  std::size_t weight_bytes() const override { return weight_.bytes() + bias_.bytes(); }

 protected:
  /// Throws CudaError on tensors that are not contiguous.
  RowNormCall call_of(const LaunchArgs& args) const {
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
    return call;
  }

 private:
  std::string type_;
  Format format_;
  float eps_;
  std::vector<EpilogueOp> epilogue_;
  DeviceBuffer weight_, bias_;
};

}  // namespace frieze::cuda
