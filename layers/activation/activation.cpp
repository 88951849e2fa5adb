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

namespace {
Value apply_activation(Activation f, Value x) {
  const Value inputs[] = {x};
  return apply(std::make_shared<ActivationLayer>(f), name(f), inputs);
}
}  // namespace

Value relu(Value x) { return apply_activation(Activation::relu, x); }
Value silu(Value x) { return apply_activation(Activation::silu, x); }
Value gelu(Value x) { return apply_activation(Activation::gelu, x); }
Value gelu_tanh(Value x) { return apply_activation(Activation::gelu_tanh, x); }
Value sigmoid(Value x) { return apply_activation(Activation::sigmoid, x); }

}  // namespace frieze
