#pragma once
/// A range of channels, and the split of a value into equal ranges.
#include <cstdint>
#include <vector>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y[n, c, ...] = x[n, begin + c, ...] for begin + c < end.
/// x: [N,C,...] of rank 2 or more, y: [N,end-begin,...]; f32|f16|bf16|i32|i64, same type and format; must not overlap. Moves every bit
/// as it is. 2*elements(y)*sizeof(T) bytes, no arithmetic.
/// Throws OptionError unless 0 <= begin < end; ShapeError on other than one input, a rank below 2, or end > C.
/// Source: x[:, begin:end] of NumPy and PyTorch.
class Slice final : public Layer {
 public:
  Slice(std::int64_t begin, std::int64_t end);
  std::int64_t begin() const { return begin_; }
  std::int64_t end() const { return end_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 0, .terms = 0}; }
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Slice>(begin_, end_)); }
  std::string_view type_name() const override { return "Slice"; }

 private:
  std::int64_t begin_, end_;
};

Value slice(Operand x, std::int64_t begin, std::int64_t end);

/// The channels of x in n ranges of equal length, first to last, as gated blocks take them: a, b = chunk(x, 2).
/// Throws OptionError on n < 1, ShapeError if n does not divide the channels.
/// Source: PyTorch 2.x torch.chunk with dim=1, for lengths that divide.
std::vector<Value> chunk(Operand x, std::int64_t n);

}  // namespace FRIEZE_API
