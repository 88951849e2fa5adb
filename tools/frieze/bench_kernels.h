#pragma once
/// Kernels that only the benches need.
#include <frieze/core/cuda/yardstick.h>

namespace frieze::tools {

using cuda::copy_16_bytes_a_thread;
using cuda::fill_normal;

}  // namespace frieze::tools
