#pragma once
/// Copies from global to shared memory that run beside the thread (sm_80 and later; PTX ISA, "cp.async").
#include <cuda_runtime.h>

#include <cstdint>

namespace frieze::cuda {

/// 16 bytes, both addresses multiples of 16; past the L1 cache, as nothing is read twice.
__device__ __forceinline__ void copy_async_16(void* to_shared, const void* from_global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n" ::"r"(static_cast<unsigned>(__cvta_generic_to_shared(to_shared))),
               "l"(from_global)
               : "memory");
}
/// The same where `inside`, else 16 zero bytes; `from_global` is an address in any case.
__device__ __forceinline__ void copy_async_16_or_zero(void* to_shared, const void* from_global, bool inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(static_cast<unsigned>(__cvta_generic_to_shared(to_shared))),
               "l"(from_global), "r"(inside ? 16 : 0)
               : "memory");
}
/// Ends a group of copies, which may be empty.
__device__ __forceinline__ void commit_async() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
/// Waits until all groups of this thread have arrived.
__device__ __forceinline__ void wait_async() { asm volatile("cp.async.wait_group 0;\n" ::: "memory"); }

/// Starts to bring `bytes` bytes, a multiple of 16 as `from_global`, into L2, where a GPU can (sm_90). It reads nothing: memory that
/// other work is still writing may be asked for, since L2 is where its writes arrive.
__device__ __forceinline__ void prefetch_to_l2(const void* from_global, unsigned bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;\n" ::"l"(__cvta_generic_to_global(from_global)), "r"(bytes) : "memory");
#endif
}

}  // namespace frieze::cuda
