#pragma once
/// Graph nodes that are built without a stream capture.
///
/// A capture is broken by any thread of the program that synchronises the device, and driver 580 can crash in such a thread while captures
/// begin and end beside it. So what this library enqueues itself becomes a graph by cudaGraphAddNode: while a thread records,
/// launch_kernel() and enqueue_copy() add nodes and enqueue nothing. Only calls of cuBLASLt and cuDNN are captured (capture_window.h).
#include <cuda_runtime_api.h>

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include <frieze/core/api.h>

namespace frieze FRIEZE_API {
namespace cuda {

/// A launch with more to say than grid and block.
struct LaunchShape {
  dim3 grid, block;
  std::size_t shared_bytes = 0;
  int cluster = 1;         ///< blocks of a cluster, along x; more than 1 needs sm_90
  bool dependent = false;  ///< the kernel calls pdl_wait() before it touches what earlier work wrote or reads
};

/// Adds nodes to a graph, each after the one before, as one stream would order them.
class GraphNodes {
 public:
  /// The first node comes after all of `after`. The graph must outlive this.
  explicit GraphNodes(cudaGraph_t graph, std::vector<cudaGraphNode_t> after = {}) : graph_(graph), after_(std::move(after)) {}

  /// `arguments`: a pointer to each; their values are copied. A dependent launch gets a programmatic edge if the node before is a kernel.
  /// Throws CudaError.
  void add_kernel(const void* kernel_function, const LaunchShape& shape, void** arguments);
  /// A copy from device to device. Throws CudaError.
  void add_copy(void* to, const void* from, std::size_t bytes);
  /// A WHILE node, which runs its body once and then again as long as the body's last kernel sets the condition by
  /// cudaGraphSetConditional(). Add nodes to the body before the graph is instantiated. Throws CudaError.
  struct Loop {
    cudaGraph_t body;
    cudaGraphConditionalHandle condition;
  };
  Loop add_loop();

  /// The nodes since the last call, in order.
  std::vector<cudaGraphNode_t> take_added() { return std::exchange(added_, {}); }
  /// What the next node comes after.
  std::span<const cudaGraphNode_t> after() const { return after_; }

 private:
  void added(cudaGraphNode_t node);
  cudaGraph_t graph_;
  std::vector<cudaGraphNode_t> after_, added_;
};

/// While it lives, what this thread enqueues by launch_kernel() and enqueue_copy() goes into `nodes`. Scopes nest.
class RecordNodes {
 public:
  explicit RecordNodes(GraphNodes& nodes) noexcept;
  RecordNodes(const RecordNodes&) = delete;
  RecordNodes& operator=(const RecordNodes&) = delete;
  ~RecordNodes();

 private:
  GraphNodes* before_;
};

/// What this thread records into, or nullptr.
GraphNodes* recorded_nodes() noexcept;

/// cudaMemcpyAsync from device to device, or a node of its kind. Throws CudaError.
void enqueue_copy(void* to, const void* from, std::size_t bytes, cudaStream_t stream);

}  // namespace cuda
}  // namespace FRIEZE_API
