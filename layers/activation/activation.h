#pragma once
/// Elementwise activations of one value of any rank.
#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y[i] = f(x[i]), f one of
///   relu: max(x, 0) · silu: x*sigmoid(x) · gelu: x*Phi(x) with Phi by erf · gelu_tanh: 0.5x(1 + tanh(sqrt(2/pi)(x + 0.044715x^3)))
///   · sigmoid: 1/(1 + exp(-x)) · tanh · softplus: log(1 + exp(x)), x above 20 · mish: x*tanh(softplus(x)) ·
///   hardsigmoid: min(max(x + 3, 0), 6)/6 · hardswish: x*hardsigmoid(x) · leaky_relu: p*x below 0, else x ·
///   elu: p*(exp(x) - 1) below 0, else x.
/// x, y: any shape, f32|f16|bf16, same type and format; y may be x. Computed in f32, rounded once at the store.
/// NaN stays NaN; the limits at -inf are those of the formula, never NaN. Moves 2*elements*sizeof(T) bytes.
/// Throws OptionError on a parameter that is not finite; ShapeError on an empty tensor or a wrong number of inputs.
/// Source: the definitions of PyTorch 2.x nn.ReLU, SiLU, GELU (both `approximate` forms), Sigmoid, Tanh, Softplus(beta=1, threshold=20),
/// Mish, Hardsigmoid, Hardswish, LeakyReLU (p = negative_slope), ELU (p = alpha).
class ActivationLayer : public Layer {
 public:
  explicit ActivationLayer(Activation f) : ActivationLayer(f, default_parameter(f)) {}
  /// The parameter of a function that has none is not looked at.
  ActivationLayer(Activation f, float parameter);
  Activation function() const { return f_; }
  float parameter() const { return parameter_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  std::optional<EpilogueOp> as_epilogue(std::span<const TensorSpec> in) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::any, .out = Strided::any};
  }
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<ActivationLayer>(f_, parameter_)); }
  std::string_view type_name() const override { return name(f_); }

 private:
  Activation f_;
  float parameter_;
};

class ReLU final : public ActivationLayer {
 public:
  ReLU() : ActivationLayer(Activation::relu) {}
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<ReLU>()); }
};
class SiLU final : public ActivationLayer {
 public:
  SiLU() : ActivationLayer(Activation::silu) {}
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<SiLU>()); }
};
/// `tanh_form` picks the approximation that many checkpoints were trained with.
class GELU final : public ActivationLayer {
 public:
  explicit GELU(bool tanh_form = false) : ActivationLayer(tanh_form ? Activation::gelu_tanh : Activation::gelu) {}
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<GELU>(function() == Activation::gelu_tanh)); }
};
class Sigmoid final : public ActivationLayer {
 public:
  Sigmoid() : ActivationLayer(Activation::sigmoid) {}
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Sigmoid>()); }
};
class Tanh final : public ActivationLayer {
 public:
  Tanh() : ActivationLayer(Activation::tanh) {}
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Tanh>()); }
};
/// With beta 1 and threshold 20, PyTorch's defaults.
class Softplus final : public ActivationLayer {
 public:
  Softplus() : ActivationLayer(Activation::softplus) {}
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Softplus>()); }
};
class Mish final : public ActivationLayer {
 public:
  Mish() : ActivationLayer(Activation::mish) {}
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Mish>()); }
};
class Hardsigmoid final : public ActivationLayer {
 public:
  Hardsigmoid() : ActivationLayer(Activation::hardsigmoid) {}
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Hardsigmoid>()); }
};
class Hardswish final : public ActivationLayer {
 public:
  Hardswish() : ActivationLayer(Activation::hardswish) {}
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Hardswish>()); }
};
class LeakyReLU final : public ActivationLayer {
 public:
  explicit LeakyReLU(float slope = 0.01F) : ActivationLayer(Activation::leaky_relu, slope) {}
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<LeakyReLU>(parameter())); }
};
class ELU final : public ActivationLayer {
 public:
  explicit ELU(float alpha = 1) : ActivationLayer(Activation::elu, alpha) {}
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<ELU>(parameter())); }
};

Value relu(Operand x);
Value silu(Operand x);
Value gelu(Operand x);
Value gelu_tanh(Operand x);
Value sigmoid(Operand x);
Value tanh(Operand x);
Value softplus(Operand x);
Value mish(Operand x);
Value hardsigmoid(Operand x);
Value hardswish(Operand x);
Value leaky_relu(Operand x, float slope = 0.01F);
Value elu(Operand x, float alpha = 1);

}  // namespace FRIEZE_API
