#pragma once
/// The constants of a plan in device memory.
#include <cstdint>
#include <map>

#include <frieze/core/cuda/handles.h>
#include <frieze/graph/plan.h>

namespace frieze::cuda {

/// Uploads them to the current device, by value; floats share their memory with equal ones of other sessions, as weights do. Notes in `at`
/// where each lies, and adds their bytes to `bytes`. Throws CudaError.
std::map<int, DeviceBuffer> upload_constants(const Plan& plan, std::map<int, void*>& at, std::int64_t& bytes);

}  // namespace frieze::cuda
