#pragma once
/// Two-dimensional convolution.
#include <frieze/core/layer.h>
#include <frieze/core/size2d.h>
#include <frieze/layers/pad/pad.h>

namespace frieze FRIEZE_API {

struct Conv2dOptions {
  Size2d stride = 1;
  /// Rows and columns added on each side: none by default, as in PyTorch and `frieze op`. -1 on both sides of an axis means PyTorch's
  /// "same": dilation * (kernel - 1) / 2, for odd kernels only.
  Padding2d padding = 0;
  Size2d dilation = 1;
  int groups = 1;
  bool bias = true;
  PadMode padding_mode = PadMode::zeros;  ///< what is added
};

/// y[n,o,i,j] = bias[o] + sum over c, r, s of weight[o,c,r,s] * x[n, g*C_in/groups + c, i*stride.h - padding.top + r*dilation.h,
///                                                                   j*stride.w - padding.left + s*dilation.w]
/// with g = o / (C_out/groups) (so it is a correlation, as in every framework); outside of the image x is what padding_mode says: 0, or
/// what Pad (layers/pad/pad.h) makes of it.
/// x: [N,C_in,H,W] f32|f16|bf16; y: [N,C_out,H',W'], H' = floor((H + padding.top + padding.bottom - dilation.h*(k.h-1) - 1) / stride.h) +
/// 1, W' likewise; same type and format as x. Runs in nchw and nhwc; fast in nhwc. y may not be x. The GPU adds zeros where it reads x; for
/// the other modes it first writes the padded image to its workspace. Parameters "weight" [C_out, C_in/groups, k.h, k.w] and "bias"
/// [C_out]. Reference sums in double, kernels in f32; one rounding at the store, after the absorbed chain of up to 4 activations, adds and
/// muls. f32 is true f32 unless TF32 was allowed. Cost: 2*N*C_out*H'*W'*C_in/groups*k.h*k.w flop; moves x, the parameters and y once. The
/// defaults are those of nn.Conv2d: stride 1, padding 0, dilation 1, one group, with a bias. Throws OptionError (in the constructor) for
/// impossible options; ShapeError for a rank other than 4, a wrong channel count, a kernel that is larger than the padded image, or an
/// image too small for its padding mode. Source: the definition of PyTorch 2.x nn.Conv2d; each side its own, as in ONNX's Conv.
class Conv2d final : public Layer {
 public:
  Conv2d(std::int64_t in_channels, std::int64_t out_channels, Size2d kernel, Conv2dOptions options = {});

  std::int64_t in_channels() const { return in_channels_; }
  std::int64_t out_channels() const { return out_channels_; }
  Size2d kernel() const { return kernel_; }
  Size2d stride() const { return options_.stride; }
  /// What is really added: never negative.
  const Padding2d& padding() const { return options_.padding; }
  PadMode padding_mode() const { return options_.padding_mode; }
  Size2d dilation() const { return options_.dilation; }
  int groups() const { return options_.groups; }
  bool has_bias() const { return options_.bias; }
  /// All of the above, for a convolution that differs in one of them.
  const Conv2dOptions& options() const { return options_; }
  /// One group per channel, in and out.
  bool is_depthwise() const { return groups() == in_channels_ && in_channels_ == out_channels_; }
  const Parameter& weight() const { return weight_; }
  /// Without values unless has_bias().
  const Parameter& bias() const { return bias_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  std::size_t absorbs(std::span<const TensorSpec> in, std::span<const EpilogueOp> chain) const override;
  StrideRule strides(std::span<const TensorSpec> in, std::span<const EpilogueOp> epilogue) const override;
  FormatRule formats(std::span<const TensorSpec> in) const override;
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  double typical_size(std::span<const TensorView> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override {
    return sharing(std::make_shared<Conv2d>(in_channels_, out_channels_, kernel_, options_));
  }
  std::string_view type_name() const override { return "Conv2d"; }

 private:
  std::int64_t in_channels_, out_channels_;
  Size2d kernel_;
  Conv2dOptions options_;
  Parameter weight_, bias_;
};

}  // namespace FRIEZE_API
