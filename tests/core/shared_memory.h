#pragma once
/// Kernels for tests of dynamic shared memory.
#if FRIEZE_WITH_CUDA
#include <cuda_runtime_api.h>

#include <cstddef>

namespace frieze::test {

inline constexpr std::size_t kStaticBytes = 32 * 1024;

/// Writes how many ints `bytes` of shared memory hold to `out`, after each was written and read. `simple`: by the overload of launch_kernel
/// without a LaunchShape.
void launch_sum_of_shared(std::size_t bytes, bool simple, int* out, cudaStream_t stream);
/// The same in a kernel that has kStaticBytes of static shared memory besides, and counts them too.
void launch_static_and_dynamic(std::size_t bytes, bool simple, int* out, cudaStream_t stream);

}  // namespace frieze::test
#endif
