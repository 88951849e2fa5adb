#pragma once
/// Parameter-free shortcuts of autoencoders: space and channels traded against each other, then averaged or repeated.
#include <cstdint>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y[n,o,h,w] = 1/g * sum over t < g of U[n, o*g + t, h, w], U = pixel_unshuffle(x, r), g = r*r*C / out_channels:
/// the mean of g consecutive channels. r = 1 averages channels alone.
/// x: [N,C,H*r,W*r], y: [N,out_channels,H,W]; f32|f16|bf16, same type and format; must not overlap. Summed in f32 (double in the
/// reference) from t = 0 up, rounded once. Reads x once, writes y once.
/// Throws OptionError on out_channels < 1 or r < 1; ShapeError on other than one input, a rank other than 4, H or W that r
/// does not divide, or r*r*C that out_channels does not divide.
/// Source: arXiv:2410.10733, section 3.1; PixelUnshuffleChannelAveragingDownSampleLayer of mit-han-lab/efficientvit.
class AveragingShortcut final : public Layer {
 public:
  AveragingShortcut(std::int64_t out_channels, std::int64_t factor);
  std::int64_t out_channels() const { return out_channels_; }
  std::int64_t factor() const { return factor_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<AveragingShortcut>(out_channels_, factor_)); }
  std::string_view type_name() const override { return "AveragingShortcut"; }

 private:
  std::int64_t out_channels_, factor_;
};

/// y[n, o, h*r + i, w*r + j] = x[n, floor((o*r*r + i*r + j) / R), h, w], R = r*r*out_channels / C: every channel R times in a row,
/// then pixel_shuffle. r = 1 repeats channels alone.
/// x: [N,C,H,W], y: [N,out_channels,H*r,W*r]; f32|f16|bf16, same type and format; must not overlap. Moves every bit as it is.
/// Reads x once, writes y once.
/// Throws OptionError on out_channels < 1 or r < 1; ShapeError on other than one input, a rank other than 4, or
/// r*r*out_channels that C does not divide.
/// Source: arXiv:2410.10733, section 3.1; ChannelDuplicatingPixelUnshuffleUpSampleLayer of mit-han-lab/efficientvit.
class DuplicatingShortcut final : public Layer {
 public:
  DuplicatingShortcut(std::int64_t out_channels, std::int64_t factor);
  std::int64_t out_channels() const { return out_channels_; }
  std::int64_t factor() const { return factor_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 0, .terms = 0}; }
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override {
    return sharing(std::make_shared<DuplicatingShortcut>(out_channels_, factor_));
  }
  std::string_view type_name() const override { return "DuplicatingShortcut"; }

 private:
  std::int64_t out_channels_, factor_;
};

Value averaging_shortcut(Operand x, std::int64_t out_channels, std::int64_t factor);
Value duplicating_shortcut(Operand x, std::int64_t out_channels, std::int64_t factor);

}  // namespace FRIEZE_API
