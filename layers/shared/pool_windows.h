#pragma once
/// Which positions of an input each output of a pooling looks at, along one axis; on the host and the device.
#include <cstdint>

#ifdef __CUDACC__
#define FRIEZE_HOST_DEVICE __host__ __device__
#else
#define FRIEZE_HOST_DEVICE
#endif

namespace frieze {

/// Positions first, first + step, …, `count` of them, all inside of the input; `padded`: how many there are if those in the padding count.
template <class Int>
struct PoolSpan {
  Int first, count, step, padded;
};

template <class Int>
struct PoolAxis {
  Int in = 1, out = 1;
  Int kernel = 1, stride = 1, padding = 0, dilation = 1;
  bool adaptive = false;  ///< kernel and the rest follow from in and out: from floor(o * in / out) to ceil((o + 1) * in / out)

  FRIEZE_HOST_DEVICE PoolSpan<Int> span(Int o) const {
    if (adaptive && (std::int64_t{in} + 1) * (std::int64_t{out} + 1) <= 0x7FFFFFFF) {  // 32 bits divide several times faster
      const auto at = static_cast<std::uint32_t>(o), extent = static_cast<std::uint32_t>(in), bins = static_cast<std::uint32_t>(out);
      const std::uint32_t first = at * extent / bins, end = ((at + 1) * extent + bins - 1) / bins;
      return {static_cast<Int>(first), static_cast<Int>(end - first), 1, static_cast<Int>(end - first)};
    }
    if (adaptive) {
      const auto first = static_cast<Int>(std::int64_t{o} * in / out);
      const auto end = static_cast<Int>(((std::int64_t{o} + 1) * in + out - 1) / out);
      return {first, end - first, 1, end - first};
    }
    const Int start = o * stride - padding;
    const Int padded_end = start + kernel < in + padding ? start + kernel : in + padding;
    const Int left_out = start >= 0 ? 0 : dilation == 1 ? -start : (-start + dilation - 1) / dilation;
    const Int first = start + left_out * dilation;
    Int inside = in - first;
    if (inside < 0) inside = 0;
    if (dilation > 1) inside = (inside + dilation - 1) / dilation;
    Int count = kernel - left_out < inside ? kernel - left_out : inside;
    if (count < 0) count = 0;
    return {first, count, dilation, padded_end - start};
  }
};

/// What pooling makes of the values that an output looks at.
enum class PoolKind : std::uint8_t { max, mean };

template <class Int>
struct PoolWindows {
  PoolAxis<Int> h, w;
  PoolKind kind = PoolKind::max;
  bool count_padding = false;  ///< of a mean: positions in the padding count as zeros
  Int divisor = 0;             ///< of a mean, instead of the number of positions; 0: none
};

}  // namespace frieze

#undef FRIEZE_HOST_DEVICE
