#pragma once
/// GPUs that are not there, for tests of what would be launched on them. While a DryDevice lives, the CUDA runtime's calls of this program
/// (the linker's --wrap, tests/CMakeLists.txt) answer as that GPU would as far as limits go: a launch that it could not run fails, no
/// kernel runs, "device" memory is the host's. Of the kernels, their __launch_bounds__ are known where they do not depend on template
/// arguments: nvcc hands those to the runtime.
#if FRIEZE_WITH_CUDA
#include <string>
#include <vector>

#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/shared/cuda/launch_needs.h>

namespace frieze::test {

struct DryLaunch {
  std::string kernel;       ///< mangled name
  cuda::LaunchNeeds needs;  ///< without static_shared
  bool dependent = false;
};

/// One GPU of each compute capability that the kernels are compiled for, with its real limits (CUDA C++ Programming Guide 13.0,
/// "Technical Specifications per Compute Capability"): A100, RTX 3060 (of 86, the one with the fewest multiprocessors), RTX 4060, H100,
/// B200, RTX 5060.
std::vector<cuda::DeviceInfo> gpus_of_every_capability();

/// Mangled names of all kernels of this program.
std::vector<std::string> registered_kernels();

/// At most one at a time; not for threads.
class DryDevice {
 public:
  /// `code`: the compute capability that the kernels' code was compiled for; 0: the device's.
  explicit DryDevice(const cuda::DeviceInfo& device, int code = 0);
  ~DryDevice();
  DryDevice(const DryDevice&) = delete;
  DryDevice& operator=(const DryDevice&) = delete;

  const cuda::DeviceInfo& info() const;
  /// Those that the device could run, since the last call.
  std::vector<DryLaunch> take_launches();
  /// Why the last launch that failed did; empty if none has.
  std::string refusal() const;
};

}  // namespace frieze::test
#endif
