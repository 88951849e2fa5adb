#pragma once
/// A range along an axis.
#include <cstdint>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y[…, i, …] = x[…, begin + i, …] for begin + i < end along `axis`, by default the channels.
/// x: any shape, y: the same but for end - begin along the axis; f32|f16|bf16|i32|i64, same type and format; must not overlap where it is
/// copied. Moves every bit as it is. A view of x, whatever its strides are. No arithmetic.
/// A negative `axis` counts from the end. Throws OptionError unless 0 <= begin < end; ShapeError on other than one input, an axis that is
/// not there, or an end past its extent.
/// Source: x[:, begin:end] of NumPy and PyTorch.
class Slice final : public Layer {
 public:
  Slice(std::int64_t begin, std::int64_t end, int axis = 1);
  std::int64_t begin() const { return begin_; }
  std::int64_t end() const { return end_; }
  int axis() const { return axis_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::no, .out = Strided::any};
  }
  std::optional<Layout> output_layout(std::span<const TensorSpec> in, std::size_t output, const Layout& input) const override;
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 0, .terms = 0}; }
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Slice>(begin_, end_, axis_)); }
  std::string_view type_name() const override { return "Slice"; }

 private:
  std::int64_t begin_, end_;
  int axis_;
};

Value slice(Operand x, std::int64_t begin, std::int64_t end, int axis = 1);

}  // namespace FRIEZE_API
