#pragma once
/// A layer of this program's own, as README.md tells it: the contract. group_norm.cpp has checks and truth, group_norm.cu the kernel,
/// test.cpp holds both against PyTorch and against each other.
#include <frieze/frieze.h>

namespace own {

/// y = (x - mean) / sqrt(variance + eps) * weight[c] + bias[c], mean and variance (biased) over the C/groups channels and all pixels of a
/// group. x, y: [N,C,H,W], f32|f16|bf16; y must not be x. Sums in f32, one rounding.
/// Throws OptionError unless groups divides channels; ShapeError on another rank or number of channels.
/// Source: PyTorch nn.GroupNorm, arXiv:1803.08494.
class GroupNorm final : public frieze::Layer {
 public:
  GroupNorm(int groups, int channels, double eps = 1e-5);
  int groups() const { return groups_; }
  double eps() const { return eps_; }
  const frieze::Parameter& weight() const { return weight_; }
  const frieze::Parameter& bias() const { return bias_; }

  frieze::Inferred infer(std::span<const frieze::TensorSpec> in) const override;
  void reference(const frieze::ReferenceArgs& args) const override;
  frieze::FormatRule formats(std::span<const frieze::TensorSpec>) const override { return {.nchw = true, .nhwc = false, .prefers = {}}; }
  frieze::ErrorBudget budget(std::span<const frieze::TensorSpec> in) const override;
  std::shared_ptr<const frieze::Layer> shared_copy() const override;
  std::string describe() const override;
  std::string_view type_name() const override { return "GroupNorm"; }

 private:
  int groups_, channels_;
  double eps_;
  frieze::Parameter weight_, bias_;
};

/// Call it before the first compile() for a CUDA device.
void register_group_norm();

}  // namespace own
