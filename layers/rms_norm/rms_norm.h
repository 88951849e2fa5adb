#pragma once
/// RMS normalisation over the last axis, as transformers have it.
#include <cstdint>

#include <frieze/layers/rms_norm2d/rms_norm2d.h>

namespace frieze FRIEZE_API {

struct RMSNormOptions {
  double eps = 0x1p-23;  ///< finite, not negative; added inside the root. PyTorch computes with this one where it is given none
  bool weight = true;    ///< one number a feature
  Rounding rounding = Rounding::once;
};

/// y[..., c] = x[..., c] / sqrt(mean over c of x^2 + eps) * weight[c]: RMSNorm2d of pixels that lie behind each other, whose kernels,
/// options and guarantees these are. x, y: any shape of rank 1 or more, f32|f16|bf16, same type; y may be x. Parameter "weight": [C]. Moves
/// 2*elements*sizeof(T) bytes, 4 flop/element. The GPU takes contiguous row-major tensors (CudaError otherwise): of rank 4 those are nchw.
/// Throws OptionError on features < 1, or an eps that is negative or not finite; ShapeError on other than one input, or a last axis of
/// another length.
/// Source: PyTorch 2.x nn.RMSNorm with a normalised shape of one axis; arXiv:1910.07467.
class RMSNorm final : public Layer {
 public:
  explicit RMSNorm(std::int64_t features, RMSNormOptions options = {});

  std::int64_t features() const { return features_; }
  const RMSNormOptions& options() const { return options_; }
  const Parameter* weight() const { return options_.weight ? &weight_ : nullptr; }
  /// The same function of [pixels, C, 1, 1], sharing the weight's values.
  std::shared_ptr<const RMSNorm2d> as_pixels() const;

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  std::size_t absorbs(std::span<const TensorSpec> in, std::span<const EpilogueOp> chain) const override;
  FormatRule formats(std::span<const TensorSpec> in) const override;
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<RMSNorm>(features_, options_)); }
  std::string_view type_name() const override { return "RMSNorm"; }

 private:
  std::int64_t features_;
  RMSNormOptions options_;
  Parameter weight_;
};

/// Without weight.
Value rms_norm(Operand x, double eps = 0x1p-23);

}  // namespace FRIEZE_API
