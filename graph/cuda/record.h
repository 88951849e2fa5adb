#pragma once
/// The steps of a session inside of captures that the caller makes: Session::record().
#include <frieze/graph/cuda/capture.h>

namespace frieze::cuda {

/// What one session has put into captures of the caller's.
class Recordings {
 public:
  /// Enqueues every step on `stream`, which is being captured, behind what this session has put into the same capture before, on whichever
  /// of its streams: the steps share one arena. `device`, current, is the session's. Throws CaptureError if nothing is captured there, the
  /// capture was invalidated, or a step fails, naming it; OptionError for a stream of another device. The capture stays open.
  void record(cudaStream_t stream, int device, const CaptureSource& source);

 private:
  Event last_;                      // made when first needed
  unsigned long long capture_ = 0;  // its number, 0: none
};

}  // namespace frieze::cuda
