#include <frieze/graph/cuda/capture.h>

#include <algorithm>
#include <chrono>
#include <unordered_map>
#include <unordered_set>

#include <frieze/core/cuda/capture_lock.h>
#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/fault.h>

namespace frieze::cuda {
namespace {

// The capture was invalidated, perhaps by another thread; worth another try.
class Invalidated : public CaptureError {
  using CaptureError::CaptureError;
};

// The driver refused to end the capture.
class NotEnded : public CaptureError {
  using CaptureError::CaptureError;
};

std::vector<cudaGraphNode_t> dependencies(cudaGraphNode_t node) {
  std::size_t count = 0;
#if CUDART_VERSION >= 13000
  CUDA_CHECK(cudaGraphNodeGetDependencies(node, nullptr, nullptr, &count));
  std::vector<cudaGraphNode_t> out(count);
  std::vector<cudaGraphEdgeData> edges(count);
  if (count > 0) CUDA_CHECK(cudaGraphNodeGetDependencies(node, out.data(), edges.data(), &count));
#else
  CUDA_CHECK(cudaGraphNodeGetDependencies_v2(node, nullptr, nullptr, &count));
  std::vector<cudaGraphNode_t> out(count);
  std::vector<cudaGraphEdgeData> edges(count);
  if (count > 0) CUDA_CHECK(cudaGraphNodeGetDependencies_v2(node, out.data(), edges.data(), &count));
#endif
  return out;
}

struct CaptureTail {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  std::vector<cudaGraphNode_t> nodes;  // what the next call would depend on
};

CaptureTail capture_tail(cudaStream_t stream) {
  CaptureTail tail;
  cudaGraph_t graph = nullptr;
  const cudaGraphNode_t* nodes = nullptr;
  const cudaGraphEdgeData* edges = nullptr;
  std::size_t count = 0;
#if CUDART_VERSION >= 13000
  const cudaError_t status = cudaStreamGetCaptureInfo(stream, &tail.status, nullptr, &graph, &nodes, &edges, &count);
#else
  const cudaError_t status = cudaStreamGetCaptureInfo_v3(stream, &tail.status, nullptr, &graph, &nodes, &edges, &count);
#endif
  if (status != cudaSuccess) {
    (void)cudaGetLastError();
    tail.status = cudaStreamCaptureStatusInvalidated;
  }
  if (tail.status == cudaStreamCaptureStatusActive) tail.nodes.assign(nodes, nodes + count);
  return tail;
}

// Ends the capture on every way out, so that the stream stays usable; the graph of a failed capture is dropped.
class OpenCapture {
 public:
  explicit OpenCapture(cudaStream_t stream) : stream_(stream) {
    CUDA_CHECK_AT("cudaStreamBeginCapture", cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  }
  OpenCapture(const OpenCapture&) = delete;
  OpenCapture& operator=(const OpenCapture&) = delete;
  ~OpenCapture() {
    if (stream_ != nullptr) (void)end();
  }

  std::pair<cudaError_t, Graph> end() noexcept {
    cudaGraph_t graph = nullptr;
    const cudaError_t status = cudaStreamEndCapture(std::exchange(stream_, nullptr), &graph);
    (void)cudaGetLastError();  // or the next launch check would see it
    return {status, Graph(status == cudaSuccess ? graph : nullptr)};
  }

 private:
  cudaStream_t stream_;
};

// The nodes behind `tails` that are not in `seen` yet, oldest first; adds them to `seen`.
std::vector<cudaGraphNode_t> new_nodes(const std::vector<cudaGraphNode_t>& tails, std::unordered_set<cudaGraphNode_t>& seen) {
  std::vector<cudaGraphNode_t> found;
  for (const cudaGraphNode_t tail : tails) {
    if (seen.insert(tail).second) found.push_back(tail);
  }
  for (std::size_t i = 0; i < found.size(); ++i) {
    for (const cudaGraphNode_t node : dependencies(found[i])) {
      if (seen.insert(node).second) found.push_back(node);
    }
  }
  std::reverse(found.begin(), found.end());
  return found;
}

bool pageable(const void* pointer) {
  cudaPointerAttributes attributes{};
  if (cudaPointerGetAttributes(&attributes, pointer) != cudaSuccess) {
    (void)cudaGetLastError();
    return true;
  }
  return attributes.type == cudaMemoryTypeUnregistered;
}

// One line on what is wrong with a node, or nothing.
std::string objection(cudaGraphNode_t node) {
  cudaGraphNodeType type{};
  CUDA_CHECK(cudaGraphNodeGetType(node, &type));
  switch (type) {
    case cudaGraphNodeTypeKernel:
    case cudaGraphNodeTypeMemset: return {};
    case cudaGraphNodeTypeMemcpy: {
      cudaMemcpy3DParms copy{};
      // A copy node of another kind (to a symbol, say) has no such parameters, and device memory at both ends.
      if (cudaGraphMemcpyNodeGetParams(node, &copy) != cudaSuccess) return (void)cudaGetLastError(), std::string();
      if (copy.srcPtr.ptr != nullptr && pageable(copy.srcPtr.ptr)) return "copies from pageable host memory";
      if (copy.dstPtr.ptr != nullptr && pageable(copy.dstPtr.ptr)) return "copies to pageable host memory";
      return {};
    }
    case cudaGraphNodeTypeHost: return "enqueues a host function";
    case cudaGraphNodeTypeMemAlloc: return "allocates (cudaMallocAsync makes a memory node)";
    case cudaGraphNodeTypeMemFree: return "frees memory (cudaFreeAsync makes a memory node)";
    default:
      return concat_text("enqueues a node of kind ", static_cast<int>(type), "; only kernels, memsets and device copies are allowed");
  }
}

void capture_step(const CaptureSource& source, std::size_t i, cudaStream_t stream) {
  try {
    source.enqueue(i, stream);
  } catch (const CudaError& e) {
    const std::string text = source.path(i) + ": not allowed inside a capture: " + e.what();
    if (e.code() == cudaErrorStreamCaptureInvalidated) throw Invalidated(text);
    throw CaptureError(text);
  }
}

CapturedGraph attempt(cudaStream_t stream, const CaptureSource& source) {
  CapturedGraph out;
  out.nodes.resize(source.steps);
  std::unordered_set<cudaGraphNode_t> seen;
  OpenCapture capture(stream);
  for (std::size_t i = 0; i < source.steps; ++i) {
    capture_step(source, i, stream);
    const CaptureTail tail = capture_tail(stream);
    if (tail.status != cudaStreamCaptureStatusActive) {
      throw Invalidated(source.path(i) +
                        ": the capture was invalidated, by a call of this step that is not allowed inside a capture or by another thread "
                        "that synchronised the device");
    }
    out.nodes[i] = new_nodes(tail.nodes, seen);
    check<CaptureError>(!out.nodes[i].empty(), source.path(i), ": enqueued nothing on the stream that it was given");
    for (const cudaGraphNode_t node : out.nodes[i]) {
      const std::string wrong = objection(node);
      check<CaptureError>(wrong.empty(), source.path(i), ": ", wrong, ", which a captured graph must not");
    }
  }
  auto [status, graph] = capture.end();
  if (status == cudaErrorStreamCaptureInvalidated) throw Invalidated("the capture was invalidated at its end");
  check<NotEnded>(status == cudaSuccess, "the capture could not be ended: ", cudaGetErrorString(status));
  std::size_t count = 0;
  CUDA_CHECK(cudaGraphGetNodes(graph.get(), nullptr, &count));
  check<CaptureError>(count == seen.size(), "the graph holds ", count, " nodes, but its steps enqueued ", seen.size());
  out.graph = std::move(graph);
  return out;
}

void count_edges(CapturedGraph& captured) {
  std::size_t count = 0;
#if CUDART_VERSION >= 13000
  CUDA_CHECK(cudaGraphGetEdges(captured.graph.get(), nullptr, nullptr, nullptr, &count));
#else
  CUDA_CHECK(cudaGraphGetEdges_v2(captured.graph.get(), nullptr, nullptr, nullptr, &count));
#endif
  captured.edges = static_cast<int>(count);
  if (count == 0) return;
  std::vector<cudaGraphNode_t> from(count), to(count);
  std::vector<cudaGraphEdgeData> data(count);
#if CUDART_VERSION >= 13000
  CUDA_CHECK(cudaGraphGetEdges(captured.graph.get(), from.data(), to.data(), data.data(), &count));
#else
  CUDA_CHECK(cudaGraphGetEdges_v2(captured.graph.get(), from.data(), to.data(), data.data(), &count));
#endif
  captured.dependent_launches = static_cast<int>(
      std::count_if(data.begin(), data.end(), [](const cudaGraphEdgeData& e) { return e.type == cudaGraphDependencyTypeProgrammatic; }));
  std::unordered_map<cudaGraphNode_t, int> index;
  for (const auto& step : captured.nodes) {
    for (const cudaGraphNode_t node : step) index.emplace(node, static_cast<int>(index.size()));
  }
  for (std::size_t i = 0; i < count; ++i) {
    captured.edge_list.push_back({index.at(from[i]), index.at(to[i]), data[i].type == cudaGraphDependencyTypeProgrammatic});
  }
}

// A failure that shows only at the end (a branch that is not joined) is blamed on the first step that fails by itself.
std::string find_culprit(cudaStream_t stream, const CaptureSource& source) {
  for (std::size_t i = 0; i < source.steps; ++i) {
    const CaptureSource one{1, [&](std::size_t, cudaStream_t s) { source.enqueue(i, s); }, [&](std::size_t) { return source.path(i); }};
    try {
      (void)attempt(stream, one);
    } catch (const Error&) {
      return source.path(i);
    }
  }
  return "the model";
}

}  // namespace

CapturedGraph capture_steps(cudaStream_t stream, const CaptureSource& source) {
  constexpr int kAttempts = 3;
  check<CaptureError>(source.steps > 0, "the plan has no steps: there is nothing to capture");
  const auto lock = lock_captures();
  for (int tried = 1;; ++tried) {
    try {
      CapturedGraph captured = attempt(stream, source);
      captured.attempts = tried;
      count_edges(captured);
      return captured;
    } catch (const Invalidated& e) {
      if (tried == kAttempts) throw CaptureError(concat_text(e.what(), " (", kAttempts, " attempts)"));
    } catch (const NotEnded& e) {
      throw CaptureError(find_culprit(stream, source) + ": " + e.what());
    }
  }
}

InstantiatedGraph instantiate(const CapturedGraph& captured, cudaStream_t stream, const CaptureSource& source) {
  std::size_t before = 0, after = 0, total = 0;
  CUDA_CHECK(cudaMemGetInfo(&before, &total));
  const auto ms_since = [](std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  };
  const auto began = std::chrono::steady_clock::now();
  cudaGraphInstantiateParams params{};
  cudaGraphExec_t exec = nullptr;
  const cudaError_t status =
      fails_here("cudaGraphInstantiate") ? cudaErrorMemoryAllocation : cudaGraphInstantiateWithParams(&exec, captured.graph.get(), &params);
  if (status != cudaSuccess) {
    (void)cudaGetLastError();
    std::string where = "the model";
    for (std::size_t i = 0; i < captured.nodes.size(); ++i) {
      if (std::find(captured.nodes[i].begin(), captured.nodes[i].end(), params.errNode_out) != captured.nodes[i].end())
        where = source.path(i);
    }
    throw CaptureError(concat_text(where, ": the captured graph could not be instantiated: ", cudaGetErrorString(status)));
  }
  InstantiatedGraph out{GraphExec(exec)};
  out.instantiate_ms = ms_since(began);
  const auto instantiated = std::chrono::steady_clock::now();
  CUDA_CHECK(cudaGraphUpload(exec, stream));
  CUDA_CHECK(cudaStreamSynchronize(stream));
  out.upload_ms = ms_since(instantiated);
  CUDA_CHECK(cudaMemGetInfo(&after, &total));
  out.driver_bytes = before > after ? static_cast<std::int64_t>(before - after) : 0;
  return out;
}

}  // namespace frieze::cuda
