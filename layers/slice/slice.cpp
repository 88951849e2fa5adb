#include <frieze/layers/slice/slice.h>

#include <frieze/core/error.h>
#include <frieze/layers/shared/views.h>

namespace frieze {

Slice::Slice(std::int64_t begin, std::int64_t end, int axis) : begin_(begin), end_(end), axis_(axis) {
  check<OptionError>(0 <= begin && begin < end, "Slice expects 0 <= begin < end, got [", begin, ",", end, ")");
}

Inferred Slice::infer(std::span<const TensorSpec> in) const {
  check_any_inputs(type_name(), in, 1);
  const Shape& x = in[0].shape;
  const int axis = checked_axis(type_name(), x, axis_);
  check<ShapeError>(end_ <= x[axis], type_name(), " expects at least ", end_, axis_ == 1 ? " channels" : " elements", " for [", begin_, ",",
                    end_, "), got ", x[axis], " (x ", x, ")");
  const TensorSpec out{x.with(axis, end_ - begin_), in[0].dtype};
  return {out, 0, 2 * static_cast<double>(out.bytes())};
}

std::optional<Layout> Slice::output_layout(std::span<const TensorSpec> in, std::size_t, const Layout& input) const {
  const int axis = checked_axis(type_name(), in[0].shape, axis_);
  return Layout{input.offset + begin_ * input.strides[static_cast<std::size_t>(axis)], input.strides};
}

void Slice::reference(const ReferenceArgs& args) const {
  const TensorSpec in[] = {{args.in[0].shape, args.in[0].dtype}};
  convert(at_layout(args.in[0], args.out[0].shape, *output_layout(in, 0, {0, args.in[0].strides})), args.out[0]);
}

std::string Slice::describe() const {
  return concat_text(axis_ == 1 ? "channels [" : concat_text("axis ", axis_, " ["), begin_, ",", end_, ")");
}

Value slice(Operand x, std::int64_t begin, std::int64_t end, int axis) { return apply_new<Slice>("slice", {x}, begin, end, axis); }

}  // namespace frieze
