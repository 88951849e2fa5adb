#pragma once
/// Elementwise kernels over device views of any strides: copy, one input, two inputs. Layers that only move or combine elements
/// are written as views plus one of these calls.
#include <cuda_runtime_api.h>

#include <frieze/core/layer.h>

namespace frieze::cuda {

/// y[i] = factor * f(x[i]), computed in f32, rounded once.
struct UnaryOp {
  Activation f = Activation::none;
  float factor = 1;
  float parameter = 0;  ///< of f
};
enum class BinaryOp : std::uint8_t { add, mul };

/// What all three share. Views: one shape of up to 8 axes, one dtype, any non-negative strides; an input's stride may be 0
/// (the element is repeated). The destination may be an input with the same strides; else they must not overlap.
/// 16-byte accesses where addresses, strides and extents allow; smaller ones, down to single elements, where not. Offsets are
/// 64-bit, threads are counted in 32 bits, so tensors of more than 2^31 packs take several launches.
/// They move each byte once, and are bound by memory. Throw ShapeError on shapes that differ, CudaError on a failed launch.
void launch_copy(const TensorView& src, const TensorView& dst, cudaStream_t stream);
void launch_unary(const UnaryOp& op, const TensorView& x, const TensorView& y, cudaStream_t stream);
void launch_binary(BinaryOp op, const TensorView& a, const TensorView& b, const TensorView& y, cudaStream_t stream);

/// Loads the kernels that the calls above may pick. Throw CudaError.
void preload_copy(DType t);
void preload_unary(DType t);
void preload_binary(DType t);

/// `x` with its extents of 1 repeated to `shape`, of the same rank.
TensorView broadcast_view(const TensorView& x, const Shape& shape);

/// `x` without the elements before `begin` along `axis`, and with `extent` of them.
TensorView slice_view(const TensorView& x, int axis, std::int64_t begin, std::int64_t extent);

}  // namespace frieze::cuda
