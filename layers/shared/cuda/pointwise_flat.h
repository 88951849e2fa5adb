#pragma once
/// The common cases of elementwise functions, with a kernel a function, for the speed of a copy. Internal to pointwise_math.cu.
#include <frieze/layers/shared/cuda/pointwise.h>
#include <frieze/layers/shared/nest.h>

namespace frieze::cuda {

/// y[i] = f(x[i]) for `count` elements of type `t`, both sides aligned to 16 bytes. False, and nothing is launched, for functions without
/// such a kernel.
bool launch_flat_unary(const UnaryOp& op, DType t, const void* x, void* y, std::int64_t count, cudaStream_t stream);
void preload_flat_unary(const UnaryOp& op, DType t);

/// y = a (op) b over `loops` of y, a and b, which move in packs of 16 bytes. False, and nothing is launched, where rows are not whole
/// packs, a tensor has 2^31 elements or more, or for functions without such a kernel.
bool launch_pack_binary(const BinaryOp& op, const Nest& loops, const TensorView& a, const TensorView& b, const TensorView& y,
                        cudaStream_t stream);
void preload_pack_binary(const BinaryOp& op, DType t);

}  // namespace frieze::cuda
