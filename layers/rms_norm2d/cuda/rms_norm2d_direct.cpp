// rms_norm2d(): every check, then one launch.
#include <cmath>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/device_memory.h>
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
  const double eps = call.eps.value_or(default_eps(call.eps_mode));
  check<OptionError>(std::isfinite(eps) && eps >= 0, "rms_norm2d expects a finite eps of at least 0, got ", eps);
  check_pointer(call.weight, x.dtype, "weight");
  check_pointer(call.bias, x.dtype, "bias");
  for (int axis = 0; axis < 4; ++axis) {
    check<ShapeError>(y.shape[axis] == 1 || y.stride(axis) != 0, "rms_norm2d cannot write y: axis ", axis, " of ", y.shape,
                      " has stride 0, its elements share memory");
  }
  check<ShapeError>(same_elements(x, y) || !share_memory(x, y),
                    "rms_norm2d expects y to be exactly x or to be apart from it: they overlap (shape ", x.shape, ")");
  for (const void* const parameter : {call.weight, call.bias}) {
    if (parameter == nullptr) continue;
    const TensorView values(const_cast<void*>(parameter), {Shape{x.shape.c()}, x.dtype});
    check<ShapeError>(!share_memory(values, y), "rms_norm2d expects y to be apart from weight and bias: they overlap (shape ", x.shape,
                      ")");
  }
  if (call.residual_mode == ResidualMode::none) return;
  check_tensor(call.residual, x, "residual");
  check<ShapeError>(same_elements(call.residual, y) || !share_memory(call.residual, y),
                    "rms_norm2d expects y to be exactly the residual or to be apart from it: they overlap (shape ", x.shape, ")");
}

// A kernel that is given a host pointer or memory of another device fails for good, and takes the process's context with it.
void check_memory(const TensorView& x, const TensorView& y, const RMSNorm2dCall& call, int device) {
  const auto check_view = [&](const TensorView& v, const char* what) {
    const ByteRange range = byte_range(v);
    cuda::check_device_memory(range.begin, static_cast<std::size_t>(range.bytes), device, what);
  };
  check_view(x, "rms_norm2d, x");
  if (y.data != x.data) check_view(y, "rms_norm2d, y");
  if (call.residual_mode != ResidualMode::none) check_view(call.residual, "rms_norm2d, residual");
  const std::size_t parameter_bytes = static_cast<std::size_t>(x.shape.c()) * size_of(x.dtype);
  if (call.weight != nullptr) cuda::check_device_memory(call.weight, parameter_bytes, device, "rms_norm2d, weight");
  if (call.bias != nullptr) cuda::check_device_memory(call.bias, parameter_bytes, device, "rms_norm2d, bias");
}

}  // namespace

void rms_norm2d(const TensorView& x, const TensorView& y, const RMSNorm2dCall& call, cudaStream_t stream) {
  check_call(x, y, call);
  int device = 0;
  CUDA_CHECK(cudaGetDevice(&device));
  check_memory(x, y, call, device);
  const double eps = call.eps.value_or(default_eps(call.eps_mode));
  const cuda::NormOptions options{eps, call.eps_mode, call.rounding, call.activation, Activation::none, call.residual_mode};
  const cuda::NormFormula formula = cuda::make_formula(options, x.shape.c(), x.dtype);
  const TensorView* const residual = call.residual_mode != ResidualMode::none ? &call.residual : nullptr;
  const cuda::NormCall launch =
      cuda::make_norm_call(x, y, residual, call.weight, call.bias, formula, Format::nchw, cuda::known_device(device));
  cuda::launch_norm(cuda::default_norm_config(launch.problem), x.dtype, launch.args, launch.strides, stream);
}

}  // namespace frieze
