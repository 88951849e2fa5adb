#pragma once
/// Pixel shuffle and its inverse: channels to space, space to channels.
#include <cstdint>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y[n, c, h*r + i, w*r + j] = x[n, c*r*r + i*r + j, h, w], 0 <= i, j < r: r*r channels become an r x r patch of pixels.
/// x: [N,C*r*r,H,W], y: [N,C,H*r,W*r]; f32|f16|bf16, same type and format; must not overlap. Moves every bit as it is.
/// 2*elements*sizeof(T) bytes, no arithmetic.
/// Throws OptionError on r < 1; ShapeError on other than one input, a rank other than 4, channels that r*r does not divide.
/// Source: PyTorch 2.x nn.PixelShuffle; arXiv:1609.05158.
class PixelShuffle final : public Layer {
 public:
  explicit PixelShuffle(std::int64_t factor);
  std::int64_t factor() const { return factor_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::any, .out = Strided::any};
  }
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 0, .terms = 0}; }
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<PixelShuffle>(factor_)); }
  std::string_view type_name() const override { return "PixelShuffle"; }

 private:
  std::int64_t factor_;
};

/// y[n, c*r*r + i*r + j, h, w] = x[n, c, h*r + i, w*r + j]: the inverse of PixelShuffle.
/// x: [N,C,H*r,W*r], y: [N,C*r*r,H,W]; all else as PixelShuffle.
/// Throws OptionError on r < 1; ShapeError on other than one input, a rank other than 4, H or W that r does not divide.
/// Source: PyTorch 2.x nn.PixelUnshuffle.
class PixelUnshuffle final : public Layer {
 public:
  explicit PixelUnshuffle(std::int64_t factor);
  std::int64_t factor() const { return factor_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::any, .out = Strided::any};
  }
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 0, .terms = 0}; }
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<PixelUnshuffle>(factor_)); }
  std::string_view type_name() const override { return "PixelUnshuffle"; }

 private:
  std::int64_t factor_;
};

/// The two sides of a shuffle as one shape [N,C,H,r,W,r] each, so that both layers are a copy between views.
/// `wide`: the side [N,C*r*r,H,W]; `fine`: the side [N,C,H*r,W*r].
TensorView shuffle_view_wide(const TensorView& wide, std::int64_t factor);
TensorView shuffle_view_fine(const TensorView& fine, std::int64_t factor);

Value pixel_shuffle(Operand x, std::int64_t factor);
Value pixel_unshuffle(Operand x, std::int64_t factor);

}  // namespace FRIEZE_API
