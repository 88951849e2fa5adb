#include <frieze/core/cuda/capture_window.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include <frieze/core/cuda/capture_lock.h>
#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/fault.h>
#include <frieze/core/cuda/stream_capture.h>
#include <frieze/core/error.h>

namespace frieze::cuda {

CaptureWindow::CaptureWindow(cudaStream_t stream)
    : one_at_a_time_(lock_captures()), strict_(cudaStreamCaptureModeThreadLocal), stream_(stream) {
  CUDA_CHECK_AT("cudaStreamBeginCapture", cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
}

CaptureWindow::~CaptureWindow() {
  if (stream_ != nullptr) (void)end();
}

bool CaptureWindow::is_active() const noexcept {
  StreamCapture found;
  return find_stream_capture(stream_, found) == cudaSuccess && found.active();
}

std::pair<cudaError_t, Graph> CaptureWindow::end() noexcept {
  cudaGraph_t graph = nullptr;
  const cudaError_t status = cudaStreamEndCapture(std::exchange(stream_, nullptr), &graph);
  (void)cudaGetLastError();  // or the next launch check would see it
  return {status, Graph(status == cudaSuccess ? graph : nullptr)};
}

bool is_forbidden_in_captures(int cuda_error) noexcept {
  return (cuda_error >= cudaErrorStreamCaptureUnsupported && cuda_error <= cudaErrorCapturedEvent &&
          cuda_error != cudaErrorStreamCaptureInvalidated) ||
         cuda_error == cudaErrorStreamCaptureWrongThread;
}

bool invalidates_captures(cudaStream_t stream, const std::function<void(cudaStream_t)>& enqueue) {
  using Clock = std::chrono::steady_clock;
  constexpr int kRounds = 8;
  for (int round = 0; round < kRounds; ++round) {
    Clock::duration open{};
    {
      CaptureWindow window(stream);
      const auto began = Clock::now();
      try {
        enqueue(stream);
      } catch (const Error&) {
        // A library may have its own words for an invalidated capture: the status tells.
      }
      if (window.is_active()) return false;
      open = Clock::now() - began;
    }
    CaptureWindow window(stream);
    const auto until = Clock::now() + open;
    while (Clock::now() < until) {
    }
    if (!window.is_active()) return false;
  }
  return true;
}

bool CaptureRetries::again() {
  using namespace std::chrono_literals;
  const auto left = kCaptureLimit - std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began_);
  if (left <= 0ms) return false;
  std::this_thread::sleep_for(std::min(wait_, left));
  wait_ = std::min<std::chrono::milliseconds>(10 * wait_, 100ms);
  ++attempts_;
  return true;
}

std::string CaptureRetries::text() const {
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
  return concat_text("the capture was invalidated in each of ", attempts_, " attempts within ", std::round(10 * seconds) / 10,
                     " s: another thread of this program synchronises the device (cudaDeviceSynchronize), which breaks every capture");
}

}  // namespace frieze::cuda
