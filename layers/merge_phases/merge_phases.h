#pragma once
/// The four phases of an upsampling convolution put together.
#include <frieze/core/layer.h>

namespace frieze {

/// y[n, o, 2h + i, 2w + j] = x[n, (2i + j)*C + o, h + i, w + j], 0 <= i, j < 2.
/// x: [N,4*C,H+1,W+1] holds an output of each phase at every corner between pixels, y: [N,C,2H,2W]; f32|f16|bf16, same type and
/// format; must not overlap. Moves every bit as it is; absorbs one addition. 2*elements(y)*sizeof(T) bytes, no arithmetic.
/// Throws ShapeError on other than one input, a rank other than 4, channels that 4 does not divide, or H or W below 1.
/// Source: its definition; Conv2d::after_prologue makes it.
class MergePhases final : public Layer {
 public:
  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  std::size_t absorbs(std::span<const TensorSpec> in, std::span<const EpilogueOp> chain) const override;
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 0, .terms = 0}; }
  std::string_view type_name() const override { return "MergePhases"; }
};

/// Input and output as one shape [N,C,H,2,W,2].
TensorView merge_phases_view_input(const TensorView& x);
TensorView merge_phases_view_output(const TensorView& y);

}  // namespace frieze
