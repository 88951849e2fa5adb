#pragma once
/// Keeps the device busy while a capture is open, so that threads that synchronise it wait instead of breaking the capture.
#include <cstdint>

namespace frieze::cuda {

/// A thread that calls cudaDeviceSynchronize while a capture is open breaks it, and gets an error. With driver 580 it may even crash in
/// there, as the driver walks its captures while another thread begins and ends them: on an H200 a loop of empty captures beside a loop of
/// cudaDeviceSynchronize is enough. A thread that came before waits for the device and sees no capture. So a kernel of one thread runs from
/// a moment before the capture to its end, on a stream of its own. What else the program runs on the device goes on beside it.
///
/// Only captures of cuBLASLt's and cuDNN's calls need it: own kernels become nodes without one (graph_nodes.h).
///
/// What waits for the whole device waits for this too, cudaFree included, which may hold up the capture in turn: hence kMostMicroseconds.
/// A thread that synchronises only now and then may still come when the capture is open. Held under the capture lock. Nothing throws:
/// without the kernel, a capture is only less safe.
class CaptureGate {
 public:
  static constexpr int kMostMicroseconds = 4000;

  /// On the current device.
  CaptureGate() noexcept;
  CaptureGate(const CaptureGate&) = delete;
  CaptureGate& operator=(const CaptureGate&) = delete;
  ~CaptureGate();

 private:
  struct State;
  State* state_ = nullptr;
};

}  // namespace frieze::cuda
