#pragma once
/// The kernel behind Reformat steps.
#include <memory>

#include <frieze/core/cuda/kernel.h>

namespace frieze::cuda {

/// Moves a tensor from the format of `in` to that of `out`; shape and dtype are the same. The views, without memory, say what strides they
/// have; contiguous ones by default.
std::unique_ptr<Kernel> make_reformat_kernel(const TensorSpec& in, const TensorSpec& out);
std::unique_ptr<Kernel> make_reformat_kernel(const TensorSpec& in, const TensorSpec& out, const TensorView& in_view,
                                             const TensorView& out_view);

}  // namespace frieze::cuda
