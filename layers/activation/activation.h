#pragma once
/// Elementwise activations of one value of any rank.
#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y[i] = f(x[i]), f one of
///   relu: max(x, 0) · silu: x*sigmoid(x) · gelu: x*Phi(x) with Phi by erf · gelu_tanh: 0.5x(1 + tanh(sqrt(2/pi)(x + 0.044715x^3)))
///   · sigmoid: 1/(1 + exp(-x)).
/// x, y: any shape, f32|f16|bf16, same type and format; y may be x. Computed in f32, rounded once at the store.
/// NaN stays NaN; the limits at -inf are 0. Moves 2*elements*sizeof(T) bytes.
/// Throws ShapeError on an empty tensor or a wrong number of inputs.
/// Source: the definitions of PyTorch 2.x nn.ReLU, SiLU, GELU (both `approximate` forms), Sigmoid.
class ActivationLayer : public Layer {
 public:
  explicit ActivationLayer(Activation f) : f_(f) {}
  Activation function() const { return f_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  std::optional<EpilogueOp> as_epilogue(std::span<const TensorSpec> in) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::any, .out = Strided::any};
  }
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<ActivationLayer>(f_)); }
  std::string_view type_name() const override { return name(f_); }

 private:
  Activation f_;
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

Value relu(Operand x);
Value silu(Operand x);
Value gelu(Operand x);
Value gelu_tanh(Operand x);
Value sigmoid(Operand x);

}  // namespace FRIEZE_API
