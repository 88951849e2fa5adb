#pragma once
/// Internal to layers/rms_norm2d: from tensor views and options to what a kernel is launched with; shared by the layer's kernel and
/// the direct call.
#include <frieze/layers/rms_norm2d/cuda/rms_norm2d_kernels.h>

namespace frieze::cuda {

/// second(first(norm(x [+ residual])) [+ residual]).
struct NormOptions {
  double eps = 1e-5;
  EpsMode mode = EpsMode::add_inside;
  Rounding rounding = Rounding::once;
  Activation first = Activation::none, second = Activation::none;
  ResidualMode residual = ResidualMode::none;
};
NormFormula make_formula(const NormOptions& options, std::int64_t channels, DType dtype);

/// One launch, but for the configuration.
struct NormCall {
  NormArgs args;
  NormStrides strides;
  NormProblem problem;
};

/// x, y and, if not null, the residual: [N,C,H,W] of one shape and type, any strides. Tensors that are contiguous in both formats count
/// as `preferred`. Images that lie behind each other pixel by pixel (nhwc, a single channel, single pixels) become one image, so that
/// equal work is one problem.
NormCall make_norm_call(const TensorView& x, const TensorView& y, const TensorView* residual, const void* weight, const void* bias,
                        const NormFormula& formula, Format preferred, const DeviceInfo& device);

/// Strides of the problem's tensors, which are contiguous.
NormStrides contiguous_norm_strides(const NormProblem& problem);

/// The first of norm_candidates(), remembered: a call costs less than a microsecond after the first one for a problem.
NormConfig default_norm_config(const NormProblem& problem);

/// `device`, which is current, with the compute capability that the kernels' code it runs was compiled for: code for older ones, which a
/// newer device can run, knows no clusters. Throws CudaError.
DeviceInfo as_code_runs(DeviceInfo device);

/// Facts of the current device, as as_code_runs() says, read at the first call. Throws CudaError.
const DeviceInfo& known_device(int index);

}  // namespace frieze::cuda
