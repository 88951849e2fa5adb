#pragma once
/// PTX that warp-group products need: barriers in shared memory, tensor copies, wgmma. For sm_90a only; PTX ISA, "Asynchronous Warpgroup
/// Level Matrix Instructions" and "Data Movement and Conversion Instructions: Tensor copy".
#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include <frieze/layers/shared/cuda/tensor_core.cuh>

namespace frieze::cuda::sm90a {

__device__ __forceinline__ std::uint32_t shared_address(const void* p) { return static_cast<std::uint32_t>(__cvta_generic_to_shared(p)); }

// Barriers (mbarrier objects of 8 bytes), by their address in shared memory.

__device__ __forceinline__ void barrier_init(std::uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void barrier_invalidate(std::uint32_t barrier) {
  asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}
/// Makes initialised barriers visible to the copy engine.
__device__ __forceinline__ void fence_barrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ __forceinline__ void barrier_arrive(std::uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
/// Arrives, and lets the phase end only when `bytes` more have been copied.
__device__ __forceinline__ void barrier_expect(std::uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
/// Waits until the phase of this parity has ended. The phase before the first counts as one of parity 1.
__device__ __forceinline__ void barrier_wait(std::uint32_t barrier, std::uint32_t parity) {
  asm volatile(
      "{\n.reg .pred p;\nWAIT%=:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1, 0x989680;\n@p bra DONE%=;\nbra "
      "WAIT%=;\nDONE%=:\n}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
__device__ __forceinline__ bool barrier_test(std::uint32_t barrier, std::uint32_t parity) {
  std::uint32_t ended;
  asm volatile("{\n.reg .pred p;\nmbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
               : "=r"(ended)
               : "r"(barrier), "r"(parity)
               : "memory");
  return ended != 0;
}

// Barriers by number (bar.sync), for `kThreads` threads.

template <int kThreads>
__device__ __forceinline__ void named_sync(int id) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "n"(kThreads) : "memory");
}
template <int kThreads>
__device__ __forceinline__ void named_arrive(int id) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "n"(kThreads) : "memory");
}

// Copies of boxes of a tensor. What lies outside of the tensor is read as zero and not written.

__device__ __forceinline__ void load_box(std::uint32_t to, const CUtensorMap& map, std::uint32_t barrier, int c0, int c1, int c2) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(to),
               "l"(&map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2)
               : "memory");
}
__device__ __forceinline__ void load_box(std::uint32_t to, const CUtensorMap& map, std::uint32_t barrier, int c0, int c1, int c2, int c3) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(to),
               "l"(&map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
               : "memory");
}
/// A group of its own. Ordinary stores to `from` come before it after a proxy fence in each storing thread and a barrier.
__device__ __forceinline__ void store_box(const CUtensorMap& map, std::uint32_t from, int c0, int c1, int c2, int c3) {
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(&map), "r"(from), "r"(c0),
               "r"(c1), "r"(c2), "r"(c3)
               : "memory");
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
__device__ __forceinline__ void fence_stores_for_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
/// Until this thread's stores have read shared memory.
__device__ __forceinline__ void wait_stores_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
__device__ __forceinline__ void wait_stores() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

// Products of a warp group.

__device__ __forceinline__ void product_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void product_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Until at most `kPending` groups are under way.
template <int kPending>
__device__ __forceinline__ void product_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

/// A matrix in shared memory, K along rows of 128 bytes, swizzled by 128 bytes: `start` and `group_stride`, from one 8 rows to the next, in
/// units of 16 bytes. The swizzle takes address bits, so a start at any row is right if the pattern begins at a multiple of 1024 bytes.
__device__ __forceinline__ constexpr std::uint64_t matrix_descriptor(std::uint32_t start, int group_stride) {
  return (std::uint64_t{1} << 62) | (static_cast<std::uint64_t>(group_stride) << 32) | (std::uint64_t{1} << 16) | (start & 0x3FFF);
}

#define FRIEZE_F4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define FRIEZE_F16(i) FRIEZE_F4(i), FRIEZE_F4(i + 4), FRIEZE_F4(i + 8), FRIEZE_F4(i + 12)
#define FRIEZE_PRODUCT(type)                                                                                                             \
  asm volatile(                                                                                                                          \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"                                                                                      \
      "wgmma.mma_async.sync.aligned.m64n256k16.f32." type "." type                                                                       \
      " {"                                                                                                                               \
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"           \
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63," \
      "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95," \
      "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,"   \
      "%122,%123,%124,%125,%126,%127}, %128, %129, p, 1, 1, 0, 0;\n}"                                                                    \
      : FRIEZE_F16(0), FRIEZE_F16(16), FRIEZE_F16(32), FRIEZE_F16(48), FRIEZE_F16(64), FRIEZE_F16(80), FRIEZE_F16(96), FRIEZE_F16(112)   \
      : "l"(a), "l"(b), "r"(add))

/// d = a * b^T, plus d if `add` is not 0: 64 rows of a, 256 rows of b, 16 of K.
template <class T>
__device__ __forceinline__ void product_64x256x16(float (&d)[128], std::uint64_t a, std::uint64_t b, int add) {
  if constexpr (std::is_same_v<T, __half>) {
    FRIEZE_PRODUCT("f16");
  } else {
    FRIEZE_PRODUCT("bf16");
  }
}
/// Keeps the compiler from moving reads of the sums above the wait for them.
__device__ __forceinline__ void hold(float (&d)[128]) {
  asm volatile("" : FRIEZE_F16(0), FRIEZE_F16(16), FRIEZE_F16(32), FRIEZE_F16(48)::"memory");
  asm volatile("" : FRIEZE_F16(64), FRIEZE_F16(80), FRIEZE_F16(96), FRIEZE_F16(112)::"memory");
}
#undef FRIEZE_PRODUCT
#undef FRIEZE_F16
#undef FRIEZE_F4

/// Four 8 x 8 matrices of 16-bit values, transposed; each lane gives the address of a row (PTX ISA, "stmatrix").
__device__ __forceinline__ void store_matrices_transposed(std::uint32_t at, std::uint32_t a, std::uint32_t b, std::uint32_t c,
                                                          std::uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(at), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}

}  // namespace frieze::cuda::sm90a
