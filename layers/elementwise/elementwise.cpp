#include <frieze/layers/elementwise/elementwise.h>

#include <algorithm>
#include <cmath>

#include <frieze/core/error.h>
#include <frieze/layers/shared/views.h>

namespace frieze {
namespace {

Inferred infer_binary(std::string_view who, std::span<const TensorSpec> in) {
  check_inputs(who, in, 2);
  return elementwise_cost(in, {broadcast_shape(who, in[0].shape, in[1].shape), in[0].dtype}, 1);
}

template <class Op>
void reference_binary(const ReferenceArgs& args, Op op) {
  const std::vector<float> a = to_floats(broadcast_view(args.in[0], args.out[0].shape));
  const std::vector<float> b = to_floats(broadcast_view(args.in[1], args.out[0].shape));
  std::vector<double> y(a.size());
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = op(static_cast<double>(a[i]), static_cast<double>(b[i]));
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
  const int rank = std::max(a.rank(), b.rank());
  std::vector<std::int64_t> extents;
  for (int axis = 0; axis < rank; ++axis) {
    const int in_a = axis - (rank - a.rank()), in_b = axis - (rank - b.rank());
    const std::int64_t of_a = in_a < 0 ? 1 : a[in_a], of_b = in_b < 0 ? 1 : b[in_b];
    check<ShapeError>(of_a == of_b || of_a == 1 || of_b == 1, who, " expects extents that are equal or 1, got ", a, " and ", b,
                      ", which differ at axis ", axis, rank == a.rank() && rank == b.rank() ? "" : " of the result");
    extents.push_back(std::max(of_a, of_b));
  }
  return Shape(extents);
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
