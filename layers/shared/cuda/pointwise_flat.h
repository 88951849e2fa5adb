#pragma once
/// Functions of one value over contiguous memory: a kernel a function, for the speed of a copy. Internal to pointwise_math.cu.
#include <frieze/layers/shared/cuda/pointwise.h>

namespace frieze::cuda {

/// y[i] = f(x[i]) for `count` elements of type `t`, both sides aligned to 16 bytes. False, and nothing is launched, for functions without
/// such a kernel.
bool launch_flat_unary(const UnaryOp& op, DType t, const void* x, void* y, std::int64_t count, cudaStream_t stream);
void preload_flat_unary(const UnaryOp& op, DType t);

}  // namespace frieze::cuda
