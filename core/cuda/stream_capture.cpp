#include <frieze/core/cuda/stream_capture.h>

#include <vector>

#include <frieze/core/cuda/check.h>

namespace frieze::cuda {

cudaError_t find_stream_capture(cudaStream_t stream, StreamCapture& found) noexcept {
  found = {};
  const cudaGraphNode_t* nodes = nullptr;
  const cudaGraphEdgeData* edges = nullptr;
  std::size_t count = 0;
#if CUDART_VERSION >= 13000
  const cudaError_t error = cudaStreamGetCaptureInfo(stream, &found.status, &found.number, &found.graph, &nodes, &edges, &count);
#else
  const cudaError_t error = cudaStreamGetCaptureInfo_v3(stream, &found.status, &found.number, &found.graph, &nodes, &edges, &count);
#endif
  if (error != cudaSuccess) {
    (void)cudaGetLastError();
    found = {};
    return error == cudaErrorStreamCaptureImplicit ? cudaSuccess : error;
  }
  if (found.active() && nodes != nullptr) found.after = std::span(nodes, count);
  return cudaSuccess;
}

StreamCapture stream_capture(cudaStream_t stream) {
  StreamCapture found;
  CUDA_CHECK(find_stream_capture(stream, found));
  return found;
}

void set_capture_dependencies(cudaStream_t stream, std::span<const cudaGraphNode_t> after) {
  std::vector<cudaGraphNode_t> nodes(after.begin(), after.end());
#if CUDART_VERSION >= 13000
  CUDA_CHECK(cudaStreamUpdateCaptureDependencies(stream, nodes.data(), nullptr, nodes.size(), cudaStreamSetCaptureDependencies));
#else
  CUDA_CHECK(cudaStreamUpdateCaptureDependencies(stream, nodes.data(), nodes.size(), cudaStreamSetCaptureDependencies));
#endif
}

}  // namespace frieze::cuda
