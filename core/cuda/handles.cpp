#include <frieze/core/cuda/handles.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <vector>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/fault.h>
#include <frieze/core/warning.h>

namespace frieze::cuda {

static_assert(cudaErrorMemoryAllocation == 2, "CudaError::out_of_memory");

void check_call(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  const char* base = std::strrchr(file, '/');
  (void)cudaGetLastError();  // reported here; the next launch check must not see it again
  throw CudaError(concat_text(call, ": ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ", ",
                              base != nullptr ? base + 1 : file, ":", line, ")"),
                  status);
}

void log_warning(const char* text) noexcept { warn(text); }

BesideCaptures::BesideCaptures(cudaStreamCaptureMode mode) noexcept
    : mode_(mode), changed_(cudaThreadExchangeStreamCaptureMode(&mode_) == cudaSuccess) {}

BesideCaptures::~BesideCaptures() {
  if (changed_) (void)cudaThreadExchangeStreamCaptureMode(&mode_);
}

DeviceScope::DeviceScope(int device) {
  CUDA_CHECK(cudaGetDevice(&previous_));
  if (previous_ != device) CUDA_CHECK(cudaSetDevice(device));
  changed_ = previous_ != device;
}

DeviceScope::~DeviceScope() {
  if (changed_ && cudaSetDevice(previous_) != cudaSuccess) log_warning("the current device could not be restored");
}

Stream make_stream() {
  const BesideCaptures scope;
  cudaStream_t stream = nullptr;
  CUDA_CHECK_AT("cudaStreamCreateWithFlags", cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return Stream(stream);
}

Event make_event(bool timing) {
  const BesideCaptures scope;
  cudaEvent_t event = nullptr;
  CUDA_CHECK_AT("cudaEventCreateWithFlags", cudaEventCreateWithFlags(&event, timing ? cudaEventDefault : cudaEventDisableTiming));
  return Event(event);
}

DeviceBuffer::DeviceBuffer(std::size_t bytes) : bytes_(bytes) {
  const BesideCaptures scope;
  if (bytes > 0) CUDA_CHECK_AT("cudaMalloc", cudaMalloc(&data_, bytes));
}

DeviceBuffer::~DeviceBuffer() {
  if (data_ == nullptr || owner_ != nullptr) return;
  const BesideCaptures scope;
  if (cudaFree(data_) != cudaSuccess) log_warning("device memory could not be freed");
}

namespace {

// cudaMemcpy would go over the legacy stream and break the capture of any blocking stream, in every mode.
void copy_and_wait(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const BesideCaptures scope;
  const Stream stream = make_stream();
  CUDA_CHECK_AT("cudaMemcpyAsync", cudaMemcpyAsync(to, from, bytes, kind, stream.get()));
  CUDA_CHECK(cudaStreamSynchronize(stream.get()));
}

}  // namespace

void DeviceBuffer::upload(const void* host, std::size_t bytes) {
  check<CudaError>(bytes <= bytes_, "upload of ", bytes, " bytes into a device buffer of ", bytes_);
  check<CudaError>(owner_ == nullptr, "upload into device memory that others read too");
  if (bytes > 0) copy_and_wait(data_, host, bytes, cudaMemcpyHostToDevice);
}

void DeviceBuffer::download(void* host, std::size_t bytes) const {
  check<CudaError>(bytes <= bytes_, "download of ", bytes, " bytes from a device buffer of ", bytes_);
  if (bytes > 0) copy_and_wait(host, data_, bytes, cudaMemcpyDeviceToHost);
}

DeviceBuffer to_device(const void* host, std::size_t bytes) {
  DeviceBuffer buffer(bytes);
  buffer.upload(host, bytes);
  return buffer;
}

namespace {

// What to_device() has made of values, and somebody still holds.
struct SharedBuffers {
  std::mutex mutex;
  std::unordered_multimap<std::uint64_t, std::pair<int, std::weak_ptr<const DeviceBuffer>>> by_hash;  // with their devices
};

SharedBuffers& shared_buffers() {
  static SharedBuffers& all = *new SharedBuffers;  // outlives every session
  return all;
}

// A multiplication and a shift for 8 bytes, in four chains, as each waits for its last step; it only finds candidates, whose bytes are
// compared.
std::uint64_t hash_of(const char* data, std::size_t bytes) {
  const auto step = [](std::uint64_t& hash, std::uint64_t word) {
    hash = (hash ^ word) * 0xFF51AFD7ED558CCDULL;
    hash ^= hash >> 32;
  };
  std::uint64_t chains[4] = {0x9E3779B97F4A7C15ULL ^ bytes, 1, 2, 3}, words[4];
  std::size_t at = 0;
  for (; at + sizeof words <= bytes; at += sizeof words) {
    std::memcpy(words, data + at, sizeof words);
    for (int i = 0; i < 4; ++i) step(chains[i], words[i]);
  }
  std::memset(words, 0, sizeof words);
  std::memcpy(words, data + at, bytes - at);
  for (int i = 0; i < 4; ++i) step(chains[i], words[i]);
  for (int i = 1; i < 4; ++i) step(chains[0], chains[i]);
  return chains[0];
}

bool holds(const DeviceBuffer& buffer, const char* data, std::size_t bytes) {
  if (buffer.bytes() != bytes) return false;
  std::vector<char> now(bytes);
  buffer.download(now.data(), bytes);
  return std::memcmp(now.data(), data, bytes) == 0;
}

}  // namespace

DeviceBuffer to_device(std::span<const float> values, DType t) {
  const HostTensor rounded({Shape{static_cast<std::int64_t>(values.size())}, t, Format::nchw}, values);
  const char* data = static_cast<const char*>(rounded.data());
  const std::uint64_t hash = hash_of(data, rounded.bytes());
  int device = 0;
  CUDA_CHECK(cudaGetDevice(&device));
  SharedBuffers& all = shared_buffers();
  std::shared_ptr<const DeviceBuffer> owner;
  const std::lock_guard lock(all.mutex);
  std::erase_if(all.by_hash, [](const auto& entry) { return entry.second.second.expired(); });
  const auto [begin, end] = all.by_hash.equal_range(hash);
  for (auto entry = begin; entry != end && owner == nullptr; ++entry) {
    std::shared_ptr<const DeviceBuffer> candidate = entry->second.second.lock();
    if (candidate != nullptr && entry->second.first == device && holds(*candidate, data, rounded.bytes())) owner = std::move(candidate);
  }
  if (owner == nullptr) {
    owner = std::make_shared<const DeviceBuffer>(to_device(rounded.data(), rounded.bytes()));
    all.by_hash.emplace(hash, std::pair(device, std::weak_ptr(owner)));
  }
  DeviceBuffer shared;
  shared.data_ = owner->data_;
  shared.bytes_ = owner->bytes_;
  shared.owner_ = std::move(owner);
  return shared;
}

}  // namespace frieze::cuda
