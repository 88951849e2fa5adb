#pragma once
/// One-dimensional convolution and transposed convolution.
#include <frieze/core/module.h>
#include <frieze/layers/pad/pad.h>

namespace frieze FRIEZE_API {

/// What is added at both ends; one number means both.
struct Padding1d {
  int left = 0, right = 0;
  constexpr Padding1d(int both) : left(both), right(both) {}  // NOLINT: implicit on purpose, so that options read `.padding = 1`
  constexpr Padding1d(int left, int right) : left(left), right(right) {}
  friend constexpr bool operator==(const Padding1d&, const Padding1d&) = default;
};

struct Conv1dOptions {
  int stride = 1;
  Padding1d padding = 0;  ///< -1 on both sides: PyTorch's "same", for odd kernels only
  int dilation = 1;
  int groups = 1;
  bool bias = true;
  PadMode padding_mode = PadMode::zeros;
};

/// y[n,o,i] = bias[o] + sum over c, k of weight[o,c,k] * x[n, g*C_in/groups + c, i*stride - padding.left + k*dilation]: a Conv2d of an
/// image one pixel high, between two reshapes that look at the same memory. x: [N,C_in,L] f32|f16|bf16; y: [N,C_out,L'], L' = floor((L +
/// padding.left + padding.right - dilation*(kernel-1) - 1) / stride) + 1. Parameters "weight" [C_out, C_in/groups, kernel] and "bias"
/// [C_out], the keys of nn.Conv1d. All else, errors too, as Conv2d. Source: PyTorch 2.x nn.Conv1d.
class Conv1d final : public Module {
 public:
  Conv1d(std::int64_t in_channels, std::int64_t out_channels, int kernel, Conv1dOptions options = {});
  const Parameter& weight() const { return weight_; }
  const Parameter& bias() const { return bias_; }

  using Module::forward;
  Value forward(Value x) const override;
  std::string_view type_name() const override { return "Conv1d"; }

 private:
  std::int64_t in_channels_, out_channels_;
  int kernel_;
  Conv1dOptions options_;
  Parameter weight_, bias_;
};

struct ConvTranspose1dOptions {
  int stride = 1, padding = 0, output_padding = 0, dilation = 1, groups = 1;
  bool bias = true;
};

/// A ConvTranspose2d of an image one pixel high, likewise: x [N,C_in,L], y [N,C_out,L'], L' = (L-1)*stride - 2*padding +
/// dilation*(kernel-1) + output_padding + 1. Parameters "weight" [C_in, C_out/groups, kernel] and "bias" [C_out].
/// Source: PyTorch 2.x nn.ConvTranspose1d.
class ConvTranspose1d final : public Module {
 public:
  ConvTranspose1d(std::int64_t in_channels, std::int64_t out_channels, int kernel, ConvTranspose1dOptions options = {});
  const Parameter& weight() const { return weight_; }
  const Parameter& bias() const { return bias_; }

  using Module::forward;
  Value forward(Value x) const override;
  std::string_view type_name() const override { return "ConvTranspose1d"; }

 private:
  std::int64_t in_channels_, out_channels_;
  int kernel_;
  ConvTranspose1dOptions options_;
  Parameter weight_, bias_;
};

}  // namespace FRIEZE_API
