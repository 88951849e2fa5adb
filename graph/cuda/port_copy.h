#pragma once
/// Copies between page-locked arrays of the caller's and ports, enqueued on a stream; types and orders are converted on the device.
#include <string>

#include <frieze/graph/cuda/streams.h>
#include <frieze/graph/port_values.h>

namespace frieze::cuda {

class PortCopies {
 public:
  /// Before either of the two below: throws OptionError or CaptureError, beginning with `what`, unless the array is page-locked and
  /// `stream` is one of `device`, the current one, that is not being captured. Enlarges the buffer if it must, once `last_use` is over.
  void prepare(const std::string& what, const PortPart& part, const HostValues& array, cudaStream_t stream, int device, LastUse& last_use);
  /// `port`: the device memory of `part`. Between them the array must not change, and a next copy must be ordered behind this one.
  void write(const PortPart& part, const HostValues& from, void* port, cudaStream_t stream) const;
  void read(const PortPart& part, const void* port, const HostBuffer& to, cudaStream_t stream) const;

 private:
  DeviceBuffer staging_;  // the array's bytes, where they are not the port's
};

}  // namespace frieze::cuda
