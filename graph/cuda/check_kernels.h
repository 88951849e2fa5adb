#pragma once
/// Whether every step of a plan has a kernel.
#include <frieze/graph/plan.h>

namespace frieze::cuda {

/// Throws CudaError naming the first step without one, and what to do about it.
void check_kernels(const Plan& plan);

}  // namespace frieze::cuda
