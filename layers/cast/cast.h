#pragma once
/// The same values in another type.
#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y = x in type `to`. x: any shape; f32|f16|bf16|i32|i64; y: same shape and format; must not overlap, unless the types are equal.
///   float to float      rounded to nearest even; overflow becomes infinity, NaN stays NaN
///   float to integer    the fraction is dropped (towards zero). Past the range of `to`, infinities included, its end on that side; NaN
///                       gives 0. PyTorch leaves what is out of range undefined.
///   integer to float    to f32, rounded to nearest even, and from there to the 16-bit types, likewise: i64 2^24 + 1 becomes 2^24
///   i64 to i32          the low 32 bits: 2^31 becomes -2^31
///   equal types         bit for bit
/// elements(x)*(sizeof(x) + sizeof(y)) bytes, no arithmetic that counts.
/// Throws ShapeError on other than one input.
/// Source: PyTorch 2.x Tensor.to(dtype).
class Cast final : public Layer {
 public:
  explicit Cast(DType to) : to_(to) {}
  DType to() const { return to_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override { convert(args.in[0], args.out[0]); }
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::string describe() const override { return "to " + std::string(name(to_)); }
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Cast>(to_)); }
  std::string_view type_name() const override { return "Cast"; }

 private:
  DType to_;
};

Value cast(Operand x, DType to);

}  // namespace FRIEZE_API
