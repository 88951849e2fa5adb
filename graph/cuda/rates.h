#pragma once
/// What a device does at best: copies of many sizes, and a large matrix product, measured when asked.
#include <frieze/core/cuda/kernel.h>
#include <frieze/graph/step_times.h>

namespace frieze::cuda {

/// Copies of 8 KiB to half a GiB (less where memory is short), each again and again between the same two buffers, by a kernel and by the
/// driver, whichever is faster; and a matrix product of `dtype`, by cuBLASLt's fastest algorithm. Takes about a second. The device is
/// current. Throws CudaError.
DeviceRates measure_rates(const DeviceInfo& device, DType dtype, bool allow_tf32);

}  // namespace frieze::cuda
