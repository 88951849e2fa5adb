#pragma once
/// The executor of CUDA sessions.
#include <memory>
#include <string>

#include <frieze/core/cuda/kernel.h>
#include <frieze/graph/executor.h>

namespace frieze::cuda {

/// Prepares, warms up and, unless the options say otherwise, captures `plan` on `device`, whatever device is current. `arena`: of the same
/// device, shared with others, or nullptr. Throws CudaError, CaptureError, MemoryError.
std::unique_ptr<Executor> make_executor(Plan plan, const CompileOptions& options, const DeviceInfo& device, const std::string& device_name,
                                        std::shared_ptr<Arena> arena);

}  // namespace frieze::cuda
