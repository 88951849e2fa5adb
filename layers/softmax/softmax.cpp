#include <frieze/layers/softmax/softmax.h>

#include <algorithm>
#include <cmath>

#include <frieze/core/error.h>

namespace frieze {

Inferred Softmax::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  const Shape& x = in[0].shape;
  check<ShapeError>(axis_ >= -x.rank() && axis_ < x.rank(), type_name(), " expects an input with an axis ", axis_, ", got ", x, " of rank ",
                    x.rank());
  return elementwise_cost(in, {x, in[0].dtype}, 5);
}

void Softmax::reference(const ReferenceArgs& args) const {
  const Shape& shape = args.in[0].shape;
  const int axis = axis_ < 0 ? axis_ + shape.rank() : axis_;
  const std::vector<float> x = to_floats(args.in[0]);
  const std::size_t length = static_cast<std::size_t>(shape[axis]);
  std::size_t step = 1;
  for (int i = axis + 1; i < shape.rank(); ++i) step *= static_cast<std::size_t>(shape[i]);
  std::vector<double> y(x.size());
  for (std::size_t line = 0; line < x.size() / length; ++line) {
    const std::size_t first = line / step * step * length + line % step;
    double top = -INFINITY, sum = 0;
    for (std::size_t j = 0; j < length; ++j) top = std::max(top, static_cast<double>(x[first + j * step]));  // passes over NaN
    for (std::size_t j = 0; j < length; ++j) sum += y[first + j * step] = std::exp(x[first + j * step] - top);
    for (std::size_t j = 0; j < length; ++j) y[first + j * step] /= sum;
  }
  from_doubles(y, args.out[0]);
}

// The sum has positive terms only, so its error is relative: below sqrt(n) * u for n independent roundings. 16: two exp (2 units each), the
// roundings of x - m and of its product with log2(e), which exp multiplies by |x - m| while the value falls off faster, the reciprocal and
// its product, the running maximum's rescaling and the reference's rounding.
ErrorBudget Softmax::budget(std::span<const TensorSpec> in) const {
  const Shape& x = in[0].shape;
  return {.roundings = 1, .terms = 16 + std::sqrt(static_cast<double>(x[axis_]))};
}

std::string Softmax::describe() const { return concat_text("axis ", axis_); }

Value softmax(Operand x, int axis) { return apply_new<Softmax>("softmax", {x}, axis); }

}  // namespace frieze
