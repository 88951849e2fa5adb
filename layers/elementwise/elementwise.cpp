#include <frieze/layers/elementwise/elementwise.h>

#include <algorithm>
#include <cmath>

#include <frieze/core/error.h>

namespace frieze {
namespace {

Inferred infer_binary(std::string_view who, std::span<const TensorSpec> in) {
  check_inputs(who, in, 2);
  return elementwise_cost(in, {broadcast_shape(who, in[0].shape, in[1].shape), in[0].dtype}, 1);
}

// The row-major values of `x` repeated to `shape`.
std::vector<double> broadcast(const TensorView& x, const Shape& shape) {
  TensorView repeated(x.data, shape, x.dtype, x.strides);
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (x.shape[axis] == 1) repeated.strides[static_cast<std::size_t>(axis)] = 0;
  }
  const std::vector<float> values = to_floats(repeated);
  return {values.begin(), values.end()};
}

template <class Op>
void reference_binary(const ReferenceArgs& args, Op op) {
  std::vector<double> y = broadcast(args.in[0], args.out[0].shape);
  const std::vector<double> b = broadcast(args.in[1], args.out[0].shape);
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = op(y[i], b[i]);
  from_doubles(y, args.out[0]);
}

std::optional<EpilogueOp> epilogue(EpilogueOp::Kind kind, std::span<const TensorSpec> in) {
  if (in.size() != 2 || in[0].shape != in[1].shape) return std::nullopt;
  return EpilogueOp{kind, Activation::none};
}

// One operation in f32 and one store. For f32 the reference rounds the exact double result, which is the same rounding; for
// the 16-bit types the f32 rounding in between is a part in 2^24 and fits in the slack of the store's (graph/BUDGETS.md).
constexpr ErrorBudget kOneStore{.roundings = 1, .terms = 0};

}  // namespace

Shape broadcast_shape(std::string_view who, const Shape& a, const Shape& b) {
  check<ShapeError>(a.rank() == b.rank(), who, " expects two inputs of one rank, got ", a, " and ", b);
  Shape out = a;
  for (int axis = 0; axis < a.rank(); ++axis) {
    check<ShapeError>(a[axis] == b[axis] || a[axis] == 1 || b[axis] == 1, who, " expects extents that are equal or 1, got ", a, " and ", b,
                      ", which differ at axis ", axis);
    out = out.with(axis, std::max(a[axis], b[axis]));
  }
  return out;
}

Inferred Add::infer(std::span<const TensorSpec> in) const { return infer_binary(type_name(), in); }
void Add::reference(const ReferenceArgs& args) const {
  reference_binary(args, [](double a, double b) { return a + b; });
}
std::optional<EpilogueOp> Add::as_epilogue(std::span<const TensorSpec> in) const { return epilogue(EpilogueOp::Kind::add, in); }
ErrorBudget Add::budget(std::span<const TensorSpec>) const { return kOneStore; }

Inferred Mul::infer(std::span<const TensorSpec> in) const { return infer_binary(type_name(), in); }
void Mul::reference(const ReferenceArgs& args) const {
  reference_binary(args, [](double a, double b) { return a * b; });
}
std::optional<EpilogueOp> Mul::as_epilogue(std::span<const TensorSpec> in) const { return epilogue(EpilogueOp::Kind::mul, in); }
ErrorBudget Mul::budget(std::span<const TensorSpec>) const { return kOneStore; }

Scale::Scale(float factor) : factor_(factor) { check<OptionError>(std::isfinite(factor), "Scale expects a finite factor, got ", factor); }
Inferred Scale::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  return elementwise_cost(in, {in[0].shape, in[0].dtype}, 1);
}
void Scale::reference(const ReferenceArgs& args) const {
  const std::vector<float> x = to_floats(args.in[0]);
  std::vector<double> y(x.begin(), x.end());
  for (double& v : y) v *= factor_;
  from_doubles(y, args.out[0]);
}
ErrorBudget Scale::budget(std::span<const TensorSpec>) const { return kOneStore; }
std::string Scale::describe() const { return concat_text("by ", factor_); }

Value operator+(Operand a, Operand b) { return apply_new<Add>("add", {a, b}); }
Value operator*(Operand a, Operand b) { return apply_new<Mul>("mul", {a, b}); }
Value operator*(Operand x, float factor) { return apply_new<Scale>("scale", {x}, factor); }
Value operator*(float factor, Operand x) { return x * factor; }

}  // namespace frieze
