#pragma once
/// Move-only owners of CUDA objects. No destructor throws: what cannot be released is reported on stderr.
#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <utility>

#include <frieze/core/tensor.h>

namespace frieze::cuda {

/// warn() of core/warning.h.
void log_warning(const char* text) noexcept;

/// For a scope, this thread may wait, allocate and free although the program that uses this library captures some stream, in whatever
/// mode: without it such a call fails and takes that capture with it. Only for work on streams, events and memory of the library's own,
/// which no capture of others holds. What breaks other captures even so must not be called at all: cudaDeviceSynchronize, and anything
/// on the legacy default stream.
class BesideCaptures {
 public:
  BesideCaptures() noexcept : BesideCaptures(cudaStreamCaptureModeRelaxed) {}
  /// Another mode for a scope: a capture of our own wants thread-local again.
  explicit BesideCaptures(cudaStreamCaptureMode mode) noexcept;
  BesideCaptures(const BesideCaptures&) = delete;
  BesideCaptures& operator=(const BesideCaptures&) = delete;
  ~BesideCaptures();

 private:
  cudaStreamCaptureMode mode_;  // the other one
  bool changed_;
};

/// Makes a device current for a scope, BesideCaptures. Throws CudaError.
class DeviceScope {
 public:
  explicit DeviceScope(int device);
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;
  ~DeviceScope();

 private:
  BesideCaptures beside_;
  int previous_ = 0;
  bool changed_ = false;
};

template <class H, cudaError_t (*kDestroy)(H)>
class Handle {
 public:
  explicit Handle(H h = nullptr) noexcept : h_(h) {}
  Handle(Handle&& other) noexcept : h_(std::exchange(other.h_, nullptr)) {}
  Handle& operator=(Handle other) noexcept {
    std::swap(h_, other.h_);
    return *this;
  }
  ~Handle() {
    if (h_ == nullptr) return;
    const BesideCaptures scope;
    if (kDestroy(h_) != cudaSuccess) log_warning("a CUDA object could not be destroyed");
  }
  H get() const noexcept { return h_; }
  explicit operator bool() const noexcept { return h_ != nullptr; }

 private:
  H h_;
};

using Stream = Handle<cudaStream_t, cudaStreamDestroy>;
using Event = Handle<cudaEvent_t, cudaEventDestroy>;
using Graph = Handle<cudaGraph_t, cudaGraphDestroy>;
using GraphExec = Handle<cudaGraphExec_t, cudaGraphExecDestroy>;

/// A non-blocking stream: the legacy stream never orders against it. Throws CudaError.
Stream make_stream();
/// With timing only if asked for.
Event make_event(bool timing = false);

/// Device memory of `bytes` bytes, 256-byte aligned at least; zero bytes own nothing. Throws CudaError.
class DeviceBuffer {
 public:
  DeviceBuffer() noexcept = default;
  explicit DeviceBuffer(std::size_t bytes);
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)), owner_(std::move(other.owner_)) {}
  DeviceBuffer& operator=(DeviceBuffer other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(owner_, other.owner_);
    return *this;
  }
  ~DeviceBuffer();

  void* data() const noexcept { return data_; }
  template <class T>
  T* as() const noexcept {
    return static_cast<T*>(data_);
  }
  std::size_t bytes() const noexcept { return bytes_; }

  /// Copies over a stream of their own, which wait until they are done (never inside a capture of ours). Nothing orders them behind work
  /// that others have enqueued: wait for that first. Throw CudaError, also for an upload into memory that is shared.
  void upload(const void* host, std::size_t bytes);
  void download(void* host, std::size_t bytes) const;

 private:
  friend DeviceBuffer to_device(std::span<const float> values, DType t);
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  std::shared_ptr<const DeviceBuffer> owner_ = nullptr;  // set: the memory is its, and not only ours
};

/// Copies a host array to new device memory.
DeviceBuffer to_device(const void* host, std::size_t bytes);

/// Row-major f32 values rounded to T on the current device. Read-only: identical uploads share one allocation while any of them is alive,
/// so all sessions of a model, of every shape and on every thread, hold its packed weights once. Throws CudaError.
DeviceBuffer to_device(std::span<const float> values, DType t);

}  // namespace frieze::cuda
