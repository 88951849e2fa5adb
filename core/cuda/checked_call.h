#pragma once
/// Checked CUDA calls, for authors of kernels too.
#include <cuda_runtime_api.h>

#include <frieze/core/error.h>

namespace frieze FRIEZE_API {
namespace cuda {

/// Throws CudaError "cudaMalloc(&p, n): out of memory (file.cpp:41)", with its code, unless `status` is success.
void check_call(cudaError_t status, const char* call, const char* file, int line);

}  // namespace cuda
}  // namespace FRIEZE_API

#define FRIEZE_CUDA_CHECK(call) ::frieze::cuda::check_call((call), #call, __FILE__, __LINE__)
