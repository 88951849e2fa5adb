#pragma once
/// Gated linear units: one half of an axis times a function of the other.
#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y = a * f(b), a the first half of x along `axis`, b the second: PyTorch's order. f: sigmoid (GLU), silu (SwiGLU), gelu by erf (GEGLU),
/// relu (ReGLU), or any other without a parameter.
/// x: any shape with an even extent there, f32|f16|bf16, any strides; y: half of it, same type; must not overlap. Negative axes count from
/// the end. Computed in f32, rounded once. NaN and Inf propagate as in the formula. 3*elements(y)*sizeof(T) bytes, 9 flop/element of y.
/// Throws OptionError on an activation with a parameter; ShapeError on other than one input, an axis that is not there, an odd extent.
/// Source: PyTorch 2.x F.glu; arXiv:2002.05202; GEGLU and SwiGLU of huggingface/diffusers, models/activations.py.
class Glu final : public Layer {
 public:
  explicit Glu(Activation f = Activation::sigmoid, int axis = -1);
  Activation function() const { return f_; }
  int axis() const { return axis_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::no, .out = Strided::any};
  }
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Glu>(f_, axis_)); }
  std::string_view type_name() const override { return "Glu"; }

 private:
  Activation f_;
  int axis_;
};

Value glu(Operand x, int axis = -1);
Value swiglu(Operand x, int axis = -1);
Value geglu(Operand x, int axis = -1);
Value reglu(Operand x, int axis = -1);

}  // namespace FRIEZE_API
