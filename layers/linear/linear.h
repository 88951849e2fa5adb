#pragma once
/// The fully connected layer.
#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

struct LinearOptions {
  bool bias = true;
};

/// y[..., o] = bias[o] + sum_i weight[o,i] * x[..., i]
/// x: [..., in_features] f32|f16|bf16 of rank 1 to 8, y: [..., out_features], same type; row-major, so images (rank 4) in nchw.
/// y may not be x. Parameters "weight" [out_features, in_features] and "bias" [out_features].
/// Reference sums in double, the kernel in f32; one rounding at the store, after the absorbed chain of up to 4 activations, adds and
/// muls. f32 is true f32 unless TF32 was allowed. Cost: 2*rows*in*out flop; moves x, the parameters and y once.
/// Throws OptionError (in the constructor) for features below 1; ShapeError for rank 0 or a last extent other than in_features.
/// Source: the definition of PyTorch 2.x nn.Linear.
class Linear final : public Layer {
 public:
  Linear(std::int64_t in_features, std::int64_t out_features, LinearOptions options = {});

  std::int64_t in_features() const { return in_features_; }
  std::int64_t out_features() const { return out_features_; }
  bool has_bias() const { return options_.bias; }
  const Parameter& weight() const { return weight_; }
  /// Without values unless has_bias().
  const Parameter& bias() const { return bias_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  std::size_t absorbs(std::span<const TensorSpec> in, std::span<const EpilogueOp> chain) const override;
  FormatRule formats(std::span<const TensorSpec> in) const override;
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  double typical_size(std::span<const TensorView> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override {
    return sharing(std::make_shared<Linear>(in_features_, out_features_, options_));
  }
  std::string_view type_name() const override { return "Linear"; }

 private:
  std::int64_t in_features_, out_features_;
  LinearOptions options_;
  Parameter weight_, bias_;
};

}  // namespace FRIEZE_API
