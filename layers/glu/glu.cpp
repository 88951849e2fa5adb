#include <frieze/layers/glu/glu.h>

#include <frieze/core/error.h>
#include <frieze/layers/shared/views.h>

namespace frieze {

Glu::Glu(Activation f, int axis) : f_(f), axis_(axis) {
  check<OptionError>(!has_parameter(f), "Glu expects an activation without a parameter, got ", name(f));
}

Inferred Glu::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  const Shape& x = in[0].shape;
  const int axis = checked_axis(type_name(), x, axis_);
  check<ShapeError>(x[axis] % 2 == 0, type_name(), " expects an even extent at axis ", axis_, ", got ", x);
  return elementwise_cost(in, {x.with(axis, x[axis] / 2), in[0].dtype}, 9);
}

void Glu::reference(const ReferenceArgs& args) const {
  const TensorView& x = args.in[0];
  const int axis = checked_axis(type_name(), x.shape, axis_);
  const std::int64_t half = x.shape[axis] / 2;
  const std::vector<float> a = to_floats(slice_view(x, axis, 0, half)), b = to_floats(slice_view(x, axis, half, half));
  std::vector<double> y(a.size());
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = static_cast<double>(a[i]) * activate(f_, static_cast<double>(b[i]));
  from_doubles(y, args.out[0]);
}

// As the activation, and one product.
ErrorBudget Glu::budget(std::span<const TensorSpec> in) const { return {.roundings = in[0].dtype == DType::f32 ? 17.0 : 1.05, .terms = 1}; }

std::string Glu::describe() const { return concat_text("a * ", name(f_), "(b) along axis ", axis_); }

Value glu(Operand x, int axis) { return apply_new<Glu>("glu", {x}, Activation::sigmoid, axis); }
Value swiglu(Operand x, int axis) { return apply_new<Glu>("swiglu", {x}, Activation::silu, axis); }
Value geglu(Operand x, int axis) { return apply_new<Glu>("geglu", {x}, Activation::gelu, axis); }
Value reglu(Operand x, int axis) { return apply_new<Glu>("reglu", {x}, Activation::relu, axis); }

}  // namespace frieze
