#include <frieze/graph/cuda/capture.h>

#include <algorithm>
#include <chrono>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include <frieze/core/cuda/capture_window.h>
#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/fault.h>
#include <frieze/core/cuda/graph_nodes.h>
#include <frieze/core/cuda/stream_capture.h>

namespace frieze::cuda {
namespace {

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

// What each step left as the nodes that the next call would depend on. Handles only: an open capture's nodes are not looked at, since
// another thread may invalidate it at any time, whereupon the driver frees them. They are good once the capture has ended well.
class StepTails {
 public:
  explicit StepTails(std::size_t steps) {
    ends_.reserve(steps);
    nodes_.reserve(2 * steps);
  }
  // False if the capture is no longer active.
  bool add(cudaStream_t stream) {
    StreamCapture capture;
    if (find_stream_capture(stream, capture) != cudaSuccess || !capture.active()) return false;
    nodes_.insert(nodes_.end(), capture.after.begin(), capture.after.end());
    ends_.push_back(nodes_.size());
    return true;
  }
  std::span<const cudaGraphNode_t> of(std::size_t step) const {
    const std::size_t begin = step == 0 ? 0 : ends_[step - 1];
    return std::span(nodes_).subspan(begin, ends_[step] - begin);
  }

 private:
  std::vector<cudaGraphNode_t> nodes_;
  std::vector<std::size_t> ends_;
};

// The nodes behind `tails` that are not in `seen` yet, oldest first; adds them to `seen`.
std::vector<cudaGraphNode_t> new_nodes(std::span<const cudaGraphNode_t> tails, std::unordered_set<cudaGraphNode_t>& seen) {
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
    case cudaGraphNodeTypeConditional:  // a loop's, whose body we built
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

// How an attempt went that gave no error of the step's own.
struct Attempt {
  enum class End { whole, invalidated, not_ended } end = End::whole;
  std::size_t step = 0;  // invalidated: where it showed
  cudaError_t status = cudaSuccess;
  CapturedGraph graph;
};

// Throws CaptureError for what a captured graph must not hold.
void check_nodes(const std::vector<cudaGraphNode_t>& nodes, const std::string& path) {
  check<CaptureError>(!nodes.empty(), path, ": enqueued nothing on the stream that it was given");
  for (const cudaGraphNode_t node : nodes) {
    const std::string wrong = objection(node);
    check<CaptureError>(wrong.empty(), path, ": ", wrong, ", which a captured graph must not");
  }
}

// The nodes of each step, out of a capture that ended well.
void assign_nodes(CapturedGraph& captured, const StepTails& tails, const CaptureSource& source) {
  captured.nodes.resize(source.steps);
  std::unordered_set<cudaGraphNode_t> seen;
  for (std::size_t i = 0; i < source.steps; ++i) {
    captured.nodes[i] = new_nodes(tails.of(i), seen);
    check_nodes(captured.nodes[i], source.path(i));
  }
  std::size_t count = 0;
  CUDA_CHECK(cudaGraphGetNodes(captured.graph.get(), nullptr, &count));
  check<CaptureError>(count == seen.size(), "the graph holds ", count, " nodes, but its steps enqueued ", seen.size());
}

Attempt attempt(cudaStream_t stream, const CaptureSource& source) {
  Attempt out;
  StepTails tails(source.steps);
  {
    CaptureWindow window(stream);
    std::size_t i = 0;
    try {
      while (i < source.steps && (source.enqueue(i, stream), tails.add(stream))) ++i;
    } catch (const CudaError& e) {
      // Others' doing shows as an invalidated capture, of which libraries tell in their own words.
      const bool own = is_forbidden_in_captures(e.code()) || (e.code() != cudaErrorStreamCaptureInvalidated && window.is_active());
      check<CaptureError>(!own, source.path(i), ": not allowed inside a capture: ", e.what());
    }
    auto [status, graph] = window.end();
    out.status = status;
    out.graph.graph = std::move(graph);
    out.step = std::min(i, source.steps - 1);
    if (i < source.steps || status == cudaErrorStreamCaptureInvalidated) out.end = Attempt::End::invalidated;
  }
  if (out.end == Attempt::End::invalidated) return out;
  if (out.status != cudaSuccess) {
    out.end = Attempt::End::not_ended;
    return out;
  }
  assign_nodes(out.graph, tails, source);
  return out;
}

bool all_build_nodes(const CaptureSource& source) {
  for (std::size_t i = 0; i < source.steps; ++i) {
    if (!source.builds_nodes || !source.builds_nodes(i)) return false;
  }
  return true;
}

CapturedGraph build_nodes(cudaStream_t stream, const CaptureSource& source) {
  CapturedGraph built;
  cudaGraph_t graph = nullptr;
  CUDA_CHECK_AT("cudaGraphCreate", cudaGraphCreate(&graph, 0));
  built.graph = Graph(graph);
  built.attempts = 0;
  built.nodes.resize(source.steps);
  GraphNodes nodes(graph);
  const RecordNodes scope(nodes);
  for (std::size_t i = 0; i < source.steps; ++i) {
    try {
      source.enqueue(i, stream);
    } catch (const CudaError& e) {
      throw CaptureError(concat_text(source.path(i), ": its graph nodes could not be built: ", e.what()));
    }
    built.nodes[i] = nodes.take_added();
    check_nodes(built.nodes[i], source.path(i));
  }
  return built;
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

// A failure that shows only at the end (a branch that is not joined) is blamed on the first step that fails so by itself.
std::string find_culprit(cudaStream_t stream, const CaptureSource& source) {
  for (std::size_t i = 0; i < source.steps; ++i) {
    const CaptureSource one{1, [&](std::size_t, cudaStream_t s) { source.enqueue(i, s); }, [&](std::size_t) { return source.path(i); }};
    try {
      for (CaptureRetries retries;;) {
        const Attempt::End end = attempt(stream, one).end;
        if (end == Attempt::End::not_ended) return source.path(i);
        if (end == Attempt::End::whole || !retries.again()) break;
      }
    } catch (const Error&) {
      return source.path(i);
    }
  }
  return "the model";
}

}  // namespace

std::size_t CapturedGraph::node_count() const {
  std::size_t count = 0;
  for (const auto& step : nodes) count += step.size();
  return count;
}

CapturedGraph capture_steps(cudaStream_t stream, const CaptureSource& source) {
  check<CaptureError>(source.steps > 0, "the plan has no steps: there is nothing to capture");
  const BesideCaptures scope;
  if (all_build_nodes(source)) {
    CapturedGraph built = build_nodes(stream, source);
    count_edges(built);
    return built;
  }
  for (CaptureRetries retries;;) {
    Attempt tried = attempt(stream, source);
    if (tried.end == Attempt::End::whole) {
      tried.graph.attempts = retries.attempts();
      count_edges(tried.graph);
      return std::move(tried.graph);
    }
    if (tried.end == Attempt::End::not_ended) {
      throw CaptureError(concat_text(find_culprit(stream, source), ": the capture could not be ended: ", cudaGetErrorString(tried.status)));
    }
    const auto step_alone = [&](cudaStream_t s) { source.enqueue(tried.step, s); };
    check<CaptureError>(!invalidates_captures(stream, step_alone), source.path(tried.step),
                        ": the capture was invalidated by a call of this step that is not allowed inside a capture");
    if (!retries.again()) throw CaptureError(retries.text());
  }
}

InstantiatedGraph instantiate(const CapturedGraph& captured, cudaStream_t stream, const CaptureSource& source) {
  const BesideCaptures scope;
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
