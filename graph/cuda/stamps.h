#pragma once
/// The time of each step inside a replay: a sibling of the captured graph, equal but for one-thread kernels at the borders that store
/// the device's clock. Chosen over event nodes by measurement (H100, chains of 64: 1.0 us a stamp, 1.3 us an event node, which also
/// takes 1.7 us of the host's time); a profiler's instrumentation doubles the time of small kernels.
#include <cstdint>
#include <functional>

#include <frieze/graph/cuda/capture.h>
#include <frieze/graph/step_times.h>

namespace frieze::cuda {

/// Enqueues a kernel of one thread that stores %globaltimer (nanoseconds) to `to`.
void stamp(std::uint64_t* to, cudaStream_t stream);

/// Captures `source` with a stamp at each border, and replays that in turn with `run`, which enqueues the graph as it is for users; each
/// follows the other without a pause, so that caches and clocks are those of a busy device. What a stamp costs, and the way from one
/// replay to the next, are measured in a graph of stamps only. Waits for `stream`. Throws CaptureError, CudaError.
StepTimes time_steps(const CaptureSource& source, const std::function<void(cudaStream_t)>& run, int rounds, cudaStream_t stream);

}  // namespace frieze::cuda
