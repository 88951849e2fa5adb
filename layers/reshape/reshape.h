#pragma once
/// The same elements under another shape.
#include <vector>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y has the elements of x in the same order, row-major in the shapes as written (N,C,H,W), whatever the formats are.
/// x: any shape; f32|f16|bf16|i32|i64; y: as many elements, same type; must not overlap where it is copied. Moves every bit as it is.
/// A view of x where one set of strides does it, as of every contiguous row-major x; else 2*elements*sizeof(T) bytes. No arithmetic.
/// One extent may be -1: the layer computes it from the number of elements.
/// Throws OptionError on two extents of -1, an extent below -1 or of 0, more than 8 extents; ShapeError on other than one input or another
/// number of elements.
/// Source: PyTorch 2.x torch.reshape.
class Reshape final : public Layer {
 public:
  explicit Reshape(std::vector<std::int64_t> extents);

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  FormatRule formats(std::span<const TensorSpec>) const override { return {.nhwc = false, .prefers = {}}; }
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::no, .operands = Strided::no, .out = Strided::any};
  }
  std::optional<Layout> output_layout(std::span<const TensorSpec> in, std::size_t output, const Layout& input) const override;
  std::optional<Layout> input_layout(std::span<const TensorSpec> in, std::size_t input, const Layout& output) const override;
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 0, .terms = 0}; }
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Reshape>(extents_)); }
  std::string_view type_name() const override { return "Reshape"; }

 private:
  Shape shape_of(const TensorSpec& x) const;
  std::vector<std::int64_t> extents_;
};

/// Where a tensor of shape `from` at `layout` lies under the shape `to`, of as many elements in the same row-major order; nullopt if no
/// strides do it.
std::optional<Layout> reshaped(const Shape& from, const Layout& layout, const Shape& to);

/// Reshape of x, e.g. reshape(x, {n, -1}); errors as the class says.
Value reshape(Operand x, std::vector<std::int64_t> extents);

/// The axes from `first` to `last` as one; negative ones count from the end. A value of rank 0 becomes one of one element.
/// Throws OptionError on axes that are not there or in the wrong order.
/// Source: PyTorch 2.x torch.flatten.
Value flatten(Operand x, int first = 0, int last = -1);

/// Without its axis `axis`, which must have one element; or without all such axes. Negative ones count from the end.
/// Throws ShapeError on an axis that is not there or has several elements.
/// Source: PyTorch 2.x torch.squeeze, which leaves an axis of several elements as it is.
Value squeeze(Operand x, int axis);
Value squeeze(Operand x);
/// With an axis of one element before axis `axis` of x; -1: behind the last.
/// Throws ShapeError on an axis beyond that, or for a value of rank 8.
/// Source: PyTorch 2.x torch.unsqueeze.
Value unsqueeze(Operand x, int axis);

}  // namespace FRIEZE_API
