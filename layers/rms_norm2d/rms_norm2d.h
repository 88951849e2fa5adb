#pragma once
/// RMSNorm2d: root-mean-square normalisation over the channels of an image tensor, and everything that the checkpoints in
/// the wild put around it.
#include <optional>

#include <frieze/core/layer.h>

struct CUstream_st;
using cudaStream_t = CUstream_st*;

namespace frieze FRIEZE_API {

/// Where eps stands. ms = mean over C of x^2, norm = sqrt(sum over C of x^2).
enum class EpsMode : std::uint8_t {
  add_inside,         ///< x / sqrt(ms + eps); eps in units of x^2
  clamp_norm,         ///< x / max(norm, eps) * sqrt(C), as F.normalize does; eps in units of x
  clamp_mean_square,  ///< x / sqrt(max(ms, eps)); eps in units of x^2
  add_to_rms,         ///< x / (sqrt(ms) + eps); eps in units of x
  none,               ///< x / sqrt(ms); eps is not used
};
std::string_view name(EpsMode mode);
/// Throws OptionError on an unknown name.
EpsMode parse_eps_mode(std::string_view text);
/// 1e-12 for clamp_norm, as torch.nn.functional.normalize has it, else 1e-5.
double default_eps(EpsMode mode);

/// Where 16-bit results are rounded before the store, which always rounds; without effect in f32. Everything else is f32.
enum class Rounding : std::uint8_t {
  once,       ///< at the store only
  diffusers,  ///< after x*r, after *weight, after +bias (huggingface/diffusers RMSNorm)
  wan,        ///< after x/norm, after *sqrt(C), after *weight, after +bias (RMS_norm of the Wan VAE)
};
std::string_view name(Rounding rounding);
/// Throws OptionError on an unknown name.
Rounding parse_rounding(std::string_view text);

/// Where the residual, a second input of x's shape and type, is added.
enum class ResidualMode : std::uint8_t {
  none,
  before,  ///< activation(norm(x + residual)); the sum is rounded to the value type, as a separate addition would
  after,   ///< activation(norm(x)) + residual: the activation comes before the addition
};
std::string_view name(ResidualMode mode);
/// Throws OptionError on an unknown name.
ResidualMode parse_residual_mode(std::string_view text);

struct RMSNorm2dOptions {
  std::optional<double> eps = {};  ///< finite, not negative; by default default_eps(eps_mode)
  EpsMode eps_mode = EpsMode::add_inside;
  bool weight = true;
  bool bias = false;
  Rounding rounding = Rounding::once;
  Activation activation = Activation::none;
  ResidualMode residual = ResidualMode::none;
};

/// y[n,c,h,w] = activation(x * r[n,h,w] * weight[c] + bias[c]), r = 1/sqrt(mean over c of x^2 + eps) or as eps_mode says;
/// see ResidualMode for the second input.
/// x, residual, y: [N,C,H,W] f32|f16|bf16, one type and one format; y may be x or residual. weight (also read as "gamma" or
/// "g", and shaped [C,1,1], [1,C,1,1] or [C,1,1,1]) and bias: [C].
/// Sums in f32 on the GPU, in double in the reference. A pixel of zeros is normalised to zeros in every mode, also where
/// the formula divides 0 by 0; x^2 neither overflows nor underflows; NaN and Inf propagate as in the formula: a pixel
/// with an Inf gives NaN there and 0 elsewhere, a pixel with a NaN gives NaN.
/// Moves 2*N*C*H*W*sizeof(T) bytes (3 with a residual), about 4 flops an element.
/// Throws ShapeError if x is not rank 4, its C differs, or the residual's shape differs; DTypeError on mixed types;
/// OptionError if channels < 1 or eps is negative or not finite.
/// Source: arXiv:1910.07467; 2-D form mit-han-lab/efficientvit efficientvit/models/nn/triton_rms_norm.py; KernelBench level 1
/// problem 36; clamp_norm torch.nn.functional.normalize.
class RMSNorm2d final : public Layer {
 public:
  explicit RMSNorm2d(std::int64_t channels, RMSNorm2dOptions options = {});

  std::int64_t channels() const { return channels_; }
  const RMSNorm2dOptions& options() const { return options_; }
  const Parameter* weight() const { return options_.weight ? &weight_ : nullptr; }
  const Parameter* bias() const { return options_.bias ? &bias_ : nullptr; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  /// In any order that one pass can compute: an activation, an addition, an activation; one residual in all.
  std::size_t absorbs(std::span<const TensorSpec> in, std::span<const EpilogueOp> chain) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::any, .out = Strided::any};
  }
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<RMSNorm2d>(channels_, options_)); }
  std::string_view type_name() const override { return "RMSNorm2d"; }

 private:
  std::int64_t channels_;
  RMSNorm2dOptions options_;
  Parameter weight_, bias_;
};

/// What the direct call computes, and its device pointers besides x and y.
struct RMSNorm2dCall {
  std::optional<double> eps = {};  ///< finite, not negative; by default default_eps(eps_mode)
  EpsMode eps_mode = EpsMode::add_inside;
  Rounding rounding = Rounding::once;
  Activation activation = Activation::none;
  ResidualMode residual_mode = ResidualMode::none;
  const void* weight = nullptr;  ///< [C] contiguous, x's type; nullptr: none
  const void* bias = nullptr;    ///< [C] contiguous, x's type; nullptr: none
  TensorView residual;           ///< x's shape and type, any strides; read unless residual_mode is none
};

/// RMSNorm2d on device memory, without a model: the formula of the class above. x, y: [N,C,H,W], any strides (negative ones
/// too), any C; y may be exactly x or the residual, and must not overlap them otherwise, nor weight and bias. All of it is memory of
/// the current device, or managed: the driver is asked. Enqueues one kernel on `stream` of
/// the current device, allocates and synchronises nothing: anybody's stream capture may record it. The default configuration for
/// shape and device runs; nothing is tuned. Contiguous tensors are read once (how near to a copy: NOTES.md),
/// other strides, and channels beyond what registers hold, twice. Only in builds with CUDA.
/// Throws ShapeError, DTypeError or OptionError before anything is enqueued; CudaError if there is no device or the launch fails.
void rms_norm2d(const TensorView& x, const TensorView& y, const RMSNorm2dCall& call, cudaStream_t stream);

}  // namespace FRIEZE_API
