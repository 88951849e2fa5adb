#include <frieze/graph/cuda/streams.h>

#include <frieze/core/cuda/check.h>

namespace frieze::cuda {

void LastUse::record(cudaStream_t stream) {
  CUDA_CHECK(cudaEventRecord(event_.get(), stream));
  pending_ = true;
}

void LastUse::order(cudaStream_t stream) const {
  if (pending_) CUDA_CHECK(cudaStreamWaitEvent(stream, event_.get(), 0));
}

void LastUse::wait() {
  if (pending_) CUDA_CHECK(cudaEventSynchronize(event_.get()));
  pending_ = false;
}

void check_idle_stream(std::string_view what, cudaStream_t stream, int device, const char* instead) {
  cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
  const cudaError_t status = cudaStreamIsCapturing(stream, &capturing);
  if (status == cudaErrorStreamCaptureImplicit) {
    (void)cudaGetLastError();
    throw CaptureError(concat_text(what, ": the default stream waits for every blocking stream, and one of those is being captured"));
  }
  CUDA_CHECK(status);
  check<CaptureError>(capturing == cudaStreamCaptureStatusNone, what, ": the caller's stream is being captured; ", instead);
  check_stream_device(what, stream, device);
}

void check_stream_device(std::string_view what, cudaStream_t stream, int device) {
  if (is_default_stream(stream)) return;
  int of = 0;
  if (cudaStreamGetDevice(stream, &of) != cudaSuccess) {  // a driver that does not know the call
    (void)cudaGetLastError();
    return;
  }
  check<OptionError>(of == device, what, ": the session is on device ", device, ", the stream on device ", of);
}

}  // namespace frieze::cuda
