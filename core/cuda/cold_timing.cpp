#include <frieze/core/cuda/cold_timing.h>

#include <algorithm>
#include <limits>
#include <utility>

#include <frieze/core/cuda/capture_window.h>
#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/graph_nodes.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/integers.h>

namespace frieze::cuda {
namespace {

// Empty if the capture was invalidated.
Graph try_capture(cudaStream_t stream, const std::function<void(cudaStream_t)>& enqueue) {
  CaptureWindow window(stream);
  try {
    enqueue(stream);
  } catch (const CudaError& e) {
    if (is_forbidden_in_captures(e.code()) || (e.code() != cudaErrorStreamCaptureInvalidated && window.is_active())) throw;
    return Graph();
  }
  auto [status, graph] = window.end();
  if (status != cudaErrorStreamCaptureInvalidated) CUDA_CHECK(status);
  return std::move(graph);
}

Graph build_graph(cudaStream_t stream, const std::function<void(cudaStream_t)>& enqueue) {
  cudaGraph_t graph = nullptr;
  CUDA_CHECK(cudaGraphCreate(&graph, 0));
  Graph owned(graph);
  GraphNodes nodes(graph);
  const RecordNodes scope(nodes);
  enqueue(stream);
  return owned;
}

GraphExec capture_launches(cudaStream_t stream, const ColdCandidate& candidate, int buffers, int launches) {
  const auto enqueue_all = [&](cudaStream_t s) {
    for (int i = 0; i < launches; ++i) candidate.enqueue(i % buffers, s);
  };
  Graph graph = candidate.builds_nodes ? build_graph(stream, enqueue_all) : try_capture(stream, enqueue_all);
  for (CaptureRetries retries; !graph; graph = try_capture(stream, enqueue_all)) {
    check<CudaError>(!invalidates_captures(stream, [&](cudaStream_t s) { candidate.enqueue(0, s); }),
                     "a launch to be timed makes a call that is not allowed inside a capture");
    if (!retries.again()) throw CaptureError(retries.text());
  }
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
  const BesideCaptures scope;
  const int launches = round_up(launches_per_graph, buffers);
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
