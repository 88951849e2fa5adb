#pragma once
/// Internal to Conv2d: one product of the tensor cores.
#include <cstdint>
#include <type_traits>

#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {

/// d[16,8] += a[16,16] * b[16,8], T f16 or bf16. Lane 4*i + j holds of a rows i, i + 8, i, i + 8 at columns 2j and 2j + 1 (a[2] and a[3]: 8
/// more), of b the same two rows in column i, of d rows i, i, i + 8, i + 8 at columns 2j, 2j + 1.
template <class T>
__device__ __forceinline__ void multiply_add(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  if constexpr (std::is_same_v<T, __half>) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

}  // namespace frieze::cuda
