#pragma once
/// Global average pooling.
#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y[n, c] = sum_hw x[n, c, h, w] / (H*W).
/// x: [N,C,H,W], y: [N,C], or [N,C,1,1] with `keep_dims`; f32|f16|bf16, same type. Summed in f32, in an order that depends on
/// the shape, the alignment and the device alone, so that every run gives the same bits; rounded once. NaN and Inf propagate as in the sum;
/// a sum past the largest f32 gives Inf. Moves elements(x) + N*C values, 1 flop/element. The GPU takes contiguous nchw and nhwc (CudaError
/// otherwise); a large H*W with few channels is summed in two stages, with partial sums in the workspace. Throws ShapeError on other than
/// one input or a rank other than 4. Source: PyTorch 2.x nn.AdaptiveAvgPool2d(1); arXiv:1312.4400, section 3.2.
class GlobalAvgPool final : public Layer {
 public:
  explicit GlobalAvgPool(bool keep_dims = false) : keep_dims_(keep_dims) {}
  bool keep_dims() const { return keep_dims_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  double typical_size(std::span<const TensorView> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<GlobalAvgPool>(keep_dims_)); }
  std::string_view type_name() const override { return "GlobalAvgPool"; }

 private:
  bool keep_dims_;
};

Value global_avg_pool(Operand x, bool keep_dims = false);

}  // namespace FRIEZE_API
