#pragma once
/// Nearest-neighbour upsampling.
#include <cstdint>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y[n, c, h, w] = x[n, c, floor(h / r), floor(w / r)]: every pixel becomes an r x r patch.
/// x: [N,C,H,W], y: [N,C,H*r,W*r]; f32|f16|bf16, same type and format; must not overlap. Moves every bit as it is.
/// (1 + r*r)*elements(x)*sizeof(T) bytes, no arithmetic.
/// Throws OptionError on r < 1; ShapeError on other than one input or a rank other than 4.
/// Source: PyTorch 2.x nn.Upsample(scale_factor=r, mode="nearest").
class Upsample final : public Layer {
 public:
  explicit Upsample(std::int64_t factor);
  std::int64_t factor() const { return factor_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::any, .out = Strided::any};
  }
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 0, .terms = 0}; }
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Upsample>(factor_)); }
  std::string_view type_name() const override { return "Upsample"; }

 private:
  std::int64_t factor_;
};

/// Input and output as one shape [N,C,H,r,W,r]: the input repeats along both axes of length r.
TensorView upsample_view_input(const TensorView& x, std::int64_t factor);
TensorView upsample_view_output(const TensorView& y, std::int64_t factor);

Value upsample(Operand x, std::int64_t factor);

}  // namespace FRIEZE_API
