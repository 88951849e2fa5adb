#pragma once
/// Division of thread and element indices, in 32 bits wherever all of them fit.
#include <cstdint>

#include <frieze/layers/shared/cuda/fast_div.h>
#include <frieze/layers/shared/cuda/epilogue.cuh>

namespace frieze::cuda {

/// Divides by one number, as a multiplication if every dividend is below 2^31.
struct IndexDiv {
  std::int64_t divisor = 1;
  FastDiv fast;
  bool narrow = true;

  IndexDiv() = default;
  /// Dividends are below `most`.
  IndexDiv(std::int64_t divisor, std::int64_t most)
      : divisor(divisor), narrow(divisor < (std::int64_t{1} << 31) && most <= (std::int64_t{1} << 31)) {
    if (narrow) fast = FastDiv(static_cast<std::uint32_t>(divisor));
  }
  __device__ __forceinline__ DivMod operator()(std::int64_t n) const {
    if (!narrow) return div_mod(n, divisor);
    const auto n32 = static_cast<std::uint32_t>(n);
    const std::uint32_t q = fast.quotient(n32);
    return {q, n32 - q * fast.divisor};
  }
};

}  // namespace frieze::cuda
