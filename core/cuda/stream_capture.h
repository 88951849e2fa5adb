#pragma once
/// What a stream is being captured into.
#include <cuda_runtime_api.h>

#include <span>

#include <frieze/core/api.h>

namespace frieze FRIEZE_API {
namespace cuda {

struct StreamCapture {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  unsigned long long number = 0;           ///< of the capture, unique within the process
  cudaGraph_t graph = nullptr;             ///< valid while the capture is active, as `after` is
  std::span<const cudaGraphNode_t> after;  ///< nodes that the next call on the stream would depend on; valid until that call
  bool active() const { return status == cudaStreamCaptureStatusActive; }
};

/// Sets `found`. The legacy stream is never captured itself: beside somebody's capture it counts as a stream without one.
cudaError_t find_stream_capture(cudaStream_t stream, StreamCapture& found) noexcept;
/// The same. Throws CudaError.
StreamCapture stream_capture(cudaStream_t stream);
/// The next call on a stream that is being captured depends on `after` alone. Throws CudaError.
void set_capture_dependencies(cudaStream_t stream, std::span<const cudaGraphNode_t> after);

}  // namespace cuda
}  // namespace FRIEZE_API
