#pragma once
/// The kernel behind Repeat steps.
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include <frieze/core/cuda/kernel.h>
#include <frieze/graph/repeat.h>

namespace frieze::cuda {

/// A copy of a value of a loop's body, as one iteration makes it.
struct BodyTap {
  int value = -1;
  int iteration = 0;
  TensorView to;  ///< contiguous
};

/// What runs a loop.
class LoopKernel : public Kernel {
 public:
  /// Where launch() with the same arguments leaves a value of the body; what the last iteration was given too, if values are kept.
  virtual TensorView body_value(const LaunchArgs& args, int value) const = 0;
  /// As launch(), with copies behind the steps that make what is tapped.
  virtual void launch_tapped(const LaunchArgs& args, std::span<const BodyTap> taps, cudaStream_t stream) const = 0;
};

/// A loop's body becomes a WHILE node wherever a graph is made and the body builds nodes; else its steps are enqueued as often as it runs.
/// Bodies' intermediate values and the carried ones lie in the step's workspace. Throws CudaError, CaptureError naming the body's step.
std::unique_ptr<LoopKernel> make_repeat_kernel(const Repeat& loop, const PrepareArgs& args);

/// The kernel of any step of a plan: of a loop, of a conversion of formats, or from the registry. Throws as these do, naming the step.
std::unique_ptr<Kernel> prepare_step(const Step& step, const PrepareArgs& args);

/// `spec` as the step's kernel sees it: in the step's own format, which for a layout that both formats share may not be the value's.
TensorSpec seen_by(const Step& step, TensorSpec spec);
/// Values of a placed plan as the step's kernel sees them; `view` tells where a value lies.
std::vector<TensorView> seen_by(const Step& step, const Plan& plan, const std::vector<int>& values,
                                const std::function<TensorView(int)>& view);
/// The same before there is memory.
std::vector<TensorView> seen_by(const Step& step, const Plan& plan, const std::vector<int>& values);

}  // namespace frieze::cuda
