#pragma once
/// A list of steps as one CUDA graph, with the facts checked that the rest of the library relies on.
#include <functional>
#include <string>
#include <vector>

#include <frieze/core/cuda/handles.h>
#include <frieze/graph/receipt.h>

namespace frieze::cuda {

/// What is captured: `enqueue(i)` puts step i on the stream that it is given; `path(i)` names it in errors; `builds_nodes(i)` is
/// Kernel::builds_nodes() of the step, false for all if it is not set.
struct CaptureSource {
  std::size_t steps = 0;
  std::function<void(std::size_t, cudaStream_t)> enqueue;
  std::function<std::string(std::size_t)> path;
  std::function<bool(std::size_t)> builds_nodes = nullptr;
};

struct CapturedGraph {
  Graph graph;
  std::vector<std::vector<cudaGraphNode_t>> nodes;  ///< of each step, in the order in which they were enqueued
  int attempts = 1;                                 ///< at a stream capture; 0: there was none
  int edges = 0, dependent_launches = 0;
  std::vector<ReceiptEdge> edge_list;  ///< numbers of nodes as they stand in `nodes`, one step after the other

  std::size_t node_count() const;
};

/// If all steps build nodes, the graph is made of these, and no other thread can disturb it. If one step calls a library, all are captured:
/// in thread-local mode under the process-wide lock, which is free between attempts. Both give the same nodes and edges. A capture that
/// another thread invalidated is tried again for up to kCaptureLimit (core/cuda/capture_window.h). Throws CaptureError, naming the step: a
/// call that is not allowed inside a capture, a step that enqueues nothing, a node that is neither kernel, memset nor memcpy, a copy from
/// or to pageable host memory, a branch that is not joined; or naming the other thread. Whatever happens, `stream` no longer captures
/// afterwards and can be used. `enqueue` may be called several times for a step.
CapturedGraph capture_steps(cudaStream_t stream, const CaptureSource& source);

/// One step's nodes as the receipt shows them.
std::vector<ReceiptNode> describe_nodes(const std::string& path, const std::vector<cudaGraphNode_t>& nodes);

struct InstantiatedGraph {
  GraphExec exec;
  std::int64_t driver_bytes = 0;  ///< device memory that the driver took for it, as far as it can be seen from outside
  double instantiate_ms = 0, upload_ms = 0;
};
/// Instantiates and uploads, then waits for `stream`. Throws CaptureError naming the node that could not be instantiated.
InstantiatedGraph instantiate(const CapturedGraph& captured, cudaStream_t stream, const CaptureSource& source);

}  // namespace frieze::cuda
