#pragma once
/// Taps of a captured session: a sibling of the production graph that differs from it by copy nodes alone.
#include <functional>
#include <map>
#include <span>
#include <vector>

#include <frieze/core/cuda/handles.h>
#include <frieze/graph/cuda/capture.h>
#include <frieze/graph/cuda/repeat.h>
#include <frieze/graph/executor.h>

namespace frieze::cuda {

/// Device memory for copies of some values, and the graph that fills it.
///
/// Measured against copy nodes in the production graph that are switched off (cudaGraphNodeSetEnabled): 40 of them made a
/// replay of 40 empty kernels 51.3 us long instead of 39.2 on an H100, 0.3 us each (switched on, 64 KiB each: 1.2 us), so that tapping
/// every value of a model would slow down everybody who taps none. A sibling costs production nothing, and the driver about 2 KB a node
/// while there are taps.
class Taps {
 public:
  struct Tapped {
    TapTarget target;
    std::size_t step = 0;  ///< behind which the value is there; the loop that makes it
    TensorView from;       ///< where it lies: in the arena, or a port; nothing for a value in a loop, which the loop's kernel knows
    TensorSpec spec;       ///< as what it is kept, contiguous
  };

  /// Memory for what is tapped, poisoned on `stream`. Throws CudaError.
  Taps(const std::vector<Tapped>& tapped, cudaStream_t stream);

  /// Captures `source`, which enqueues loops with inside(), with a copy of each tapped value behind its step. Throws CaptureError,
  /// CudaError.
  void capture(const CaptureSource& source, cudaStream_t stream);
  /// Addresses have changed: `from` says where a value of the plan lies now.
  void moved(const std::function<TensorView(int)>& from);
  /// How many copies stand behind `step`: nodes of the graph.
  std::size_t copies_behind(std::size_t step) const;
  /// Copies that the loop at `step` makes itself.
  std::span<const BodyTap> inside(std::size_t step) const;
  /// Enqueues the copies behind `step`.
  void enqueue(std::size_t step, cudaStream_t stream) const;
  void poison(cudaStream_t stream) const;

  bool captured() const { return static_cast<bool>(exec_); }
  cudaGraphExec_t exec() const { return exec_.get(); }
  const CapturedGraph& graph() const { return captured_; }
  const DeviceBuffer& memory(const TapTarget& target) const { return taps_.at(target).memory; }

 private:
  struct Tap {
    TensorView from;
    TensorSpec spec;
    DeviceBuffer memory;
  };
  std::map<TapTarget, Tap> taps_;
  std::map<std::size_t, std::vector<TapTarget>> of_step_;  // the plan's values that are there behind a step
  std::map<std::size_t, std::vector<BodyTap>> of_loop_;
  CapturedGraph captured_;
  GraphExec exec_;
};

/// What the driver knows of a kernel node: two with the same facts launch the same code over the same grid with the same
/// parameters.
struct KernelFacts {
  const void* function = nullptr;
  unsigned grid[3] = {0, 0, 0}, block[3] = {0, 0, 0};
  unsigned shared_bytes = 0;
  std::vector<std::byte> parameters;  ///< one behind the other; empty where the driver does not tell
  bool same_launch(const KernelFacts& other) const;
};
/// Throws CudaError.
KernelFacts kernel_facts(cudaGraphNode_t node);

/// Throws CaptureError naming the first step whose nodes in the graph of `taps` are not those of `production`, in number, kind, kernel and
/// launch shape, followed by as many as there are copies behind the step; the copies that an unrolled loop makes stand between its nodes.
/// Parameters are not compared: structures among them may hold undefined padding.
void check_only_copies_added(const CapturedGraph& production, const Taps& taps, const CaptureSource& source);

}  // namespace frieze::cuda
