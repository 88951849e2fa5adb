#pragma once
/// Checked CUDA calls under a short name. Internal: no installed header includes this.
#include <frieze/core/cuda/checked_call.h>

#define CUDA_CHECK(call) ::frieze::cuda::check_call((call), #call, __FILE__, __LINE__)
