#pragma once
/// Layer normalisation: over the last axes, as transformers have it, and over the channels of images.
#include <cstdint>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

struct LayerNormOptions {
  double eps = 1e-5;   ///< finite, not negative; in units of x^2
  bool affine = true;  ///< weight, a number for each element of the normalised shape (elementwise_affine of PyTorch)
  bool bias = true;    ///< and bias; without effect unless affine
};

/// y = (x - mean) / sqrt(variance + eps) * weight + bias, mean and variance (over the count, not count - 1) over the last axes, those of
/// the normalised shape; weight and bias have that shape. x, y: any shape that ends with the normalised one, f32|f16|bf16, same type; y
/// must not overlap x. Parameters "weight" and "bias". Statistics in f32, of values relative to one of the row, so a mean far from zero
/// costs no digits; in an order that depends on the shape, the alignment and the device alone: every run gives the same bits. Rounded once,
/// behind an epilogue of up to four operations. A row whose values are all equal gives bias; one with a NaN or an infinity is NaN
/// throughout. Deviations whose squares leave f32's range (beyond 1e19, or below 1e-19 without eps) are outside of the contract. Moves
/// 2*elements*sizeof(T) bytes where a block holds a row (up to 64 KiB), else reads x a second time, from the cache as far as it holds x; 6
/// flop/element. The GPU takes contiguous row-major tensors (CudaError otherwise): of rank 4 those are nchw. Throws OptionError on a
/// normalised shape without axes or with an extent below 1, or an eps that is negative or not finite; ShapeError on other than one input,
/// or one that does not end with the normalised shape. Source: PyTorch 2.x nn.LayerNorm; arXiv:1607.06450.
class LayerNorm final : public Layer {
 public:
  explicit LayerNorm(const Shape& normalized_shape, LayerNormOptions options = {});
  /// Over the last axis, of `features` elements.
  explicit LayerNorm(std::int64_t features, LayerNormOptions options = {}) : LayerNorm(Shape{features}, options) {}

  const Shape& normalized_shape() const { return normalized_shape_; }
  const LayerNormOptions& options() const { return options_; }
  const Parameter* weight() const { return options_.affine ? &weight_ : nullptr; }
  const Parameter* bias() const { return options_.affine && options_.bias ? &bias_ : nullptr; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  std::size_t absorbs(std::span<const TensorSpec> in, std::span<const EpilogueOp> chain) const override;
  FormatRule formats(std::span<const TensorSpec> in) const override;
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<LayerNorm>(normalized_shape_, options_)); }
  std::string_view type_name() const override { return "LayerNorm"; }

 private:
  Shape normalized_shape_;
  LayerNormOptions options_;
  Parameter weight_, bias_;
};

/// y[n,c,h,w] = (x[n,c,h,w] - mean) / sqrt(variance + eps) * weight[c] + bias[c], mean and variance over the channels of pixel (n,h,w):
/// LayerNorm of x.permute(0,2,3,1), permuted back.
/// x, y: [N,C,H,W], f32|f16|bf16, same type and format; y must not overlap x. Parameters "weight" and "bias": [C]. Everything else is as
/// there, but both formats are taken; nchw reads x twice.
/// Throws OptionError on channels < 1, or an eps that is negative or not finite; ShapeError on other than one input, a rank other than 4 or
/// another C.
/// Source: torchvision's models/convnext.py LayerNorm2d (eps 1e-6 there); segment-anything's modeling/common.py.
class LayerNorm2d final : public Layer {
 public:
  explicit LayerNorm2d(std::int64_t channels, LayerNormOptions options = {});

  std::int64_t channels() const { return channels_; }
  const LayerNormOptions& options() const { return options_; }
  const Parameter* weight() const { return options_.affine ? &weight_ : nullptr; }
  const Parameter* bias() const { return options_.affine && options_.bias ? &bias_ : nullptr; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  std::size_t absorbs(std::span<const TensorSpec> in, std::span<const EpilogueOp> chain) const override;
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<LayerNorm2d>(channels_, options_)); }
  std::string_view type_name() const override { return "LayerNorm2d"; }

 private:
  std::int64_t channels_;
  LayerNormOptions options_;
  Parameter weight_, bias_;
};

/// Without weight and bias.
Value layer_norm(Operand x, const Shape& normalized_shape, double eps = 1e-5);

}  // namespace FRIEZE_API
