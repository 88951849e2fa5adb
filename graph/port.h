#pragma once
/// Port: an input or output of a session, and the ways values go in and come out.
#include <memory>
#include <string>
#include <vector>

#include <frieze/core/tensor.h>
#include <frieze/graph/host_values.h>
#include <frieze/graph/plan.h>

struct CUstream_st;
using cudaStream_t = CUstream_st*;

namespace frieze FRIEZE_API {

class Executor;
struct PortPart;

/// A model input or output of a session: typed memory on the session's device. Shares what it needs with the session, and may outlive it.
///
/// Arrays on the host are vectors, spans or arrays of float, f16, bf16, u8 (std::uint8_t), i32 or i64, or Pixels. Their values stand in the
/// order N,C,H,W whatever the port's format is; only those of Pixels stand as N,H,W,C. Into a port of floats, each value is rounded once to
/// the port's type: to nearest even, past the largest number to infinity; NaN stays NaN. u8 are the numbers 0 to 255. Out of it, a value is
/// rounded once to the array's type; u8 takes the nearest of 0 to 255, ties to even, and 0 for NaN. Integers go to ports of integers and
/// floats to ports of floats, else DTypeError; integers are never changed: an i64 that an i32 port cannot hold is a DTypeError, and so is
/// a copy out into an array of a narrower type.
///
/// With `image`, an array holds some images of the batch, the first of which is that one (the port's first axis counts images); the rest of
/// the batch stays as it is. Without, it holds all.
class Port {
 public:
  const std::string& name() const;
  const TensorSpec& spec() const;
  /// The memory that the next launch reads or writes; device memory on a CUDA session.
  TensorView view() const;

  /// Copies from host memory, after the last run has finished; waits until the copy is done. Throws ShapeError on a wrong count, on images
  /// that the port does not have, and for Pixels unless the port has four axes; OptionError if a scale is not finite, or 0.
  void copy_from(const HostValues& values);
  void copy_from(const HostValues& values, std::int64_t image);
  /// Of any type and format, and the port's shape, else ShapeError.
  void copy_from(const HostTensor& tensor);
  /// Copies to host memory, after the last run has finished; waits until the copy is done. Throws as copy_from() does.
  void copy_to(const HostBuffer& values) const;
  void copy_to(const HostBuffer& values, std::int64_t image) const;
  HostTensor to_host() const;
  std::vector<float> floats() const { return to_host().floats(); }
  /// Throws DTypeError unless the port is one of integers.
  std::vector<std::int64_t> integers() const { return to_host().integers(); }

  /// Enqueues the copy on `stream` and returns. On the device it comes after everything that the session has enqueued before, on whatever
  /// stream, and before everything that comes later: launch() on any stream needs no event of the caller's in between. The array is read,
  /// or written, until the work on `stream` is done. It lies in page-locked memory (cudaHostAlloc, cudaMallocHost, cudaHostRegister):
  /// pageable memory is refused, since CUDA would wait for it. Types and orders are converted on the device, bit for bit as copy_from() and
  /// copy_to() do it, over a buffer of the session's that the first such copy allocates and a larger one enlarges, after waiting for the
  /// session; without a conversion there is none. CPU sessions copy at once, from and to any memory, and ignore `stream`.
  /// Throws as copy_from() and copy_to() do; DTypeError for i64 into a port of i32, as nobody could tell what does not fit; OptionError for
  /// memory that is not page-locked or a stream of another device; CaptureError for a stream that is being captured.
  void copy_from_async(const HostValues& values, cudaStream_t stream);
  void copy_from_async(const HostValues& values, cudaStream_t stream, std::int64_t image);
  void copy_to_async(const HostBuffer& values, cudaStream_t stream) const;
  void copy_to_async(const HostBuffer& values, cudaStream_t stream, std::int64_t image) const;

 private:
  friend class Session;
  Port(std::shared_ptr<Executor> executor, const PlanPort& port) : executor_(std::move(executor)), port_(&port) {}
  /// Throws OptionError if the port was moved from, or a layer of the session died with its model.
  Executor& executor() const;
  /// All of the port, or the images from `image` on, that an array is for which goes in, or comes `out`. Throw what the copies throw.
  PortPart whole(const HostValues& values, bool out) const;
  PortPart part(const HostValues& values, std::int64_t image, bool out) const;
  std::shared_ptr<Executor> executor_;
  const PlanPort* port_;  // of the executor's plan
};

}  // namespace FRIEZE_API
