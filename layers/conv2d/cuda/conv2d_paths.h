#pragma once
/// Internal to Conv2d: the ways in which a convolution can run on the GPU. prepare() builds those that apply and keeps one.
#include <memory>
#include <vector>

#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/conv2d/cuda/conv2d_kernels.h>

namespace frieze::cuda {

/// What all paths of one convolution share; alive as long as any of them.
struct ConvProblem {
  ConvGeometry g;
  DType dtype = DType::f32;
  Format format = Format::nchw;  ///< nhwc also where both are the same memory
  ConvWeights weights;
  const void* depthwise_weights = nullptr;  ///< [taps, C], for depthwise convolutions only
};

class ConvPath {
 public:
  virtual ~ConvPath() = default;
  virtual void launch(const void* x, void* y, const EpilogueArgs& epilogue, void* workspace, cudaStream_t stream) const = 0;
  virtual std::size_t workspace_bytes() const { return 0; }
  virtual std::string describe() const = 0;
  virtual bool only_own_kernels() const { return true; }
};

/// One path or, if args.tune, every path that is worth timing; the first is the default. Throws CudaError.
std::vector<std::unique_ptr<ConvPath>> make_conv_paths(const ConvProblem& problem, const PrepareArgs& args);

}  // namespace frieze::cuda
