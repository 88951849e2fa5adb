#pragma once
/// Layers with CUDA kernels for tests of the capture: one that behaves, and one that breaks a rule of choice.
#include <atomic>

#include "graph/test_layers.h"

#if FRIEZE_WITH_CUDA
#include <cuda_runtime_api.h>
#endif

namespace frieze::test {

/// What the kernel of a Faulty layer does besides or instead of y = 3 * x.
enum class Fault {
  none,
  // Calls that a capture must not hold. Outside a capture each of them works.
  malloc_async,
  host_function,
  pageable_copy,
  malloc,
  unchecked_malloc,
  synchronise,
  other_stream,
  nothing,
  open_fork,
  invalidated_once,    // another thread synchronises the device while the first capture is open
  invalidated_always,  // … while every capture is open
  // Wrong results.
  drops_last_channel,
  misses_border,     // the last column of each row keeps what was there
  reads_stale,       // adds what the workspace held before
  truncates,         // rounds towards zero at the store
  unsynchronised,    // reads from shared memory what another warp has not written yet
  traps_on_nan,      // the device fails for good if the first input is NaN
  counts_launches,   // adds how often the device ran it
  frozen_after_two,  // from the third launch of this kernel on, nothing is written; a graph replays what was captured
};

/// y = 3 * x, nchw, f32|f16|bf16.
class Faulty final : public Layer {
 public:
  explicit Faulty(Fault fault) : fault_(fault) {}
  Fault fault() const { return fault_; }

  Inferred infer(std::span<const TensorSpec> in) const override {
    check_inputs(type_name(), in, 1);
    check_image(type_name(), in[0]);
    return elementwise_cost(in, {in[0].shape, in[0].dtype}, 1);
  }
  void reference(const ReferenceArgs& args) const override {
    const std::vector<float> x = to_floats(args.in[0]);
    std::vector<double> y(x.begin(), x.end());
    for (double& v : y) v *= 3;
    from_doubles(y, args.out[0]);
  }
  FormatRule formats(std::span<const TensorSpec>) const override { return nchw_only(); }
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 1, .terms = 0}; }
  std::string_view type_name() const override { return "Faulty"; }

 private:
  Fault fault_;
};

/// A layer without any kernel.
class NoKernel final : public Layer {
 public:
  Inferred infer(std::span<const TensorSpec> in) const override { return elementwise_cost(in, {in[0].shape, in[0].dtype}, 1); }
  void reference(const ReferenceArgs& args) const override { from_floats(to_floats(args.in[0]), args.out[0]); }
  std::string_view type_name() const override { return "NoKernel"; }
};

#if FRIEZE_WITH_CUDA
/// Registers the kernels of Times and Faulty. Call it before a test's first compile(); more than once does no harm.
void register_test_kernels();
/// One kernel that does nothing.
void launch_empty(cudaStream_t stream);
/// A kernel that keeps `stream` busy for about `microseconds`.
void launch_busy(cudaStream_t stream, int microseconds);
#endif

}  // namespace frieze::test
