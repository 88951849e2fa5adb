#pragma once
/// Two results of the same computation compared where they are: for checks of candidates while a plan is prepared.
#include <cuda_runtime_api.h>

#include <cstdint>

#include <frieze/core/dtype.h>

namespace frieze::cuda {

/// How many of `count` elements of a and b are further apart than relative * max(|a|,|b|) + absolute * (the largest finite |a|). NaN is
/// near NaN only, an infinity near the same only. Waits for `stream`; not inside a capture. Throws CudaError.
std::uint64_t count_far(DType dtype, const void* a, const void* b, std::int64_t count, double relative, double absolute,
                        cudaStream_t stream);

/// Its work without the waiting: `found` is 16 bytes of device memory, of which the first 8 become the count.
void enqueue_count_far(DType dtype, const void* a, const void* b, std::int64_t count, double relative, double absolute, void* found,
                       cudaStream_t stream);

}  // namespace frieze::cuda
