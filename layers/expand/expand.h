#pragma once
/// Axes of one element repeated.
#include <vector>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y = x with extents of 1 repeated to those given, and with as many axes in front as there are more extents than axes of x. -1 leaves an
/// extent as it is; in front of x's axes it is refused.
/// x: any shape, f32|f16|bf16|i32|i64; y: up to 8 axes, same type; must not overlap. Moves every bit as it is: a copy, where PyTorch makes
/// a view. elements(x)*sizeof(T) bytes read, elements(y)*sizeof(T) written. Throws OptionError (in the constructor) on extents below 1 that
/// are not -1, and on more than 8; ShapeError on other than one input, fewer extents than axes, and an extent of x that is neither 1 nor
/// the one given. Source: PyTorch 2.x torch.Tensor.expand.
class Expand final : public Layer {
 public:
  explicit Expand(std::vector<std::int64_t> extents);

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::any, .out = Strided::any};
  }
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 0, .terms = 0}; }
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Expand>(extents_)); }
  std::string_view type_name() const override { return "Expand"; }

 private:
  std::vector<std::int64_t> extents_;
};

/// `x` under the shape of y: repeated axes have stride 0.
TensorView expand_view(const TensorView& x, const Shape& y);

/// expand(x, {n, -1, -1}).
Value expand(Operand x, std::vector<std::int64_t> extents);

}  // namespace FRIEZE_API
