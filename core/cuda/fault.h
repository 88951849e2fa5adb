#pragma once
/// Where tests make CUDA fail: every allocation, stream, event, copy, launch, capture and instantiation of the library.
#include <cuda_runtime_api.h>

namespace frieze::cuda {

/// Asked at each point by its name, e.g. "cudaMalloc"; true: the call is not made and fails with cudaErrorMemoryAllocation.
using FaultHook = bool (*)(const char* point);
/// Sets the hook of the whole process, nullptr for none.
void set_fault_hook(FaultHook hook) noexcept;
/// One load of a pointer while there is no hook.
bool fails_here(const char* point) noexcept;

}  // namespace frieze::cuda

/// A checked call that tests may let fail. `point`: its name in hooks.
#define CUDA_CHECK_AT(point, call) \
  ::frieze::cuda::check_call(::frieze::cuda::fails_here(point) ? cudaErrorMemoryAllocation : (call), #call, __FILE__, __LINE__)
