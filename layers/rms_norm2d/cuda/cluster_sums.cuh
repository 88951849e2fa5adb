#pragma once
/// Sums that the blocks of a cluster send into each other's shared memory (sm_90; PTX ISA, "st.async", "mbarrier"). The receiver waits
/// for bytes, not for blocks: no barrier of the whole cluster stands between a sum and its use, and none before a block may end.
#include <frieze/layers/rms_norm2d/cuda/normalise.cuh>

namespace frieze::cuda {

__device__ __forceinline__ unsigned shared_address(const void* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }

/// One thread, before the cluster's first barrier: `arrived` will count `bytes` bytes, once.
__device__ __forceinline__ void expect_bytes(std::uint64_t* arrived, unsigned bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  const unsigned at = shared_address(arrived);
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\n" ::"r"(at) : "memory");
  asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(at), "r"(bytes) : "memory");
#endif
}

/// Every thread of the cluster: what it did before can be relied on by others after their wait_for_cluster(), if it was expect_bytes().
__device__ __forceinline__ void arrive_at_cluster() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.relaxed.aligned;\n" ::: "memory");
#endif
}
/// Returns when every thread of the cluster has arrived.
__device__ __forceinline__ void wait_for_cluster() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.acquire.aligned;\n" ::: "memory");
#endif
}

/// Returns when all bytes are there and can be read.
__device__ __forceinline__ void wait_for_bytes(std::uint64_t* arrived) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  unsigned done = 0;
  while (done == 0) {
    asm volatile(
        "{\n.reg .pred p;\n"
        "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], 0;\n"
        "selp.b32 %0, 1, 0, p;\n}\n"
        : "=r"(done)
        : "r"(shared_address(arrived))
        : "memory");
  }
#endif
}

/// One thread, when nobody waits or sends any more: tools that follow barriers need to know.
__device__ __forceinline__ void forget(std::uint64_t* arrived) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("mbarrier.inval.shared::cta.b64 [%0];\n" ::"r"(shared_address(arrived)) : "memory");
#endif
}

/// Stores 16 bytes to where `to` is in block `rank` of the cluster, and counts them at its `arrived`.
__device__ __forceinline__ void send(float* to, const float4& v, std::uint64_t* arrived, int rank) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  unsigned there = 0, counter = 0;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;\n" : "=r"(there) : "r"(shared_address(to)), "r"(rank));
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;\n" : "=r"(counter) : "r"(shared_address(arrived)), "r"(rank));
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];\n" ::"r"(there), "f"(v.x),
               "f"(v.y), "f"(v.z), "f"(v.w), "r"(counter)
               : "memory");
#endif
}

/// The numbers of the four neighbouring lanes that t / 4 is the same for. All lanes of a warp.
__device__ __forceinline__ float4 of_four_lanes(float v) {
  const int first = static_cast<int>(threadIdx.x) & 28;
  return make_float4(__shfl_sync(~0U, v, first), __shfl_sync(~0U, v, first + 1), __shfl_sync(~0U, v, first + 2),
                     __shfl_sync(~0U, v, first + 3));
}

/// Thread t < count, a multiple of 4, has block `rank`'s sum number t and gets that of all `ranks` blocks, the same bits in each.
/// `gathered`: room for ranks * count sums, not used otherwise; `arrived` expects as many bytes. All threads of the block call it, after
/// all blocks of the cluster have begun.
template <class T>
__device__ __forceinline__ SquareSum<T> join_cluster(const SquareSum<T>& own, int count, int rank, int ranks, float* gathered,
                                                     std::uint64_t* arrived) {
  const int tid = static_cast<int>(threadIdx.x), all = ranks * count;
  const float4 high = of_four_lanes(own.high);
  float4 low{};
  if constexpr (SquareSum<T>::kFloats == 2) low = of_four_lanes(own.low);
  SquareSum<T> sum;
  if (tid >= count) return sum;
  float* const to = gathered + rank * count + (tid & ~3);
  for (int r = tid & 3; r < ranks; r += 4) {
    send(to, high, arrived, r);
    if constexpr (SquareSum<T>::kFloats == 2) send(to + all, low, arrived, r);
  }
  wait_for_bytes(arrived);
#pragma unroll 8
  for (int r = 0; r < ranks; ++r) sum.join(SharedSums<T>{gathered, all}.get(r * count + tid));
  return sum;
}

}  // namespace frieze::cuda
