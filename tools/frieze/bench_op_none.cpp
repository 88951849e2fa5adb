#include <frieze/core/error.h>

#include "tools/frieze/bench_op.h"

namespace frieze::tools {
namespace {
[[noreturn]] void refuse() { throw CudaError("bench-op needs a CUDA device: this is a CPU-only build"); }
}  // namespace

BenchResult bench_rms_norm2d(const BenchCase&, const BenchSettings&) { refuse(); }
BenchResult profile_rms_norm2d(const BenchCase&, const BenchSettings&) { refuse(); }
std::string use_bench_device(const std::string&) { refuse(); }

}  // namespace frieze::tools
