#pragma once
/// Whether two views meet in memory, whatever their strides are.
#include <frieze/core/tensor.h>

namespace frieze {

/// Where a view's elements lie: from the first byte of any to behind the last.
struct ByteRange {
  std::byte* begin = nullptr;
  std::int64_t bytes = 0;
};
/// The view must have elements.
ByteRange byte_range(const TensorView& view);

/// True if some byte belongs to an element of both. Views whose address ranges are apart are told apart at once; interleaved ones (the
/// two halves of the channels of an nhwc tensor) by a search, which answers true if it would take more than some 10^5 steps.
/// Views without elements meet nothing.
bool share_memory(const TensorView& a, const TensorView& b);

/// True if both have the same elements at the same addresses: the same data, shape, type and strides of axes longer than 1.
bool same_elements(const TensorView& a, const TensorView& b);

}  // namespace frieze
