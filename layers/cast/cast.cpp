#include <frieze/layers/cast/cast.h>

namespace frieze {

Inferred Cast::infer(std::span<const TensorSpec> in) const {
  check_any_inputs(type_name(), in, 1);
  return elementwise_cost(in, {in[0].shape, to_}, 0);
}

// The reference is given f32 for the 16-bit types: its own rounding of an integer to f32 is one that the kernel makes too.
ErrorBudget Cast::budget(std::span<const TensorSpec> in) const {
  const bool exact = in[0].dtype == to_ || is_integer(to_) || (to_ == DType::f32 && !is_integer(in[0].dtype));
  return {.roundings = exact ? 0.0 : 1.0, .terms = 0};
}

Value cast(Operand x, DType to) { return apply_new<Cast>("cast", {x}, to); }

}  // namespace frieze
