#include <frieze/layers/gated_silu/gated_silu.h>

#include <frieze/core/error.h>

namespace frieze {

Inferred GatedSiLU::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  const Shape& x = in[0].shape;
  check<ShapeError>(x.rank() >= 2, type_name(), " expects rank 2 or more as [N,2C,...], got ", x, " of rank ", x.rank());
  check<ShapeError>(x[1] % 2 == 0, type_name(), " expects an even number of channels, values and gates, got ", x[1], " (x ", x, ")");
  return elementwise_cost(in, {x.with(1, x[1] / 2), in[0].dtype}, 9);
}

void GatedSiLU::reference(const ReferenceArgs& args) const {
  const std::vector<float> x = to_floats(args.in[0]);
  const auto images = static_cast<std::size_t>(args.in[0].shape[0]);
  const std::size_t half = x.size() / images / 2;
  std::vector<double> y(x.size() / 2);
  for (std::size_t n = 0; n < images; ++n) {
    const float *value = x.data() + 2 * n * half, *gate = value + half;
    for (std::size_t i = 0; i < half; ++i) y[n * half + i] = value[i] * activate(Activation::silu, gate[i]);
  }
  from_doubles(y, args.out[0]);
}

// No sum: the store, and in f32 the few ulp of expf, the division and the product.
ErrorBudget GatedSiLU::budget(std::span<const TensorSpec> in) const {
  return {.roundings = in[0].dtype == DType::f32 ? 16.0 : 1.05, .terms = 1};
}

Value gated_silu(Operand x) { return apply_new<GatedSiLU>("gated_silu", {x}); }

}  // namespace frieze
