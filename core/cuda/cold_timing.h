#pragma once
/// Timing of launches that find their data in memory, not in the L2 cache: what a model sees, and what a copy is timed by.
#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

namespace frieze::cuda {

/// Enqueues one launch, on tensors of its own for each `buffer`, 0 to buffers - 1. It must be fit for a capture.
struct ColdCandidate {
  std::function<void(int buffer, cudaStream_t stream)> enqueue;
  bool builds_nodes = false;  ///< as Kernel::builds_nodes(): the graph is made without a capture
};

/// Microseconds per launch, one number a round, for each candidate. The launches of a candidate are captured into one graph, going
/// through the buffers in turn: at least launches_per_graph of them, rounded up to whole turns, so that no buffer is met again before
/// all others were. The candidates are visited in turn in each round, because a GPU under load slows down within milliseconds. A replay
/// is timed by events behind another replay of the same graph, which keeps the device busy while the host enqueues: the host's time is
/// not in the numbers, the time between two dependent nodes of a graph is.
/// For cold caches, callers take cold_buffers(). Waits for `stream`, which must not be capturing. Throws CaptureError if other
/// threads invalidate its captures for kCaptureLimit (core/cuda/capture_window.h); CudaError, also if there is no candidate, or if buffers,
/// rounds or launches_per_graph are not at least 1.
std::vector<std::vector<double>> time_cold_rounds(cudaStream_t stream, std::span<const ColdCandidate> candidates, int buffers, int rounds,
                                                  int launches_per_graph);

/// The median round of each candidate.
std::vector<double> time_cold(cudaStream_t stream, std::span<const ColdCandidate> candidates, int buffers, int rounds,
                              int launches_per_graph);

/// How many buffers of `bytes` each exceed twice the L2 cache, at least 3.
int cold_buffers(std::size_t bytes, std::size_t l2_bytes);

/// The middle value; the lower one of an even number. 0 of none.
double median(std::vector<double> values);

}  // namespace frieze::cuda
