#pragma once
/// Batch normalisation in its inference form: a factor and an offset per channel.
#include <cstdint>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y[n,c,h,w] = (x[n,c,h,w] - running_mean[c]) / sqrt(running_var[c] + eps) * weight[c] + bias[c]
///            = x * s[c] + t[c],   s = weight / sqrt(running_var + eps),   t = bias - running_mean * s.
/// s and t are made in double from the parameters as they are stored, then rounded once to x's type. Behind a Conv2d the layer goes into
/// that one's weights when a plan is optimised (rewrites.cpp).
/// x, y: [N,C,H,W], f32|f16|bf16, same type and format; y may be x. Computed in f32, rounded once.
/// Parameters "weight", "bias", "running_mean", "running_var", each [C]; running_var + eps must be positive, or y is NaN or Inf.
/// Moves 2*elements*sizeof(T) bytes, 2 flop/element.
/// Throws OptionError on channels < 1 or an eps that is negative or not finite; ShapeError on other than one input, a rank other than 4
/// or another C.
/// Source: PyTorch 2.x nn.BatchNorm2d in eval mode.
class BatchNorm2d final : public Layer {
 public:
  explicit BatchNorm2d(std::int64_t channels, double eps = 1e-5);

  /// s and t of the formula, by channel.
  struct Factors {
    std::vector<double> scale, shift;
  };
  Factors factors() const;

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<BatchNorm2d>(channels_, eps_)); }
  std::string_view type_name() const override { return "BatchNorm2d"; }

 private:
  std::int64_t channels_;
  double eps_;
  Parameter weight_, bias_, running_mean_, running_var_;
};

}  // namespace FRIEZE_API
