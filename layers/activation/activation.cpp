#include <frieze/layers/activation/activation.h>

#include <cmath>

#include <frieze/core/error.h>

namespace frieze {

ActivationLayer::ActivationLayer(Activation f, float parameter) : f_(f), parameter_(has_parameter(f) ? parameter : 0) {
  check<OptionError>(std::isfinite(parameter_), name(f), " expects a finite parameter, got ", parameter);
}

Inferred ActivationLayer::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  return elementwise_cost(in, {in[0].shape, in[0].dtype}, f_ == Activation::relu ? 1 : 8);
}

void ActivationLayer::reference(const ReferenceArgs& args) const {
  const std::vector<float> x = to_floats(args.in[0]);
  std::vector<double> y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = activate(f_, x[i], parameter_);
  from_doubles(y, args.out[0]);
}

std::optional<EpilogueOp> ActivationLayer::as_epilogue(std::span<const TensorSpec>) const {
  return EpilogueOp{EpilogueOp::Kind::activation, f_, parameter_};
}

// No sum: the store, and in f32 the few ulp of expf, erfcf, log1pf, expm1f, tanhf (CUDA Programming Guide, single-precision functions). In
// 16 bits kernels may be within 2^-15.4 of the function (layers/shared/cuda/quick_math.cuh), a twentieth of the store's unit in f16.
ErrorBudget ActivationLayer::budget(std::span<const TensorSpec> in) const {
  if (f_ == Activation::relu) return {.roundings = 0, .terms = 0};
  return {.roundings = in[0].dtype == DType::f32 ? 16.0 : 1.05, .terms = 1};
}

std::string ActivationLayer::describe() const {
  return has_parameter(f_) ? concat_text(f_ == Activation::elu ? "alpha " : "slope ", parameter_) : std::string();
}

Value relu(Operand x) { return apply_new<ActivationLayer>("relu", {x}, Activation::relu); }
Value silu(Operand x) { return apply_new<ActivationLayer>("silu", {x}, Activation::silu); }
Value gelu(Operand x) { return apply_new<ActivationLayer>("gelu", {x}, Activation::gelu); }
Value gelu_tanh(Operand x) { return apply_new<ActivationLayer>("gelu_tanh", {x}, Activation::gelu_tanh); }
Value sigmoid(Operand x) { return apply_new<ActivationLayer>("sigmoid", {x}, Activation::sigmoid); }

Value tanh(Operand x) { return apply_new<ActivationLayer>("tanh", {x}, Activation::tanh); }
Value softplus(Operand x) { return apply_new<ActivationLayer>("softplus", {x}, Activation::softplus); }
Value mish(Operand x) { return apply_new<ActivationLayer>("mish", {x}, Activation::mish); }
Value hardsigmoid(Operand x) { return apply_new<ActivationLayer>("hardsigmoid", {x}, Activation::hardsigmoid); }
Value hardswish(Operand x) { return apply_new<ActivationLayer>("hardswish", {x}, Activation::hardswish); }
Value leaky_relu(Operand x, float slope) { return apply_new<ActivationLayer>("leaky_relu", {x}, Activation::leaky_relu, slope); }
Value elu(Operand x, float alpha) { return apply_new<ActivationLayer>("elu", {x}, Activation::elu, alpha); }

}  // namespace frieze
