#pragma once
/// The four phases of an upsampling convolution put together.
#include <cstdint>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y[n, o, 2h + i, 2w + j] = x[n, (2i + j)*C + o, h + i, w + j], 0 <= i, j < 2.
/// x: [N,4*C,H+1,W+1] holds an output of each phase at every corner between pixels, y: [N,C,2H,2W]; f32|f16|bf16, same type and
/// format; must not overlap. Moves every bit as it is; absorbs one addition. 2*elements(y)*sizeof(T) bytes, no arithmetic.
/// Throws ShapeError on other than one input, a rank other than 4, channels that 4 does not divide, or H or W below 1.
/// Source: its definition; layers/upsample/rewrites.cpp makes it.
class MergePhases final : public Layer {
 public:
  MergePhases() = default;
  /// The same plus DuplicatingShortcut(C, 2) of a second input s [N,shortcut_channels,H,W], made where it is added:
  /// y[n, o, 2h + i, 2w + j] += s[n, floor((4*o + 2*i + j) / R), h, w], R = 4*C / shortcut_channels; one rounding, of the sum in f32. s is
  /// read once. Also throws OptionError on channels below 1, ShapeError on other than two inputs, an s of another N, H or W, or channels
  /// that do not divide 4*C.
  explicit MergePhases(std::int64_t shortcut_channels);
  /// Of the second input; 0: there is none.
  std::int64_t shortcut_channels() const { return shortcut_channels_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  std::size_t absorbs(std::span<const TensorSpec> in, std::span<const EpilogueOp> chain) const override;
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = shortcut_channels_ > 0 ? 1.0 : 0.0, .terms = 0}; }
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override {
    return sharing(shortcut_channels_ == 0 ? std::make_shared<MergePhases>() : std::make_shared<MergePhases>(shortcut_channels_));
  }
  std::string_view type_name() const override { return "MergePhases"; }

 private:
  std::int64_t shortcut_channels_ = 0;
};

/// Input and output as one shape [N,C,H,2,W,2].
TensorView merge_phases_view_input(const TensorView& x);
TensorView merge_phases_view_output(const TensorView& y);

}  // namespace FRIEZE_API
