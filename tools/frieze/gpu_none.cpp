#include <frieze/core/error.h>

#include "tools/frieze/gpu.h"

namespace frieze::tools {

std::vector<GpuFacts> gpus() { return {}; }

std::string why_no_gpu() { return "this is a CPU-only build"; }
std::string cublaslt_loaded() { return {}; }

LaunchTiming time_launches(Session&, int) { throw CudaError("this is a CPU-only build: there are no CUDA launches to time"); }

}  // namespace frieze::tools
