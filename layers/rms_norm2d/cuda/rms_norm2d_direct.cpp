// rms_norm2d(): every check, then one launch.
#include <cmath>

#include <frieze/core/cuda/check.h>
#include <frieze/core/error.h>
#include <frieze/core/overlap.h>
#include <frieze/layers/rms_norm2d/cuda/norm_call.h>

namespace frieze {
namespace {

void check_pointer(const void* p, DType t, const char* what) {
  check<OptionError>(reinterpret_cast<std::uintptr_t>(p) % size_of(t) == 0, "rms_norm2d expects ", what, " aligned to its elements of ",
                     size_of(t), " bytes, got ", p);
}

void check_tensor(const TensorView& v, const TensorView& x, const char* what) {
  check<ShapeError>(v.shape == x.shape, "rms_norm2d expects ", what, " of x's shape, got x ", x.shape, " and ", what, ' ', v.shape,
                    " as [N,C,H,W]");
  check<DTypeError>(v.dtype == x.dtype, "rms_norm2d expects ", what, " of x's type, got x ", x.dtype, " and ", what, ' ', v.dtype);
  check<OptionError>(v.data != nullptr, "rms_norm2d expects memory of ", what, ", got a null pointer");
  check_pointer(v.data, v.dtype, what);
}

void check_call(const TensorView& x, const TensorView& y, const RMSNorm2dCall& call) {
  check<ShapeError>(x.shape.rank() == 4, "rms_norm2d expects x of rank 4, got ", x.shape);
  check<ShapeError>(x.shape.elements() > 0, "rms_norm2d expects at least one element, got x ", x.shape, " as [N,C,H,W]");
  check_tensor(x, x, "x");
  check_tensor(y, x, "y");
  check<OptionError>(std::isfinite(call.eps) && call.eps >= 0, "rms_norm2d expects a finite eps of at least 0, got ", call.eps);
  check_pointer(call.weight, x.dtype, "weight");
  check_pointer(call.bias, x.dtype, "bias");
  for (int axis = 0; axis < 4; ++axis) {
    check<ShapeError>(y.shape[axis] == 1 || y.stride(axis) != 0, "rms_norm2d cannot write y: axis ", axis, " of ", y.shape,
                      " has stride 0, its elements share memory");
  }
  check<ShapeError>(same_elements(x, y) || !share_memory(x, y),
                    "rms_norm2d expects y to be exactly x or to be apart from it: they overlap (shape ", x.shape, ")");
  if (call.residual_mode == ResidualMode::none) return;
  check_tensor(call.residual, x, "residual");
  check<ShapeError>(same_elements(call.residual, y) || !share_memory(call.residual, y),
                    "rms_norm2d expects y to be exactly the residual or to be apart from it: they overlap (shape ", x.shape, ")");
}

}  // namespace

void rms_norm2d(const TensorView& x, const TensorView& y, const RMSNorm2dCall& call, cudaStream_t stream) {
  check_call(x, y, call);
  int device = 0;
  CUDA_CHECK(cudaGetDevice(&device));
  const cuda::NormOptions options{call.eps, call.eps_mode, call.rounding, call.activation, Activation::none, call.residual_mode};
  const cuda::NormFormula formula = cuda::make_formula(options, x.shape.c(), x.dtype);
  const TensorView* const residual = call.residual_mode != ResidualMode::none ? &call.residual : nullptr;
  const cuda::NormCall launch =
      cuda::make_norm_call(x, y, residual, call.weight, call.bias, formula, Format::nchw, cuda::known_device(device));
  cuda::launch_norm(cuda::default_norm_config(launch.problem), x.dtype, launch.args, launch.strides, stream);
}

}  // namespace frieze
