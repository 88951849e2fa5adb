#pragma once
/// Checked CUDA calls. Included by CUDA sources only; user headers never pull in CUDA's.
#include <cuda_runtime_api.h>

#include <frieze/core/error.h>

namespace frieze::cuda {

/// Throws CudaError "cudaMalloc(&p, n): out of memory (file.cpp:41)" unless `status` is success.
void check_call(cudaError_t status, const char* call, const char* file, int line);

#define CUDA_CHECK(call) ::frieze::cuda::check_call((call), #call, __FILE__, __LINE__)

}  // namespace frieze::cuda
