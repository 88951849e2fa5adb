#include <frieze/graph/cuda/check_kernels.h>

#include <frieze/core/cuda/kernel.h>
#include <frieze/core/error.h>
#include <frieze/graph/reformat.h>

namespace frieze::cuda {

void check_kernels(const Plan& plan) {
  for (const Step& step : plan.steps) {
    if (dynamic_cast<const Reformat*>(step.layer.get()) != nullptr) continue;
    try {
      kernel_registry().check_registered(*step.layer);
    } catch (const CudaError&) {
      rethrow_with(step.path + ": ", "");
    }
  }
}

}  // namespace frieze::cuda
