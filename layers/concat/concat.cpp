#include <frieze/layers/concat/concat.h>

#include <frieze/core/error.h>
#include <frieze/layers/reshape/reshape.h>
#include <frieze/layers/shared/views.h>

namespace frieze {

Inferred Concat::infer(std::span<const TensorSpec> in) const {
  check<ShapeError>(!in.empty(), type_name(), " takes at least 1 input, got 0");
  check_any_inputs(type_name(), in, in.size());
  const Shape& first = in[0].shape;
  const int axis = checked_axis(type_name(), first, axis_);
  std::int64_t sum = 0;
  for (const TensorSpec& x : in) {
    check<ShapeError>(x.shape.rank() == first.rank() && x.shape.with(axis, first[axis]) == first, type_name(),
                      " expects inputs that differ along axis ", axis, " only, got ", first, " and ", x.shape);
    sum = checked_add(sum, x.shape[axis], "channels");
  }
  return elementwise_cost(in, {first.with(axis, sum), in[0].dtype}, 0);
}

std::optional<Layout> Concat::input_layout(std::span<const TensorSpec> in, std::size_t input, const Layout& output) const {
  const int axis = checked_axis(type_name(), in[0].shape, axis_);
  Layout part = output;
  for (std::size_t k = 0; k < input; ++k) part.offset += in[k].shape[axis] * output.strides[static_cast<std::size_t>(axis)];
  return part;
}

void Concat::reference(const ReferenceArgs& args) const {
  std::vector<TensorSpec> in;
  for (const TensorView& x : args.in) in.push_back({x.shape, x.dtype});
  for (std::size_t k = 0; k < in.size(); ++k) {
    convert(args.in[k], at_layout(args.out[0], in[k].shape, *input_layout(in, k, {0, args.out[0].strides})));
  }
}

std::string Concat::describe() const { return axis_ == 1 ? std::string() : concat_text("along axis ", axis_); }

Value concat(const std::vector<Value>& values, int axis, SourceLine where) {
  return apply(std::make_shared<Concat>(axis), "concat", values, where);
}

Value stack(const std::vector<Value>& values, int axis, SourceLine where) {
  std::vector<Value> parts;
  for (const Value& v : values) {
    check_at("stack", Operand(v, where), [&] {
      check<ShapeError>(v.shape() == values.front().shape(), "stack expects values of one shape, got ", values.front().shape(), " and ",
                        v.shape());
    });
    parts.push_back(unsqueeze(Operand(v, where), axis));
  }
  return concat(parts, axis, where);
}

}  // namespace frieze
