#pragma once
/// Elementwise kernels over device views of any strides: copy, one input, two inputs, a choice between two. Layers that only move or
/// combine elements are written as views plus one of these calls.
#include <cuda_runtime_api.h>

#include <frieze/core/layer.h>
#include <frieze/layers/shared/views.h>

namespace frieze::cuda {

/// y[i] = f(x[i]), computed in f32, rounded once. p and q are the numbers that f takes.
struct UnaryOp {
  enum class Code : std::uint8_t {
    activation,     ///< activate(activation, x, p)
    scale,          ///< p * x
    add,            ///< x + p
    subtract_from,  ///< p - x
    divide,         ///< x / p
    divide_into,    ///< p / x
    clamp,          ///< min(max(x, p), q); NaN stays
    power,          ///< x to the p
    greater,        ///< 1 if x > p, else 0; and so on
    greater_equal,
    less,
    less_equal,
    equal,
    not_equal,
    abs,
    exp,
    log,
    sqrt,
    rsqrt,
    sin,
    cos,
    square,
    floor
  };
  Code code = Code::activation;
  float p = 0, q = 0;
  Activation activation = Activation::none;
};
/// y[i] = a[i] (op) b[i], the same.
struct BinaryOp {
  enum class Code : std::uint8_t {
    add,
    subtract,
    mul,
    divide,
    minimum,  ///< NaN if either is
    maximum,
    greater,  ///< 1 if a > b, else 0; and so on
    greater_equal,
    less,
    less_equal,
    equal,
    not_equal,
    gate,   ///< a * activate(activation, b)
    prelu,  ///< a, below 0 a * b
  };
  Code code = Code::add;
  Activation activation = Activation::none;
};

/// What all share. Views: one shape of up to 8 axes, one dtype, any non-negative strides; an input's stride may be 0
/// (the element is repeated). The destination may be an input with the same strides; else they must not overlap.
/// 16-byte accesses where addresses, strides and extents allow; smaller ones, down to single elements, where not. Offsets are
/// 64-bit, threads are counted in 32 bits, so tensors of more than 2^31 packs take several launches.
/// They move each byte once, and are bound by memory. Throw ShapeError on shapes that differ, CudaError on a failed launch.
void launch_copy(const TensorView& src, const TensorView& dst, cudaStream_t stream);
void launch_unary(const UnaryOp& op, const TensorView& x, const TensorView& y, cudaStream_t stream);
void launch_binary(const BinaryOp& op, const TensorView& a, const TensorView& b, const TensorView& y, cudaStream_t stream);
/// y[i] = a[i] where condition[i] is not 0, else b[i]. Moves every bit as it is.
void launch_where(const TensorView& condition, const TensorView& a, const TensorView& b, const TensorView& y, cudaStream_t stream);

/// Loads the kernels that the calls above may pick. Throw CudaError.
void preload_copy(DType t);
void preload_unary(const UnaryOp& op, DType t);
void preload_binary(const BinaryOp& op, DType t);
void preload_where(DType t);

}  // namespace frieze::cuda
