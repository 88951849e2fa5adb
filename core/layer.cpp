#include <frieze/core/layer.h>

#include <cmath>
#include <string>
#include <utility>

#include <frieze/core/error.h>

namespace frieze {
namespace {

constexpr std::pair<Activation, std::string_view> kActivations[] = {{Activation::none, "none"},
                                                                    {Activation::relu, "relu"},
                                                                    {Activation::silu, "silu"},
                                                                    {Activation::gelu, "gelu"},
                                                                    {Activation::gelu_tanh, "gelu_tanh"},
                                                                    {Activation::sigmoid, "sigmoid"},
                                                                    {Activation::tanh, "tanh"},
                                                                    {Activation::softplus, "softplus"},
                                                                    {Activation::mish, "mish"},
                                                                    {Activation::hardsigmoid, "hardsigmoid"},
                                                                    {Activation::hardswish, "hardswish"},
                                                                    {Activation::leaky_relu, "leaky_relu"},
                                                                    {Activation::elu, "elu"}};

// x * tanh(log(1 + exp(x))) = x * n / (n + 2) with n = e * (e + 2), e = exp(x), which cancels nowhere.
double mish(double x) {
  if (x == -INFINITY) return -0.0;
  if (x > 30) return x;
  const double e = std::exp(x), n = e * (e + 2);
  return x * n / (n + 2);
}

}  // namespace

std::string_view name(Activation a) {
  for (const auto& [activation, text] : kActivations) {
    if (activation == a) return text;
  }
  return "?";
}

std::string activation_names() {
  std::string names;
  for (const auto& [activation, text] : kActivations) {
    if (activation != Activation::none) names.append(names.empty() ? "" : ", ").append(text);
  }
  return names;
}

Activation parse_activation(std::string_view text) {
  for (const auto& [activation, known] : kActivations) {
    if (known == text) return activation;
  }
  throw OptionError("unknown activation '" + printable(text, 80) + "': expected none, " + activation_names());
}

bool has_parameter(Activation a) { return a == Activation::leaky_relu || a == Activation::elu; }

float default_parameter(Activation a) { return a == Activation::leaky_relu ? 0.01F : a == Activation::elu ? 1.0F : 0.0F; }

double activate(Activation a, double x, double parameter) {
  switch (a) {
    case Activation::none: return x;
    case Activation::relu: return x < 0 ? 0.0 : x;  // NaN is not below zero, and stays
    case Activation::silu: return x == -INFINITY ? -0.0 : x / (1 + std::exp(-x));
    case Activation::gelu: return x == -INFINITY ? -0.0 : 0.5 * x * std::erfc(-x * 0.70710678118654752440);
    case Activation::gelu_tanh:  // 0.5 * (1 + tanh(u)) = 1 / (1 + exp(-2u)), without cancellation
      return x == -INFINITY ? -0.0 : x / (1 + std::exp(-1.59576912160573071176 * (x + 0.044715 * x * x * x)));
    case Activation::sigmoid: return 1 / (1 + std::exp(-x));
    case Activation::tanh: return std::tanh(x);
    case Activation::softplus: return x > 20 ? x : std::log1p(std::exp(x));
    case Activation::mish: return mish(x);
    case Activation::hardsigmoid: return x <= -3 ? 0.0 : x >= 3 ? 1.0 : (x + 3) / 6;
    case Activation::hardswish: return x <= -3 ? -0.0 : x >= 3 ? x : x * (x + 3) / 6;
    case Activation::leaky_relu: return x < 0 ? parameter * x : x;
    case Activation::elu: return x < 0 ? parameter * std::expm1(x) : x;
  }
  return x;
}

std::optional<EpilogueOp> Layer::as_epilogue(std::span<const TensorSpec>) const { return std::nullopt; }
std::size_t Layer::absorbs(std::span<const TensorSpec>, std::span<const EpilogueOp>) const { return 0; }
FormatRule Layer::formats(std::span<const TensorSpec>) const { return {}; }
StrideRule Layer::strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const { return {}; }
std::optional<Layout> Layer::output_layout(std::span<const TensorSpec>, std::size_t, const Layout&) const { return std::nullopt; }
std::optional<Layout> Layer::input_layout(std::span<const TensorSpec>, std::size_t, const Layout&) const { return std::nullopt; }
ErrorBudget Layer::budget(std::span<const TensorSpec>) const { return {}; }
double Layer::typical_size(std::span<const TensorView>) const { return 0; }

std::shared_ptr<const Layer> Layer::sharing(const std::shared_ptr<Layer>& made) const {
  check<Error>(made->parameters_.size() == parameters_.size(), type_name(), ": its copy has other parameters");
  for (std::size_t i = 0; i < parameters_.size(); ++i) made->parameters_[i]->values = std::as_const(parameters_[i]->values);
  made->name_ = path();
  return made;
}

Value Layer::forward(Value x) const { return forward(std::span<const Value>(&x, 1)); }
Value Layer::forward(std::span<const Value> inputs) const { return only_output(outputs(inputs), place()); }

std::vector<Value> Layer::outputs(std::span<const Value> inputs) const {
  // Not owned: a tracer that keeps the layer takes a shared_copy() of it.
  const std::shared_ptr<const Layer> self(std::shared_ptr<const Layer>(), this);
  return tracer_of(place(), inputs).step(self, path(), inputs);
}

void check_inputs(std::string_view who, std::span<const TensorSpec> in, std::size_t count) {
  check_any_inputs(who, in, count);
  check<DTypeError>(count == 0 || !is_integer(in.front().dtype), who, " takes f32, f16 or bf16, got ", in.front().dtype);
}

void check_any_inputs(std::string_view who, std::span<const TensorSpec> in, std::size_t count) {
  check<ShapeError>(in.size() == count, who, " takes ", count, count == 1 ? " input" : " inputs", ", got ", in.size());
  for (const TensorSpec& x : in) {
    check<ShapeError>(x.shape.elements() > 0, who, " expects extents of at least 1, got ", x.shape);
    check<DTypeError>(x.dtype == in.front().dtype, who, " expects inputs of one dtype, got ", in.front().dtype, " and ", x.dtype);
  }
}

void check_image(std::string_view who, const TensorSpec& x) {
  check<ShapeError>(x.shape.rank() == 4, who, " expects rank 4 as [N,C,H,W], got ", x.shape, " of rank ", x.shape.rank());
}

double root_mean_square(std::span<const float> values) {
  double sum = 0, count = 0;
  for (const float v : values) {
    if (!std::isfinite(v)) continue;
    sum += static_cast<double>(v) * static_cast<double>(v);
    ++count;
  }
  return count > 0 ? std::sqrt(sum / count) : 0;
}

Inferred elementwise_cost(std::span<const TensorSpec> in, const TensorSpec& out, double flops_per_element) {
  Inferred inferred{out, flops_per_element * static_cast<double>(out.shape.elements()), static_cast<double>(out.bytes())};
  for (const TensorSpec& x : in) inferred.bytes += static_cast<double>(x.bytes());
  return inferred;
}

}  // namespace frieze
