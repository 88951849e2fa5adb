#include <frieze/core/cuda/handles.h>

#include <cstdio>
#include <cstring>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/fault.h>

namespace frieze::cuda {

void check_call(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  const char* base = std::strrchr(file, '/');
  (void)cudaGetLastError();  // reported here; the next launch check must not see it again
  throw CudaError(concat_text(call, ": ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ", ",
                              base != nullptr ? base + 1 : file, ":", line, ")"));
}

void log_warning(const char* text) noexcept { std::fprintf(stderr, "frieze: warning: %s\n", text); }

Stream make_stream() {
  cudaStream_t stream = nullptr;
  CUDA_CHECK_AT("cudaStreamCreateWithFlags", cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return Stream(stream);
}

Event make_event(bool timing) {
  cudaEvent_t event = nullptr;
  CUDA_CHECK_AT("cudaEventCreateWithFlags", cudaEventCreateWithFlags(&event, timing ? cudaEventDefault : cudaEventDisableTiming));
  return Event(event);
}

DeviceBuffer::DeviceBuffer(std::size_t bytes) : bytes_(bytes) {
  if (bytes > 0) CUDA_CHECK_AT("cudaMalloc", cudaMalloc(&data_, bytes));
}

DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr && cudaFree(data_) != cudaSuccess) log_warning("device memory could not be freed");
}

void DeviceBuffer::upload(const void* host, std::size_t bytes) {
  check<CudaError>(bytes <= bytes_, "upload of ", bytes, " bytes into a device buffer of ", bytes_);
  if (bytes == 0) return;
  CUDA_CHECK_AT("cudaMemcpy", cudaMemcpy(data_, host, bytes, cudaMemcpyHostToDevice));
  // From pageable memory it returns once the bytes are staged; a kernel on another stream could still run before they arrive.
  CUDA_CHECK(cudaStreamSynchronize(cudaStreamLegacy));
}

void DeviceBuffer::download(void* host, std::size_t bytes) const {
  check<CudaError>(bytes <= bytes_, "download of ", bytes, " bytes from a device buffer of ", bytes_);
  if (bytes > 0) CUDA_CHECK_AT("cudaMemcpy", cudaMemcpy(host, data_, bytes, cudaMemcpyDeviceToHost));
}

DeviceBuffer to_device(const void* host, std::size_t bytes) {
  DeviceBuffer buffer(bytes);
  buffer.upload(host, bytes);
  return buffer;
}

DeviceBuffer to_device(std::span<const float> values, DType t) {
  const HostTensor rounded({Shape{static_cast<std::int64_t>(values.size())}, t, Format::nchw}, values);
  return to_device(rounded.data(), rounded.bytes());
}

}  // namespace frieze::cuda
