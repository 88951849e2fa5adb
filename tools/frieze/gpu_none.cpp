#include <frieze/core/error.h>

#include "tools/frieze/gpu.h"

namespace frieze::tools {

std::vector<GpuFacts> gpus() { return {}; }

LaunchTiming time_launches(Session&, int) { throw CudaError("this is a CPU-only build: there are no CUDA launches to time"); }

}  // namespace frieze::tools
