#pragma once
/// Sums, products and scaling of values, with broadcasting.
#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// The shape of a (op) b: axes are matched from the last one on; extents are equal, or 1, or missing, in one of them; the larger one wins.
/// Throws ShapeError naming `who` and both shapes.
Shape broadcast_shape(std::string_view who, const Shape& a, const Shape& b);

/// y[i] = a[i] + b[i], an extent of 1, or an axis that is missing in front, being repeated, as in NumPy.
/// a, b, y: any rank, f32|f16|bf16, one type, one format; y may be an input of its own shape. Added in f32, rounded once.
/// NaN and Inf as IEEE 754 gives them. Moves elements(a) + elements(b) + elements(y) values, 1 flop/element.
/// Throws ShapeError on other than two inputs, on extents that neither agree nor are 1;
/// DTypeError on two types.
/// Source: NumPy "Broadcasting" (numpy.org/doc/stable/user/basics.broadcasting.html).
class Add final : public Layer {
 public:
  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  /// Only for two inputs of one shape: a producer's store knows one operand per element.
  std::optional<EpilogueOp> as_epilogue(std::span<const TensorSpec> in) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::any, .out = Strided::any};
  }
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Add>()); }
  std::string_view type_name() const override { return "Add"; }
};

/// y[i] = a[i] * b[i]; all else as Add. A gate [N,C,1,1] or a mask [N,1,H,W] broadcasts over an image [N,C,H,W].
class Mul final : public Layer {
 public:
  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  std::optional<EpilogueOp> as_epilogue(std::span<const TensorSpec> in) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::any, .out = Strided::any};
  }
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Mul>()); }
  std::string_view type_name() const override { return "Mul"; }
};

/// y[i] = factor * x[i], factor in f32 whatever the type of x. x, y: any shape, f32|f16|bf16; y may be x.
/// Multiplied in f32, rounded once. Moves 2*elements*sizeof(T) bytes, 1 flop/element.
/// Throws OptionError on a factor that is not finite; ShapeError on other than one input.
/// Source: its definition.
class Scale final : public Layer {
 public:
  explicit Scale(float factor);
  float factor() const { return factor_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::any, .out = Strided::any};
  }
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Scale>(factor_)); }
  std::string_view type_name() const override { return "Scale"; }

 private:
  float factor_;
};

Value operator+(Operand a, Operand b);
Value operator*(Operand a, Operand b);
Value operator*(Operand x, float factor);
Value operator*(float factor, Operand x);

}  // namespace FRIEZE_API
