#pragma once
/// Internal to Conv2d: the ways in which a convolution can run on the GPU. prepare() keeps one.
#include <memory>
#include <string>
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
  ErrorBudget budget;                       ///< of the layer
};

class ConvPath {
 public:
  virtual ~ConvPath() = default;
  virtual void launch(const void* x, void* y, const EpilogueArgs& epilogue, void* workspace, cudaStream_t stream) const = 0;
  virtual std::size_t workspace_bytes() const { return 0; }
  virtual std::size_t weight_bytes() const { return 0; }  ///< of its own, besides the problem's
  virtual std::string describe() const = 0;
  virtual bool only_own_kernels() const { return true; }
};

/// Names of the ways that are our own or cuBLASLt's: the default alone or, if args.tune, first of all that are worth timing.
std::vector<std::string> conv_path_ids(const ConvProblem& problem, const PrepareArgs& args);
/// The path of that name. Throws CudaError.
std::unique_ptr<ConvPath> make_conv_path(const ConvProblem& problem, const PrepareArgs& args, const std::string& id);

/// How cuDNN is used, by the environment's FRIEZE_CUDNN: "off", "auto" (or unset), or "always", for tests: wherever it takes a convolution.
enum class CudnnUse { off, automatic, always };
CudnnUse cudnn_use();
/// Whether cuDNN is worth asking: built in, allowed, found on this machine, and the convolution one that it is good at.
bool cudnn_takes(const ConvProblem& problem, const PrepareArgs& args);
/// Its plans, named like `id`s here, best guess first; not checked. Throws CudaError.
struct NamedConvPath {
  std::string id;
  std::unique_ptr<ConvPath> path;
};
std::vector<NamedConvPath> make_cudnn_paths(const ConvProblem& problem, const PrepareArgs& args, std::size_t first, std::size_t most);
/// One of them again, from the cache's files if it is there; nullptr if cuDNN does not offer it.
std::unique_ptr<ConvPath> make_cudnn_path(const ConvProblem& problem, const PrepareArgs& args, const std::string& id);
/// Keeps what was compiled for a path of cuDNN's, so that the next process need not.
void remember_cudnn_path(const ConvProblem& problem, const PrepareArgs& args, const std::string& id, const ConvPath& path);
/// "cuDNN 9.14.0", of a machine where cudnn_takes() something.
std::string cudnn_version_text();

/// What runs, and why.
struct ConvChoice {
  std::unique_ptr<ConvPath> path;
  std::string why;  ///< " (fastest of 12)"
};
/// The default or, if args.tune, the fastest of all: remembered, or timed on scratch tensors. What cuDNN computes is compared with a path
/// of our own first. Throws CudaError.
ConvChoice choose_conv_path(const ConvProblem& problem, const PrepareArgs& args);

}  // namespace frieze::cuda
