#include <frieze/graph/cuda/check_kernels.h>

#include <frieze/core/cuda/kernel.h>
#include <frieze/core/error.h>
#include <frieze/graph/reformat.h>
#include <frieze/graph/repeat.h>

namespace frieze::cuda {

void check_kernels(const Plan& plan) {
  visit_steps(plan, [](const Plan&, const Step& step) {
    if (loop_of(step) != nullptr || dynamic_cast<const Reformat*>(step.layer.get()) != nullptr) return;  // the plan's own
    try {
      kernel_registry().check_registered(*step.layer);
    } catch (const CudaError&) {
      rethrow_with(step.path + ": ", "");
    }
  });
}

}  // namespace frieze::cuda
