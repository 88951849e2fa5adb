#include <frieze/graph/cuda/record.h>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/stream_capture.h>

namespace frieze::cuda {
void Recordings::record(cudaStream_t stream, int device, const CaptureSource& source) {
  const StreamCapture capture = stream_capture(stream);
  check<CaptureError>(capture.status != cudaStreamCaptureStatusNone,
                      "record: the caller's stream is not being captured; begin a capture (cudaStreamBeginCapture), or launch the session");
  check<CaptureError>(capture.active(), "record: the capture of the caller's stream was invalidated before");
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
  check<CaptureError>(stream_capture(stream).active(), "record: the capture of the caller's stream was invalidated meanwhile");
  CUDA_CHECK(cudaEventRecord(last_.get(), stream));
  capture_ = capture.number;
}

}  // namespace frieze::cuda
