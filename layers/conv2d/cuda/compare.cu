#include <frieze/layers/conv2d/cuda/compare.h>

#include <algorithm>
#include <array>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/kernel.h>
#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {
namespace {

// The bits of floats that are not negative are ordered like the floats.
template <class T>
__global__ void largest_of_grid(const T* a, std::int64_t count, unsigned int* bits) {
  float largest = 0;
  for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < count; i += std::int64_t{gridDim.x} * blockDim.x) {
    const float v = fabsf(widen(a[i]));
    if (isfinite(v)) largest = fmaxf(largest, v);
  }
  atomicMax(bits, __float_as_uint(largest));
}

template <class T>
__global__ void far_of_grid(const T* a, const T* b, std::int64_t count, float relative, float absolute, const unsigned int* largest,
                            unsigned long long* far) {
  const float slack = absolute * __uint_as_float(*largest);
  unsigned long long found = 0;
  for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < count; i += std::int64_t{gridDim.x} * blockDim.x) {
    const float x = widen(a[i]), y = widen(b[i]);
    const bool near =
        x == y || (isnan(x) && isnan(y)) || (isfinite(x) && isfinite(y) && fabsf(x - y) <= relative * fmaxf(fabsf(x), fabsf(y)) + slack);
    if (!near) ++found;
  }
  if (found > 0) atomicAdd(far, found);
}

constexpr int kThreads = 256;
constexpr std::int64_t kBlocks = 1024;

}  // namespace

void enqueue_count_far(DType dtype, const void* a, const void* b, std::int64_t count, double relative, double absolute, void* found,
                       cudaStream_t stream) {
  CUDA_CHECK(cudaMemsetAsync(found, 0, 16, stream));  // the count, then the largest
  auto* const far = static_cast<unsigned long long*>(found);
  auto* const largest = reinterpret_cast<unsigned int*>(static_cast<char*>(found) + 8);
  const auto blocks = static_cast<unsigned>(std::clamp<std::int64_t>(ceil_div(count, kThreads), 1, kBlocks));
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    launch_kernel(largest_of_grid<T>, blocks, kThreads, 0, stream, static_cast<const T*>(a), count, largest);
    launch_kernel(far_of_grid<T>, blocks, kThreads, 0, stream, static_cast<const T*>(a), static_cast<const T*>(b), count,
                  static_cast<float>(relative), static_cast<float>(absolute), largest, far);
  });
}

std::uint64_t count_far(DType dtype, const void* a, const void* b, std::int64_t count, double relative, double absolute,
                        cudaStream_t stream) {
  const DeviceBuffer found(16);
  enqueue_count_far(dtype, a, b, count, relative, absolute, found.data(), stream);
  CUDA_CHECK(cudaStreamSynchronize(stream));
  std::uint64_t result = 0;
  found.download(&result, sizeof result);
  return result;
}

}  // namespace frieze::cuda
