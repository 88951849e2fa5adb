#include <frieze/graph/cuda/record.h>

#include <frieze/core/cuda/check.h>

namespace frieze::cuda {
namespace {

struct OpenCapture {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  unsigned long long number = 0;  // unique within the process
};

OpenCapture capture_of(cudaStream_t stream) {
  OpenCapture found;
#if CUDART_VERSION >= 13000
  const cudaError_t error = cudaStreamGetCaptureInfo(stream, &found.status, &found.number, nullptr, nullptr, nullptr, nullptr);
#else
  const cudaError_t error = cudaStreamGetCaptureInfo_v3(stream, &found.status, &found.number, nullptr, nullptr, nullptr, nullptr);
#endif
  if (error == cudaErrorStreamCaptureImplicit) {  // the legacy stream beside somebody's capture: never captured itself
    (void)cudaGetLastError();
    return {};
  }
  CUDA_CHECK(error);
  return found;
}

}  // namespace

void Recordings::record(cudaStream_t stream, int device, const CaptureSource& source) {
  const OpenCapture capture = capture_of(stream);
  check<CaptureError>(capture.status != cudaStreamCaptureStatusNone,
                      "record: the caller's stream is not being captured; begin a capture (cudaStreamBeginCapture), or launch the session");
  check<CaptureError>(capture.status == cudaStreamCaptureStatusActive, "record: the capture of the caller's stream was invalidated before");
  if (!last_) last_ = make_event();
  if (capture.number == capture_) CUDA_CHECK(cudaStreamWaitEvent(stream, last_.get(), 0));
  for (std::size_t i = 0; i < source.steps; ++i) {
    try {
      source.enqueue(i, stream);
    } catch (const CudaError& e) {
      // Asking a captured stream for its device (cudaStreamGetDevice) would invalidate the capture; a launch tells.
      check<OptionError>(e.code() != cudaErrorInvalidResourceHandle, "record: the session is on device ", device,
                         ", the caller's stream on another");
      throw CaptureError(concat_text("record: ", source.path(i), ": ", e.what()));
    }
  }
  check<CaptureError>(capture_of(stream).status == cudaStreamCaptureStatusActive,
                      "record: the capture of the caller's stream was invalidated meanwhile");
  CUDA_CHECK(cudaEventRecord(last_.get(), stream));
  capture_ = capture.number;
}

}  // namespace frieze::cuda
