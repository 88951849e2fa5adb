#pragma once
/// Two-dimensional transposed convolution.
#include <memory>
#include <vector>

#include <frieze/core/layer.h>
#include <frieze/core/size2d.h>
#include <frieze/layers/conv2d/conv2d.h>

namespace frieze FRIEZE_API {

struct ConvTranspose2dOptions {
  Size2d stride = 1;
  Size2d padding = 0;         ///< rows and columns of the output that are left out, on each side
  Size2d output_padding = 0;  ///< rows at the bottom and columns on the right that are made besides; less than the stride or the dilation
  Size2d dilation = 1;
  int groups = 1;
  bool bias = true;
};

/// y[n,o,i,j] = bias[o] + sum over c, r, s, h, w of weight[c,o',r,s] * x[n,c,h,w], where h*stride.h + r*dilation.h = i + padding.h and
/// w*stride.w + s*dilation.w = j + padding.w; c runs over the input channels of o's group, o' = o % (C_out/groups).
/// x: [N,C_in,H,W] f32|f16|bf16; y: [N,C_out,H',W'], H' = (H-1)*stride.h - 2*padding.h + dilation.h*(k.h-1) + output_padding.h + 1, W'
/// likewise; same type and format as x; y may not be x. Runs in nchw and nhwc; fast in nhwc.
/// Parameters "weight" [C_in, C_out/groups, k.h, k.w] and "bias" [C_out]. Reference sums in double, kernels in f32, one rounding at the
/// store; f32 is true f32 unless TF32 was allowed.
/// Cost: 2*N*C_in*H*W*C_out/groups*k.h*k.w flop; moves x, the parameters and y once. The GPU runs parts(), one to four Conv2d, and puts
/// their outputs in their places with one copy of y; where there are none, a kernel that is not fast.
/// The defaults are those of nn.ConvTranspose2d. Throws OptionError (in the constructor) for impossible options; ShapeError for a rank
/// other than 4, a wrong channel count, or an output without pixels.
/// Source: the definition of PyTorch 2.x nn.ConvTranspose2d.
class ConvTranspose2d final : public Layer {
 public:
  ConvTranspose2d(std::int64_t in_channels, std::int64_t out_channels, Size2d kernel, ConvTranspose2dOptions options = {});

  std::int64_t in_channels() const { return in_channels_; }
  std::int64_t out_channels() const { return out_channels_; }
  Size2d kernel() const { return kernel_; }
  const ConvTranspose2dOptions& options() const { return options_; }
  const Parameter& weight() const { return weight_; }
  /// Without values unless options().bias.
  const Parameter& bias() const { return bias_; }

  /// The same function of images of shape `x` as convolutions of stride 1. Row i of y is of the phase q = (i + padding.h) % stride.h: it
  /// sees rows of x through rows q, q + stride.h, … of the kernel alone. The phases that see as many rows and columns of the kernel, up to
  /// four parts, are channels of one convolution z:
  ///   y[n,o,i,j] = z[n, (g*P + p)*C' + o', (i + padding.h) / stride.h - first.h, (j + padding.w) / stride.w - first.w]
  /// with C' = C_out/groups, g = o / C', P = count.h*count.w, p = (q.h - begin.h)*count.w + q.w - begin.w.
  struct Part {
    std::shared_ptr<const Conv2d> conv;  ///< null: these phases see nothing, y is the bias
    Size2d begin = 0, count = 0;         ///< of the phases
    Size2d first = 0;
  };
  /// Empty for an axis with both a stride and a dilation.
  std::vector<Part> parts(const Shape& x) const;

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  FormatRule formats(std::span<const TensorSpec> in) const override;
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  double typical_size(std::span<const TensorView> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override {
    return sharing(std::make_shared<ConvTranspose2d>(in_channels_, out_channels_, kernel_, options_));
  }
  std::string_view type_name() const override { return "ConvTranspose2d"; }

 private:
  std::shared_ptr<const Conv2d> part_of(const Part& part, const Size2d& taps, const Padding2d& padding) const;

  std::int64_t in_channels_, out_channels_;
  Size2d kernel_;
  ConvTranspose2dOptions options_;
  Parameter weight_, bias_;
};

}  // namespace FRIEZE_API
