#pragma once
/// What the command line asks of CUDA itself. gpu_cuda.cpp answers where there is a toolkit, gpu_none.cpp elsewhere.
#include <string>
#include <vector>

#include <frieze/graph/session.h>

namespace frieze::tools {

struct GpuFacts {
  int index = 0;
  std::string name;
  int compute_capability = 0;  ///< 90 for sm_90
  int sm_count = 0;
  double memory_gib = 0, l2_mib = 0;
  std::string driver, runtime;  ///< the CUDA version that the driver can run, and the one this program was built with
};
/// Every GPU that this program can use; none in a CPU-only build or without a driver.
std::vector<GpuFacts> gpus();
/// Why there is none, for people.
std::string why_no_gpu();
/// Loads cuBLASLt and says its version; "" if there is none here.
std::string cublaslt_loaded();

/// Medians over rounds, in microseconds.
struct LaunchTiming {
  double host_us = 0;    ///< the host's time in Session::launch, on an idle device
  double device_us = 0;  ///< the device's time for one run, of several in a row between two events
};
/// Times `net.launch(stream)` on a stream of its own. Throws CudaError.
LaunchTiming time_launches(Session& net, int rounds);

}  // namespace frieze::tools
