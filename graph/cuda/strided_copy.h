#pragma once
/// A copy between views, for taps and for the steps that passes insert.
#include <cuda_runtime_api.h>

#include <cstdint>

#include <frieze/core/tensor.h>

namespace frieze::cuda {

/// Every element of `from` to the same place of `to`, bit for bit, in one kernel: an element a thread, along the axis in which `to` runs
/// fastest. One shape and type; any strides that are not negative; no element of `to` twice. Throws CudaError.
void launch_strided_copy(const TensorView& from, const TensorView& to, cudaStream_t stream);
/// The same in a loop's body, in iteration `iteration` alone: where *counter is that.
void launch_strided_copy_in(const std::int32_t* counter, std::int32_t iteration, const TensorView& from, const TensorView& to,
                            cudaStream_t stream);
/// What lies at `from`, device memory, as a contiguous tensor of `spec`; waits for `stream`. Throws CudaError.
HostTensor read_view(const TensorView& from, const TensorSpec& spec, cudaStream_t stream);
/// Loads its kernels. Throws CudaError.
void preload_strided_copy();

}  // namespace frieze::cuda
