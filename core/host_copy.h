#pragma once
/// Copies between views in host memory.
#include <frieze/core/tensor.h>

namespace frieze {

/// Every element of `from` to the same place of `to`, bit for bit. One shape and type, any strides; the two must not overlap, and no
/// element of `to` may be there twice. Large ones go through several threads, and tiles where one side runs across the other.
void copy_elements(const TensorView& from, const TensorView& to);

}  // namespace frieze
