#pragma once
/// The kernel behind Reformat steps.
#include <memory>

#include <frieze/core/cuda/kernel.h>

namespace frieze::cuda {

/// Moves a contiguous tensor from the format of `in` to that of `out`; shape and dtype are the same.
std::unique_ptr<Kernel> make_reformat_kernel(const TensorSpec& in, const TensorSpec& out);

}  // namespace frieze::cuda
