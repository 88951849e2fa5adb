#pragma once
/// Sums, means and extreme values over any axes.
#include <vector>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

enum class Reduction : std::uint8_t { sum, mean, max, min };
/// "sum", "mean", "amax", "amin".
std::string_view name(Reduction f);

/// y = f over the axes `axes` of x, over all of them if there are none given. The reduced axes are gone, or of extent 1 with `keep_dims`.
/// x: any shape and strides, f32|f16|bf16; y: same type. Negative axes count from the end.
/// Sums in f32 in an order that the shape and the device decide, so the same bits each time; mean divides the sum once; rounded once at the
/// end. max and min are exact, and NaN if any element is. Moves elements(x) + elements(y) values, elements(x) flop.
/// Throws OptionError on an axis that is named twice; ShapeError on an axis that is not there or on other than one input.
/// Source: PyTorch 2.x torch.sum, mean, amax, amin.
class Reduce final : public Layer {
 public:
  explicit Reduce(Reduction f, std::vector<int> axes = {}, bool keep_dims = false);
  Reduction function() const { return f_; }
  /// For each axis of a value of that shape, whether it is reduced. Throws as the class says.
  std::vector<bool> reduced(const Shape& x) const;

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::no, .out = Strided::any};
  }
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  double typical_size(std::span<const TensorView> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Reduce>(f_, axes_, keep_dims_)); }
  std::string_view type_name() const override { return name(f_); }

 private:
  Reduction f_;
  std::vector<int> axes_;
  bool keep_dims_;
};

Value sum(Operand x, std::vector<int> axes = {}, bool keep_dims = false);
Value mean(Operand x, std::vector<int> axes = {}, bool keep_dims = false);
Value amax(Operand x, std::vector<int> axes = {}, bool keep_dims = false);
Value amin(Operand x, std::vector<int> axes = {}, bool keep_dims = false);

}  // namespace FRIEZE_API
