#pragma once
/// A layer of this program's own, as README.md tells it: the contract. response_norm.cpp has checks and truth, response_norm.cu the
/// kernels, test.cpp holds both against PyTorch and against each other.
#include <frieze/frieze.h>

namespace own {

/// y = x + weight[c] * x * g[c] / (mean over c of g + eps) + bias[c], g[c] = sqrt(sum of x^2 over the pixels of channel c), of each image.
/// x, y: [N,C,H,W], f32|f16|bf16; y must not be x. Sums in f32, one rounding. Parameters "weight" and "bias", also read as "gamma" and
/// "beta" and shaped [1,1,1,C]. Throws OptionError on channels < 1; ShapeError on another rank or number of channels. Source: Global
/// Response Normalization of ConvNeXt V2, arXiv:2301.00808; timm's GlobalResponseNorm.
class GlobalResponseNorm final : public frieze::Layer {
 public:
  explicit GlobalResponseNorm(int channels, double eps = 1e-6);
  double eps() const { return eps_; }
  const frieze::Parameter& weight() const { return weight_; }
  const frieze::Parameter& bias() const { return bias_; }

  frieze::Inferred infer(std::span<const frieze::TensorSpec> in) const override;
  void reference(const frieze::ReferenceArgs& args) const override;
  frieze::FormatRule formats(std::span<const frieze::TensorSpec>) const override { return {.nchw = true, .nhwc = false, .prefers = {}}; }
  frieze::ErrorBudget budget(std::span<const frieze::TensorSpec> in) const override;
  std::shared_ptr<const frieze::Layer> shared_copy() const override;
  std::string describe() const override;
  std::string_view type_name() const override { return "GlobalResponseNorm"; }

 private:
  int channels_;
  double eps_;
  frieze::Parameter weight_, bias_;
};

/// Call it before the first compile() for a CUDA device.
void register_response_norm();

}  // namespace own
