#pragma once
/// One attempt at a capture, and what to do when another thread of the program broke it.
///
/// CUDA invalidates every open capture, in every mode, when any thread synchronises the device (cudaDeviceSynchronize). A library cannot
/// forbid that to the program that uses it: it keeps the window short and such threads waiting outside (capture_gate.h), tries again with
/// growing waits, and gives up after a stated time.
#include <cuda_runtime_api.h>

#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <utility>

#include <frieze/core/cuda/capture_gate.h>
#include <frieze/core/cuda/handles.h>

namespace frieze::cuda {

/// How long a capture that other threads invalidate is tried again. A compile may hold several captures, each with this limit.
inline constexpr std::chrono::milliseconds kCaptureLimit{2000};

/// A capture of `stream` in thread-local mode, open until end() or destruction; then the stream can be used again and no error is left
/// behind. Held together with the process-wide lock. Between, only enqueue: the program's own synchronisations fail meanwhile.
class CaptureWindow {
 public:
  /// Throws CudaError.
  explicit CaptureWindow(cudaStream_t stream);
  CaptureWindow(const CaptureWindow&) = delete;
  CaptureWindow& operator=(const CaptureWindow&) = delete;
  ~CaptureWindow();

  bool is_active() const noexcept;
  /// The graph is empty unless the status is cudaSuccess.
  std::pair<cudaError_t, Graph> end() noexcept;

 private:
  std::unique_lock<std::recursive_mutex> one_at_a_time_;
  CaptureGate gate_;
  BesideCaptures strict_;  // a step's call that is not allowed inside a capture shall fail, whatever mode the thread is in
  cudaStream_t stream_;
};

/// True for the error of a call that CUDA does not allow inside a capture: the caller's own doing, in every attempt.
bool is_forbidden_in_captures(int cuda_error) noexcept;

/// Whether `enqueue` itself makes a call that invalidates captures without an error: each capture of it alone is invalidated, and none
/// that is held open as long without it.
bool invalidates_captures(cudaStream_t stream, const std::function<void(cudaStream_t)>& enqueue);

/// Waits between attempts: 1, 10, 100, 100, … ms, until kCaptureLimit has passed.
class CaptureRetries {
 public:
  int attempts() const { return attempts_; }
  /// After an attempt that was invalidated: waits and gives true, or false at once if the time is over.
  bool again();
  /// "invalidated in each of 23 attempts within 2.0 s by another thread …".
  std::string text() const;

 private:
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  int attempts_ = 1;
  std::chrono::milliseconds wait_{1};
};

}  // namespace frieze::cuda
