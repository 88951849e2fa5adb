#pragma once
/// What layers share that see a tensor's memory another way.
#include <string_view>

#include <frieze/core/error.h>
#include <frieze/core/tensor.h>

namespace frieze {

/// `axis` counted from the front; a negative one counts from the end. Throws ShapeError, beginning with `who`, if it is not there.
inline int checked_axis(std::string_view who, const Shape& shape, int axis) {
  check<ShapeError>(-shape.rank() <= axis && axis < shape.rank(), who, " expects rank ", axis < 0 ? -axis : axis + 1, " or more for axis ",
                    axis, ", got ", shape, " of rank ", shape.rank());
  return axis < 0 ? axis + shape.rank() : axis;
}

/// `x` repeated to `shape`: its extents of 1, and the axes in front that it lacks, as NumPy does.
inline TensorView broadcast_view(const TensorView& x, const Shape& shape) {
  TensorView repeated(x.data, shape, x.dtype, Strides{});
  const int missing = shape.rank() - x.shape.rank();
  for (int axis = missing; axis < shape.rank(); ++axis) {
    if (x.shape[axis - missing] != 1) repeated.strides[static_cast<std::size_t>(axis)] = x.stride(axis - missing);
  }
  return repeated;
}

/// `x` without the elements before `begin` along `axis`, and with `extent` of them.
inline TensorView slice_view(const TensorView& x, int axis, std::int64_t begin, std::int64_t extent) {
  char* const first = x.as<char>() + begin * x.stride(axis) * static_cast<std::int64_t>(size_of(x.dtype));
  return TensorView(first, x.shape.with(axis, extent), x.dtype, x.strides);
}

/// The part of `storage`'s memory that `layout` and `shape` describe.
inline TensorView at_layout(const TensorView& storage, const Shape& shape, const Layout& layout) {
  char* const first = storage.as<char>() + layout.offset * static_cast<std::int64_t>(size_of(storage.dtype));
  return TensorView(first, shape, storage.dtype, layout.strides);
}

}  // namespace frieze
