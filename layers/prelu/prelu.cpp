#include <frieze/layers/prelu/prelu.h>

#include <frieze/core/error.h>
#include <frieze/layers/arithmetic/arithmetic.h>
#include <frieze/layers/reshape/reshape.h>
#include <frieze/layers/shared/views.h>

namespace frieze {
namespace {

void check_weights(std::string_view who, const Shape& x, const Shape& weight) {
  const bool fits = weight.rank() == 1 && (weight[0] == 1 || (x.rank() >= 2 && x[1] == weight[0]));
  check<ShapeError>(fits, who, " expects a weight of [1], or one for each channel of axis 1, got ", weight, " for x ", x);
}

}  // namespace

PReLU::PReLU(std::int64_t weights) {
  check<OptionError>(weights >= 1, "PReLU expects at least 1 weight, got ", weights);
  add_parameter(weight_, "weight", Shape{weights}, Init::around(0.25, 0.1));
}

TensorView PReLU::weight_view(void* data, int rank, DType dtype) const {
  if (weight_.shape[0] == 1) return TensorView(data, TensorSpec{Shape{1}, dtype});
  std::vector<std::int64_t> extents(static_cast<std::size_t>(rank - 1), 1);
  extents[0] = weight_.shape[0];
  return TensorView(data, TensorSpec{Shape(extents), dtype});
}

Inferred PReLU::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check_weights(type_name(), in[0].shape, weight_.shape);
  return elementwise_cost(in, {in[0].shape, in[0].dtype}, 1);
}

void PReLU::reference(const ReferenceArgs& args) const {
  const Shape& shape = args.in[0].shape;
  std::vector<float> weights = weight_.rounded(args.run_dtype);
  const std::vector<float> x = to_floats(args.in[0]);
  const std::vector<float> w = to_floats(broadcast_view(weight_view(weights.data(), shape.rank(), DType::f32), shape));
  std::vector<double> y(x.size());
  for (std::size_t i = 0; i < y.size(); ++i) {
    y[i] = x[i] < 0 ? static_cast<double>(w[i]) * static_cast<double>(x[i]) : static_cast<double>(x[i]);
  }
  from_doubles(y, args.out[0]);
}

std::string PReLU::describe() const { return weight_.shape[0] == 1 ? "one slope" : concat_text(weight_.shape[0], " slopes"); }

Value prelu(Operand x, Operand weight) {
  check_at("prelu", x, [&] { check_weights("prelu", x.value.shape(), weight.value.shape()); });
  Value slopes = weight.value;
  if (slopes.shape()[0] > 1) {
    std::vector<std::int64_t> extents(static_cast<std::size_t>(x.value.shape().rank() - 1), 1);
    extents[0] = slopes.shape()[0];
    slopes = reshape(weight, extents);
  }
  return apply_new<Binary>("prelu", {x, Operand(slopes, weight.where)}, BinaryFunction::prelu);
}

}  // namespace frieze
