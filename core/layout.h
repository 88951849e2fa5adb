#pragma once
/// Views that are ranges of the channels of a wider tensor.
#include <optional>

#include <frieze/core/tensor.h>

namespace frieze FRIEZE_API {

/// How far it is from one pixel (nhwc) or image (nchw, and other ranks of 2 or more) to the next, in elements, if a tensor of `shape` with
/// `strides` is a range of the channels of a contiguous tensor in `format`; nullopt if it is none. The elements of one pixel or image
/// where there is only one.
std::optional<std::int64_t> channel_range_step(const Shape& shape, const Strides& strides, Format format);

}  // namespace FRIEZE_API
