#pragma once
/// The gate of gated convolution blocks: half of the channels scales the other half.
#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y[n, c, ...] = x[n, c, ...] * silu(x[n, C + c, ...]), c < C: the first half is the value, the second half the gate.
/// (SwiGLU as language models write it has the halves the other way round.)
/// x: [N,2C,...] of rank 2 or more, y: [N,C,...]; f32|f16|bf16, same type and format; must not overlap. Computed in f32, rounded
/// once. NaN and Inf propagate as in the formula; silu(-inf) is -0. 3*elements(y)*sizeof(T) bytes, 9 flop/element of y.
/// Throws ShapeError on other than one input, a rank below 2, or an odd number of channels.
/// Source: GLUMBConv of huggingface/diffusers, models/transformers/sana_transformer.py.
class GatedSiLU final : public Layer {
 public:
  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<GatedSiLU>()); }
  std::string_view type_name() const override { return "GatedSiLU"; }
};

Value gated_silu(Operand x);

}  // namespace FRIEZE_API
