#pragma once
/// Order between the streams of a host program.
#include <string_view>

#include <frieze/core/cuda/handles.h>

namespace frieze::cuda {

/// The last work that somebody has enqueued, on whatever stream: an event of our own. A caller's stream handle says nothing later, as the
/// stream may be gone and its handle used again.
class LastUse {
 public:
  /// An event of the current device.
  LastUse() : event_(make_event()) {}
  /// Behind everything enqueued on `stream` so far.
  void record(cudaStream_t stream);
  /// Lets `stream` go on only behind it.
  void order(cudaStream_t stream) const;
  /// Waits for it on the host.
  void wait();

 private:
  Event event_;
  bool pending_ = false;
};

/// A non-blocking stream of that device, whichever is current.
inline Stream make_stream_on(int device) {
  const DeviceScope scope(device);
  return make_stream();
}

/// A default stream has one handle for all devices and, per thread, for all threads.
inline bool is_default_stream(cudaStream_t stream) {
  return stream == nullptr || stream == cudaStreamLegacy || stream == cudaStreamPerThread;
}

/// Before work of a session of `device` is enqueued on a stream of the caller's; `what` begins the message. Throws CaptureError if that is
/// being captured, saying what to do `instead`, or is the legacy stream while some blocking stream is, whose capture would break;
/// OptionError if it is another device's. Leaves every capture alone.
void check_idle_stream(std::string_view what, cudaStream_t stream, int device, const char* instead);
/// Throws OptionError, beginning with `what`, if a stream of the caller's is another device's than `device`.
void check_stream_device(std::string_view what, cudaStream_t stream, int device);

}  // namespace frieze::cuda
