#pragma once
/// The counter of a loop: how many of its iterations have ended, in device memory.
#include <cuda_runtime_api.h>

#include <cstdint>

namespace frieze::cuda {

/// Each enqueues a kernel of one thread, or adds it as a node. Throw CudaError.
void reset_counter(std::int32_t* counter, cudaStream_t stream);
/// ++counter. A loop node's body ends with the second form, which lets it run again while counter < iterations.
void advance_counter(std::int32_t* counter, cudaStream_t stream);
void advance_counter(std::int32_t* counter, std::int32_t iterations, cudaGraphConditionalHandle condition, cudaStream_t stream);
/// Copies row *counter of `table`, rows of `bytes` bytes, a multiple of 2, to `row`. At most iterations - 1 is taken for *counter.
void copy_row(const std::int32_t* counter, std::int32_t iterations, const void* table, void* row, std::int64_t bytes, cudaStream_t stream);
void preload_loop();

}  // namespace frieze::cuda
