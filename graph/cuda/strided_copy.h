#pragma once
/// A copy between views, for taps and for the steps that passes insert.
#include <cuda_runtime_api.h>

#include <frieze/core/tensor.h>

namespace frieze::cuda {

/// Every element of `from` to the same place of `to`, bit for bit, in one kernel: an element a thread, along the axis in which `to` runs
/// fastest. One shape and type; any strides that are not negative; no element of `to` twice. Throws CudaError.
void launch_strided_copy(const TensorView& from, const TensorView& to, cudaStream_t stream);
/// Loads its kernels. Throws CudaError.
void preload_strided_copy();

}  // namespace frieze::cuda
