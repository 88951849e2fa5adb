#pragma once
/// Why there is no CUDA device. Internal.
#include <string>

namespace frieze::cuda {

/// After cudaGetDeviceCount said `status` (a cudaError_t): no driver, an older driver, or no device. Versions are CUDA's numbers, e.g.
/// 12040; a driver's is 0 where there is none.
std::string why_no_device(int status, int driver_version, int runtime_version);
/// The same, with the versions of this machine.
std::string why_no_device(int status);

}  // namespace frieze::cuda
