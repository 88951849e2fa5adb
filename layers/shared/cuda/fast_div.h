#pragma once
/// Division by a number that the host knows, as a multiplication: for kernels that turn an offset into indices for every access.
#include <bit>
#include <cstdint>

#ifdef __CUDACC__
#define FRIEZE_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define FRIEZE_HOST_DEVICE inline
#endif

namespace frieze::cuda {

/// n / divisor for n below 2^31 and a divisor from 1 to 2^31 - 1.
/// T. Granlund, P. L. Montgomery, "Division by invariant integers using multiplication", 1994, figure 4.1.
struct FastDiv {
  std::uint32_t divisor = 1, factor = 1;
  int shift = 0;

  FastDiv() = default;
  explicit FastDiv(std::uint32_t d) : divisor(d), shift(d <= 1 ? 0 : std::bit_width(d - 1)) {
    factor = static_cast<std::uint32_t>((std::uint64_t{1} << 32) * ((std::uint64_t{1} << shift) - d) / d + 1);
  }
  FRIEZE_HOST_DEVICE std::uint32_t quotient(std::uint32_t n) const {
#ifdef __CUDA_ARCH__
    return (__umulhi(n, factor) + n) >> shift;
#else
    return (static_cast<std::uint32_t>(std::uint64_t{n} * factor >> 32) + n) >> shift;
#endif
  }
};

}  // namespace frieze::cuda

#undef FRIEZE_HOST_DEVICE
