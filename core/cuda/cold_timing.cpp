#include <frieze/core/cuda/cold_timing.h>

#include <algorithm>
#include <limits>
#include <utility>

#include <frieze/core/cuda/capture_lock.h>
#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>

namespace frieze::cuda {
namespace {

constexpr int kAttempts = 3;

// One capture; an empty graph if it was invalidated, as another thread that synchronises the device can do in every mode. On the
// `last` attempt an invalidated capture throws what it met.
template <class Body>
Graph try_capture(cudaStream_t stream, bool last, Body&& body) {
  const auto one_at_a_time = lock_captures();
  CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  cudaGraph_t raw = nullptr;
  try {
    body();
  } catch (...) {
    const cudaError_t status = cudaStreamEndCapture(stream, &raw);
    (void)cudaGetLastError();  // or the next launch check would see it
    const Graph drop(status == cudaSuccess ? raw : nullptr);
    if (status == cudaErrorStreamCaptureInvalidated && !last) return Graph();
    throw;
  }
  const cudaError_t status = cudaStreamEndCapture(stream, &raw);
  if (status == cudaErrorStreamCaptureInvalidated && !last) return (void)cudaGetLastError(), Graph();
  CUDA_CHECK(status);
  return Graph(raw);
}

GraphExec capture_launches(cudaStream_t stream, const ColdCandidate& candidate, int buffers, int launches) {
  const auto enqueue_all = [&] {
    for (int i = 0; i < launches; ++i) candidate.enqueue(i % buffers, stream);
  };
  Graph graph;
  for (int left = kAttempts; left > 0 && !graph; --left) graph = try_capture(stream, left == 1, enqueue_all);
  std::size_t nodes = 0;
  CUDA_CHECK(cudaGraphGetNodes(graph.get(), nullptr, &nodes));
  check<CudaError>(nodes >= static_cast<std::size_t>(launches), "only ", nodes, " nodes captured of ", launches, " launches to time");
  cudaGraphExec_t exec = nullptr;
  CUDA_CHECK(cudaGraphInstantiate(&exec, graph.get(), 0));
  GraphExec owned(exec);
  CUDA_CHECK(cudaGraphUpload(exec, stream));
  return owned;
}

}  // namespace

std::vector<std::vector<double>> time_cold_rounds(cudaStream_t stream, std::span<const ColdCandidate> candidates, int buffers, int rounds,
                                                  int launches_per_graph) {
  check<CudaError>(!candidates.empty(), "nothing to time");
  check<CudaError>(buffers >= 1 && rounds >= 1 && launches_per_graph >= 1, "timing needs at least one buffer, round and launch, got ",
                   buffers, ", ", rounds, " and ", launches_per_graph);
  const int launches = (launches_per_graph + buffers - 1) / buffers * buffers;
  std::vector<GraphExec> graphs;
  for (const ColdCandidate& candidate : candidates) {
    candidate.enqueue(0, stream);  // the first run loads modules
    CUDA_CHECK(cudaStreamSynchronize(stream));
    graphs.push_back(capture_launches(stream, candidate, buffers, launches));
  }
  const Event start = make_event(true), stop = make_event(true);
  std::vector<std::vector<double>> times(candidates.size());
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < graphs.size(); ++i) {
      CUDA_CHECK(cudaGraphLaunch(graphs[i].get(), stream));
      CUDA_CHECK(cudaEventRecord(start.get(), stream));
      CUDA_CHECK(cudaGraphLaunch(graphs[i].get(), stream));
      CUDA_CHECK(cudaEventRecord(stop.get(), stream));
      CUDA_CHECK(cudaEventSynchronize(stop.get()));
      float ms = 0;
      CUDA_CHECK(cudaEventElapsedTime(&ms, start.get(), stop.get()));
      times[i].push_back(1000 * static_cast<double>(ms) / launches);
    }
  }
  return times;
}

std::vector<double> time_cold(cudaStream_t stream, std::span<const ColdCandidate> candidates, int buffers, int rounds,
                              int launches_per_graph) {
  std::vector<double> medians;
  for (std::vector<double>& times : time_cold_rounds(stream, candidates, buffers, rounds, launches_per_graph)) {
    medians.push_back(median(std::move(times)));
  }
  return medians;
}

int cold_buffers(std::size_t bytes, std::size_t l2_bytes) {
  constexpr std::size_t kAtLeast = 3;
  const std::size_t needed = 2 * l2_bytes / std::max<std::size_t>(bytes, 1) + 1;
  return static_cast<int>(std::clamp(needed, kAtLeast, static_cast<std::size_t>(std::numeric_limits<int>::max())));
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace frieze::cuda
