#pragma once
/// Axes in another order.
#include <vector>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y[i_0, i_1, …] = x[j], where index i_k stands at axis axes[k] of j: axis k of y is axis axes[k] of x.
/// x: any shape of as many axes; f32|f16|bf16|i32|i64; y: same type; must not overlap where it is copied. Moves every bit as it is.
/// A view of x, whatever its strides are. No arithmetic.
/// Negative axes count from the end. Throws OptionError if `axes` holds an axis twice or one that is not there; ShapeError on other than
/// one input or another rank.
/// Source: PyTorch 2.x torch.permute.
class Permute final : public Layer {
 public:
  explicit Permute(std::vector<int> axes);
  const std::vector<int>& axes() const { return axes_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override { convert(permuted(args.in[0]), args.out[0]); }
  FormatRule formats(std::span<const TensorSpec>) const override { return {.nhwc = false, .prefers = {}}; }
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::no, .out = Strided::any};
  }
  std::optional<Layout> output_layout(std::span<const TensorSpec> in, std::size_t output, const Layout& input) const override;
  std::optional<Layout> input_layout(std::span<const TensorSpec> in, std::size_t input, const Layout& output) const override;
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 0, .terms = 0}; }
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Permute>(axes_)); }
  std::string_view type_name() const override { return "Permute"; }

  /// `x` with its axes in the order of y's.
  TensorView permuted(const TensorView& x) const;

 private:
  std::vector<int> axes_;
};

Value permute(Operand x, std::vector<int> axes);

/// Two axes change places; negative ones count from the end. Throws OptionError on an axis that is not there.
/// Source: PyTorch 2.x torch.transpose.
Value transpose(Operand x, int a, int b);

}  // namespace FRIEZE_API
