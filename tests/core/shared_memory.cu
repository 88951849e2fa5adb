#include <frieze/core/cuda/launch.cuh>

#include "core/shared_memory.h"

namespace frieze::test {
namespace {

constexpr int kThreads = 128;

// Right in thread 0.
__device__ int sum_of_ones(int* memory, int count) {
  __shared__ int total;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) total = 0;
  for (int i = thread; i < count; i += kThreads) memory[i] = 1;
  __syncthreads();
  int sum = 0;
  for (int i = kThreads - 1 - thread; i < count; i += kThreads) sum += memory[i];
  atomicAdd(&total, sum);
  __syncthreads();
  return total;
}

__global__ void sum_of_shared_block(int count, int* out) {
  extern __shared__ int dynamic[];
  const int sum = sum_of_ones(dynamic, count);
  if (threadIdx.x == 0) *out = sum;
}

__global__ void static_and_dynamic_block(int count, int* out) {
  extern __shared__ int dynamic[];
  __shared__ int fixed[kStaticBytes / sizeof(int)];
  const int first = sum_of_ones(dynamic, count);
  __syncthreads();
  const int sum = first + sum_of_ones(fixed, static_cast<int>(kStaticBytes / sizeof(int)));
  if (threadIdx.x == 0) *out = sum;
}

void launch(void (*kernel)(int, int*), std::size_t bytes, bool simple, int* out, cudaStream_t stream) {
  const int count = static_cast<int>(bytes / sizeof(int));
  if (simple) {
    cuda::launch_kernel(kernel, dim3(1), dim3(kThreads), bytes, stream, count, out);
  } else {
    cuda::launch_kernel(kernel, cuda::LaunchShape{dim3(1), dim3(kThreads), bytes}, stream, count, out);
  }
}

}  // namespace

void launch_sum_of_shared(std::size_t bytes, bool simple, int* out, cudaStream_t stream) {
  launch(&sum_of_shared_block, bytes, simple, out, stream);
}
void launch_static_and_dynamic(std::size_t bytes, bool simple, int* out, cudaStream_t stream) {
  launch(&static_and_dynamic_block, bytes, simple, out, stream);
}

}  // namespace frieze::test
