#pragma once
/// What speeds are measured against: a copy, over data that is like real data.
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include <frieze/core/dtype.h>

namespace frieze::cuda {

/// The simplest copy that reaches the memory's speed: 16 bytes a thread. Both pointers are aligned to 16 bytes.
void copy_16_bytes_a_thread(const void* from, void* to, std::size_t bytes, cudaStream_t stream);
/// Standard normal numbers, the same for the same seed. Not zeros: a device draws less power on zeros and runs faster than on
/// anything real.
void fill_normal(void* data, DType t, std::int64_t count, std::uint64_t seed, cudaStream_t stream);

}  // namespace frieze::cuda
