#pragma once
/// Softmax over one axis.
#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y[i] = exp(x[i] - m) / sum_j exp(x[j] - m), m = max_j x[j], j over `axis` with all other indices those of i.
/// x, y: any rank of at least 1, f32|f16|bf16, same type and format; y may be x. axis: from the front, or from the end if
/// negative. Computed in f32, in an order that depends on the shape and the alignment alone; rounded once.
/// As the formula: -Inf beside finite values gives 0; a NaN or +Inf anywhere along the axis, or nothing but -Inf, makes that whole
/// line NaN. No finite input overflows. Moves 2*elements*sizeof(T) bytes from memory, 5 flop/element; the second read of a
/// line comes from the cache. The GPU takes contiguous nchw and nhwc (CudaError otherwise).
/// Throws ShapeError on other than one input, or if x has no such axis.
/// Source: PyTorch 2.x nn.Softmax; the running maximum of arXiv:1805.02867.
class Softmax final : public Layer {
 public:
  explicit Softmax(int axis = -1) : axis_(axis) {}
  int axis() const { return axis_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Softmax>(axis_)); }
  std::string_view type_name() const override { return "Softmax"; }

 private:
  int axis_;
};

Value softmax(Operand x, int axis = -1);

}  // namespace FRIEZE_API
