// A .cu file of a program that only says find_package(frieze) and target_link_libraries: C++20 comes with it.
#include <frieze/graph/session.h>
#include <frieze/core/cuda/launch.cuh>

#include <iostream>

#ifdef CUDA_CHECK
#error "CUDA_CHECK is a name that programs have for themselves"
#endif

__global__ void write_one(float* out) { *out = 1; }

int main() {
  std::cout << "plain: " << frieze::Device::cuda_count() << " CUDA devices, C++" << __cplusplus / 100 << '\n';
  if (frieze::Device::cuda_count() == 0) return 0;
  float* out = nullptr;
  FRIEZE_CUDA_CHECK(cudaMalloc(&out, sizeof(float)));
  frieze::cuda::launch_kernel(write_one, dim3(1), dim3(1), 0, cudaStreamPerThread, out);
  FRIEZE_CUDA_CHECK(cudaStreamSynchronize(cudaStreamPerThread));
  FRIEZE_CUDA_CHECK(cudaFree(out));
  return 0;
}
