#include <frieze/layers/activation/activation.h>

namespace frieze {

Inferred ActivationLayer::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  return elementwise_cost(in, {in[0].shape, in[0].dtype}, f_ == Activation::relu ? 1 : 8);
}

void ActivationLayer::reference(const ReferenceArgs& args) const {
  const std::vector<float> x = to_floats(args.in[0]);
  std::vector<double> y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = activate(f_, x[i]);
  from_doubles(y, args.out[0]);
}

std::optional<EpilogueOp> ActivationLayer::as_epilogue(std::span<const TensorSpec>) const {
  return EpilogueOp{EpilogueOp::Kind::activation, f_};
}

// No sum: the store, and in f32 the few ulp of expf, erfcf (CUDA Programming Guide, single-precision functions).
ErrorBudget ActivationLayer::budget(std::span<const TensorSpec> in) const {
  if (f_ == Activation::relu) return {.roundings = 0, .terms = 0};
  return {.roundings = in[0].dtype == DType::f32 ? 16.0 : 1.05, .terms = 1};
}

Value relu(Operand x) { return apply_new<ActivationLayer>("relu", {x}, Activation::relu); }
Value silu(Operand x) { return apply_new<ActivationLayer>("silu", {x}, Activation::silu); }
Value gelu(Operand x) { return apply_new<ActivationLayer>("gelu", {x}, Activation::gelu); }
Value gelu_tanh(Operand x) { return apply_new<ActivationLayer>("gelu_tanh", {x}, Activation::gelu_tanh); }
Value sigmoid(Operand x) { return apply_new<ActivationLayer>("sigmoid", {x}, Activation::sigmoid); }

}  // namespace frieze
