#pragma once
/// Concatenation along the channels.
#include <vector>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y[n, c0 + c, ...] = x_i[n, c, ...], c0 the channels of the inputs before x_i: the inputs side by side along axis 1.
/// x_i: [N,C_i,...] of one rank, at least 2, with equal extents but for axis 1; f32|f16|bf16|i32|i64, one type, one format.
/// y: [N,sum C_i,...]; must not overlap an input. Moves every bit as it is. 2*elements(y)*sizeof(T) bytes, no arithmetic.
/// Throws ShapeError without inputs, on ranks that differ or are below 2, on extents that differ beside axis 1; DTypeError on
/// types that differ.
/// Source: PyTorch 2.x torch.cat with dim=1.
class Concat final : public Layer {
 public:
  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 0, .terms = 0}; }
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Concat>()); }
  std::string_view type_name() const override { return "Concat"; }
};

/// concat({a, b, c}). Throws OptionError on an empty list.
Value concat(const std::vector<Value>& values, SourceLine where = SourceLine::here());

}  // namespace FRIEZE_API
