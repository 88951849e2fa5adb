#pragma once
/// Concatenation along an axis.
#include <vector>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y[…, b_k + i, …] = x_k[…, i, …] along `axis`, by default the channels, b_k the extents of the inputs before x_k: the inputs side by
/// side. x_k: of one rank, with equal extents but for the axis; f32|f16|bf16|i32|i64, one type, one format. y: the sum of the extents along
/// the axis; must not overlap an input that is copied. Moves every bit as it is. What makes an input alone writes it into y where its
/// kernel takes such strides: then nothing is moved. No arithmetic. A negative `axis` counts from the end. Throws ShapeError without
/// inputs, on ranks that differ, on an axis that is not there, on extents that differ beside it; DTypeError on types that differ. Source:
/// PyTorch 2.x torch.cat.
class Concat final : public Layer {
 public:
  explicit Concat(int axis = 1) : axis_(axis) {}
  int axis() const { return axis_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::no, .out = Strided::any};
  }
  std::optional<Layout> input_layout(std::span<const TensorSpec> in, std::size_t input, const Layout& output) const override;
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 0, .terms = 0}; }
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Concat>(axis_)); }
  std::string_view type_name() const override { return "Concat"; }

 private:
  int axis_;
};

/// concat({a, b, c}). Throws OptionError on an empty list.
Value concat(const std::vector<Value>& values, int axis = 1, SourceLine where = SourceLine::here());

/// Values of one shape along a new axis, as concat of unsqueeze: each lies in the result's memory where the steps around allow.
/// Throws as concat() and unsqueeze() do.
/// Source: PyTorch 2.x torch.stack.
Value stack(const std::vector<Value>& values, int axis = 0, SourceLine where = SourceLine::here());

}  // namespace FRIEZE_API
