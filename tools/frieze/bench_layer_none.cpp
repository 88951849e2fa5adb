#include <frieze/core/error.h>

#include "tools/frieze/bench_layer.h"

namespace frieze::tools {

LayerResult bench_layer(const LayerCase&, const LayerBenchSettings&) {
  throw CudaError("bench-op needs a CUDA device: this is a CPU-only build");
}

}  // namespace frieze::tools
