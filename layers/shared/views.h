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

/// The part of `storage`'s memory that `layout` and `shape` describe.
inline TensorView at_layout(const TensorView& storage, const Shape& shape, const Layout& layout) {
  char* const first = storage.as<char>() + layout.offset * static_cast<std::int64_t>(size_of(storage.dtype));
  return TensorView(first, shape, storage.dtype, layout.strides);
}

}  // namespace frieze
