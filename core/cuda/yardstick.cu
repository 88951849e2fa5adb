#include <frieze/core/cuda/launch.cuh>

#include <frieze/core/cuda/yardstick.h>
#include <frieze/core/random.h>

namespace frieze::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void copy_16_bytes_per_thread(const uint4* from, uint4* to, std::size_t packs, int rest) {
  const std::size_t i = static_cast<std::size_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < packs) {
    to[i] = from[i];
  } else if (i == packs) {
    for (int byte = 0; byte < rest; ++byte) reinterpret_cast<char*>(to + packs)[byte] = reinterpret_cast<const char*>(from + packs)[byte];
  }
}

// The i-th number of the sequence, then Box-Muller.
template <class T>
__global__ void fill_normal_element_per_thread(T* data, std::int64_t count, std::uint64_t seed) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const std::uint64_t z = SplitMix64{seed}.at(static_cast<std::uint64_t>(i));
  const float u = (static_cast<float>(z >> 40) + 1.0F) * 0x1p-24F, angle = static_cast<float>(z & 0xFFFFFF) * 0x1p-23F;
  data[i] = narrow<T>(sqrtf(-2.0F * logf(u)) * cospif(angle));
}

}  // namespace

void copy_16_bytes_a_thread(const void* from, void* to, std::size_t bytes, cudaStream_t stream) {
  const std::size_t packs = bytes / 16;
  const int rest = static_cast<int>(bytes % 16);
  const std::size_t threads = packs + (rest > 0 ? 1 : 0);
  if (threads == 0) return;
  launch_kernel(copy_16_bytes_per_thread, static_cast<unsigned>(ceil_div(threads, std::size_t{kThreads})), kThreads, 0, stream,
                static_cast<const uint4*>(from), static_cast<uint4*>(to), packs, rest);
}

void fill_normal(void* data, DType t, std::int64_t count, std::uint64_t seed, cudaStream_t stream) {
  if (count == 0) return;
  dispatch(t, [&](auto zero) {
    using T = decltype(zero);
    launch_kernel(fill_normal_element_per_thread<T>, static_cast<unsigned>(ceil_div<std::int64_t>(count, kThreads)), kThreads, 0, stream,
                  static_cast<T*>(data), count, seed);
  });
}

}  // namespace frieze::cuda
