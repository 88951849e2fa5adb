#pragma once
/// cuDNN 9, loaded when it is first wanted. Internal: no header for users includes it.
#include <cudnn_graph.h>

#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <frieze/core/error.h>

namespace frieze::cuda {

/// What is called of the library. It is loaded, not linked: a program built with cuDNN starts and runs where there is none.
struct CudnnLibrary {
  decltype(&cudnnGetVersion) version = nullptr;
  decltype(&cudnnGetErrorString) error_string = nullptr;
  decltype(&cudnnGetLastErrorString) last_error = nullptr;
  decltype(&cudnnCreate) create = nullptr;
  decltype(&cudnnDestroy) destroy = nullptr;
  decltype(&cudnnSetStream) set_stream = nullptr;
  decltype(&cudnnBackendCreateDescriptor) create_descriptor = nullptr;
  decltype(&cudnnBackendDestroyDescriptor) destroy_descriptor = nullptr;
  decltype(&cudnnBackendFinalize) finalize = nullptr;
  decltype(&cudnnBackendSetAttribute) set_attribute = nullptr;
  decltype(&cudnnBackendGetAttribute) get_attribute = nullptr;
  decltype(&cudnnBackendExecute) execute = nullptr;
};

/// The library, loaded by the first call that asks for it and never unloaded; nullptr if there is none of major version 9, or if it lacks
/// something: one warning says why. Safe to use from several threads.
const CudnnLibrary* cudnn_library();

/// Throws CudaError "<what>: <status>: <the library's own words>" unless `status` is success. The library must be loaded.
void check_cudnn(cudnnStatus_t status, const char* what);
#define CUDNN_CHECK(call) ::frieze::cuda::check_cudnn((call), #call)

/// A handle, made for the current device.
class CudnnHandle {
 public:
  CudnnHandle() { CUDNN_CHECK(cudnn_library()->create(&handle_)); }
  CudnnHandle(const CudnnHandle&) = delete;
  CudnnHandle& operator=(const CudnnHandle&) = delete;
  ~CudnnHandle();
  cudnnHandle_t get() const noexcept { return handle_; }
  /// cuDNN allows one thread at a time to use a handle: hold this around every call that does, also through a descriptor made with it.
  std::mutex& mutex() noexcept { return mutex_; }

 private:
  cudnnHandle_t handle_ = nullptr;
  std::mutex mutex_;
};

/// A descriptor of the backend API. Move-only; setters throw CudaError.
class CudnnDescriptor {
 public:
  CudnnDescriptor() noexcept = default;
  explicit CudnnDescriptor(cudnnBackendDescriptorType_t type) { CUDNN_CHECK(cudnn_library()->create_descriptor(type, &descriptor_)); }
  CudnnDescriptor(CudnnDescriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, nullptr)) {}
  CudnnDescriptor& operator=(CudnnDescriptor other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~CudnnDescriptor();
  cudnnBackendDescriptor_t get() const noexcept { return descriptor_; }

  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count, const void* values) {
    CUDNN_CHECK(cudnn_library()->set_attribute(descriptor_, name, type, count, values));
  }
  void set(cudnnBackendAttributeName_t name, std::int64_t value) { set(name, CUDNN_TYPE_INT64, 1, &value); }
  void set(cudnnBackendAttributeName_t name, const std::vector<std::int64_t>& values) {
    set(name, CUDNN_TYPE_INT64, static_cast<std::int64_t>(values.size()), values.data());
  }
  void set(cudnnBackendAttributeName_t name, cudnnDataType_t value) { set(name, CUDNN_TYPE_DATA_TYPE, 1, &value); }
  void set(cudnnBackendAttributeName_t name, const CudnnDescriptor& value) {
    set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.descriptor_);
  }
  void finalize() { CUDNN_CHECK(cudnn_library()->finalize(descriptor_)); }

  /// How many values there are.
  std::int64_t count(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const;
  /// Reads up to `most` values, says how many there are.
  std::int64_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t most, void* values) const {
    std::int64_t count = 0;
    CUDNN_CHECK(cudnn_library()->get_attribute(descriptor_, name, type, most, &count, values));
    return count;
  }
  std::int64_t get_int64(cudnnBackendAttributeName_t name) const {
    std::int64_t value = 0;
    (void)get(name, CUDNN_TYPE_INT64, 1, &value);
    return value;
  }

 private:
  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

}  // namespace frieze::cuda
