#pragma once
/// ReLU with a slope that was learnt.
#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y = x where x is not below 0, else weight[c] * x, c the index along axis 1; a weight of one number holds for all.
/// x, y: any shape, f32|f16|bf16, same type; y may be x. weight: [1] or [C]. Computed in f32, rounded once; NaN stays NaN.
/// Moves 2*elements*sizeof(T) bytes, 1 flop/element.
/// Throws OptionError on a number of weights below 1; ShapeError on other than one input, or if x has no axis 1 of C channels.
/// Source: PyTorch 2.x nn.PReLU.
class PReLU final : public Layer {
 public:
  explicit PReLU(std::int64_t weights = 1);
  const Parameter& weight() const { return weight_; }
  /// The weight as a tensor that broadcasts over an input of rank `rank`; `data` is where its values lie.
  TensorView weight_view(void* data, int rank, DType dtype) const;

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::no, .out = Strided::any};
  }
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 1, .terms = 0}; }
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<PReLU>(weight_.shape[0])); }
  std::string_view type_name() const override { return "PReLU"; }

 private:
  Parameter weight_;
};

/// The same with a weight that is a value, [1] or [C]. Throws ShapeError as the class does.
Value prelu(Operand x, Operand weight);

}  // namespace FRIEZE_API
