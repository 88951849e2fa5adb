#include <frieze/layers/upsample/upsample.h>

#include <frieze/core/error.h>

namespace frieze {

Upsample::Upsample(std::int64_t factor) : factor_(factor) {
  check<OptionError>(factor >= 1 && factor <= 1 << 15, "Upsample expects a factor from 1 to 32768, got ", factor);
}

TensorView upsample_view_input(const TensorView& x, std::int64_t r) {
  const Shape& s = x.shape;
  return {x.data, Shape{s.n(), s.c(), s.h(), r, s.w(), r}, x.dtype, {x.stride(0), x.stride(1), x.stride(2), 0, x.stride(3), 0}};
}

TensorView upsample_view_output(const TensorView& y, std::int64_t r) {
  const Shape& s = y.shape;
  return {y.data,
          Shape{s.n(), s.c(), s.h() / r, r, s.w() / r, r},
          y.dtype,
          {y.stride(0), y.stride(1), y.stride(2) * r, y.stride(2), y.stride(3) * r, y.stride(3)}};
}

Inferred Upsample::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check_image(type_name(), in[0]);
  const Shape& x = in[0].shape;
  const Shape out{x.n(), x.c(), checked_mul(x.h(), factor_, "height"), checked_mul(x.w(), factor_, "width")};
  return elementwise_cost(in, {out, in[0].dtype}, 0);
}

void Upsample::reference(const ReferenceArgs& args) const {
  convert(upsample_view_input(args.in[0], factor_), upsample_view_output(args.out[0], factor_));
}

std::string Upsample::describe() const { return concat_text("x", factor_, " nearest"); }

Value upsample(Operand x, std::int64_t factor) { return apply_new<Upsample>("upsample", {x}, factor); }

}  // namespace frieze
