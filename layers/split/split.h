#pragma once
/// Ranges of an axis, one after the other.
#include <cstdint>
#include <vector>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y_k[…, i, …] = x[…, b_k + i, …] along `axis`, b_k the sum of the lengths before k: x cut into ranges of the given lengths.
/// x: any shape; f32|f16|bf16|i32|i64; y_k: same type and format; must not overlap where they are copied. Moves every bit as it is.
/// Each y_k is a view of x. No arithmetic.
/// A negative `axis` counts from the end. Throws OptionError without lengths or on one below 1; ShapeError on other than one input, an axis
/// that is not there, or lengths that do not add up to its extent.
/// Source: PyTorch 2.x torch.split.
class Split final : public Layer {
 public:
  explicit Split(std::vector<std::int64_t> lengths, int axis = 1);
  const std::vector<std::int64_t>& lengths() const { return lengths_; }
  int axis() const { return axis_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::no, .out = Strided::any};
  }
  std::optional<Layout> output_layout(std::span<const TensorSpec> in, std::size_t output, const Layout& input) const override;
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 0, .terms = 0}; }
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Split>(lengths_, axis_)); }
  std::string_view type_name() const override { return "Split"; }

 private:
  std::vector<std::int64_t> lengths_;
  int axis_;
};

/// Split into ranges of `length`, the last one shorter where `length` does not divide the extent; along the channels by default.
/// Throws OptionError on a length below 1 or more than 65536 ranges, ShapeError on an axis that x does not have.
std::vector<Value> split(Operand x, std::int64_t length, int axis = 1);
/// Split into ranges of these lengths; errors as the class says.
std::vector<Value> split(Operand x, std::vector<std::int64_t> lengths, int axis = 1);

/// x in n ranges of equal length, first to last, by default along the channels, as gated blocks take them: a, b = chunk(x, 2).
/// Throws OptionError on n < 1, ShapeError if n does not divide the extent.
/// Source: PyTorch 2.x torch.chunk, for lengths that divide.
std::vector<Value> chunk(Operand x, std::int64_t n, int axis = 1);

}  // namespace FRIEZE_API
