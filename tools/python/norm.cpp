// rms_norm2d() on arrays: every check here, the work by the reference on the CPU and by one kernel on CUDA.
#include "tools/python/norm.h"

#include <algorithm>
#include <limits>
#include <optional>

#include <frieze/core/error.h>
#include <frieze/core/overlap.h>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

namespace frieze::python {
namespace {

// [C], or [C] with extents of 1 around it: contiguous, of x's type.
void check_parameter(const TensorView& p, const TensorView& x, const std::string& what) {
  const Shape& s = p.shape;
  const bool fits = s.elements() == x.shape.c() &&
                    std::all_of(s.extents().begin(), s.extents().end(), [&](std::int64_t e) { return e == 1 || e == x.shape.c(); });
  check<ShapeError>(fits, what, ": expected [C] with C = ", x.shape.c(), " as x ", x.shape, " has it, got ", s);
  check<DTypeError>(p.dtype == x.dtype, what, ": expected the type of x, ", x.dtype, ", got ", p.dtype);
  check<OptionError>(p.is_contiguous(Format::nchw), what, ": expected contiguous memory");
}

void check_apart(const TensorView& out, const TensorView& other, const std::string& what, bool may_be_equal) {
  if (out.shape.elements() == 0 || other.shape.elements() == 0) return;
  if (may_be_equal && same_elements(out, other)) return;
  check<OptionError>(!share_memory(out, other), "out shares memory with ", what, may_be_equal ? ", and is not exactly it" : "");
}

template <class A>
Placed placed(const A& array, const std::string& what) {
  return {view_of(array, what), array.device_type(), array.device_id()};
}

void rms_norm2d_into(const Array& x, const std::optional<Array>& weight, const std::optional<Array>& bias,
                     const std::optional<Array>& residual, const Output& out, std::optional<double> eps, const std::string& residual_mode,
                     const std::string& activation, const std::string& eps_mode, const std::string& rounding, std::uintptr_t stream) {
  NormTensors t;
  t.x = placed(x, "x");
  t.y = placed(out, "out");
  if (weight) t.weight = placed(*weight, "weight");
  if (bias) t.bias = placed(*bias, "bias");
  if (residual) t.residual = placed(*residual, "residual");
  run_norm(t, norm_call(eps, residual_mode, activation, eps_mode, rounding), stream);
}

}  // namespace

RMSNorm2dCall norm_call(std::optional<double> eps, const std::string& residual_mode, const std::string& activation,
                        const std::string& eps_mode, const std::string& rounding) {
  RMSNorm2dCall call;
  call.eps = eps;
  call.residual_mode = parse_residual_mode(residual_mode);
  call.activation = parse_activation(activation);
  call.eps_mode = parse_eps_mode(eps_mode);
  call.rounding = parse_rounding(rounding);
  const double e = eps.value_or(default_eps(call.eps_mode));
  check<OptionError>(e >= 0 && e <= std::numeric_limits<double>::max(), "eps: expected a number that is finite and not negative, got ", e);
  return call;
}

void run_norm(const NormTensors& t, const RMSNorm2dCall& call, std::uintptr_t stream) {
  NormArrays a;
  a.call = call;
  a.x = t.x.view;
  a.y = t.y.view;
  check<ShapeError>(a.x.shape.rank() == 4, "x: expected [N,C,H,W], got ", a.x.shape);
  check<ShapeError>(a.y.shape == a.x.shape, "out: expected the shape of x, ", a.x.shape, ", got ", a.y.shape);
  check<DTypeError>(a.y.dtype == a.x.dtype, "out: expected the type of x, ", a.x.dtype, ", got ", a.y.dtype);
  const auto same_device = [&](const Placed& other, const char* what) {
    check<OptionError>(other.type == t.x.type && other.id == t.x.id, what, ": expected an array on the device of x");
  };
  same_device(t.y, "out");
  if (t.weight) {
    same_device(*t.weight, "weight");
    check_parameter(a.weight.emplace(t.weight->view), a.x, "weight");
    check_apart(a.y, *a.weight, "weight", false);
  }
  if (t.bias) {
    same_device(*t.bias, "bias");
    check_parameter(a.bias.emplace(t.bias->view), a.x, "bias");
    check_apart(a.y, *a.bias, "bias", false);
  }
  check<OptionError>((call.residual_mode != ResidualMode::none) == t.residual.has_value(),
                     t.residual ? "residual: it is not used with residual_mode='none'" : "residual_mode: a residual is needed for it");
  if (t.residual) {
    same_device(*t.residual, "residual");
    const TensorView& r = a.call.residual = t.residual->view;
    check<ShapeError>(r.shape == a.x.shape, "residual: expected the shape of x, ", a.x.shape, ", got ", r.shape);
    check<DTypeError>(r.dtype == a.x.dtype, "residual: expected the type of x, ", a.x.dtype, ", got ", r.dtype);
    check_apart(a.y, r, "residual", true);
  }
  check_apart(a.y, a.x, "x", true);
  if (a.x.shape.elements() == 0) return;
  const nb::gil_scoped_release work;
  if (t.x.type == nb::device::cpu::value || t.x.type == nb::device::cuda_host::value) {
    norm_on_cpu(a);
  } else {
    norm_on_cuda(a, t.x.id, stream);
  }
}

void norm_on_cpu(const NormArrays& a) {
  RMSNorm2dOptions options;
  options.eps = a.call.eps;
  options.eps_mode = a.call.eps_mode;
  options.rounding = a.call.rounding;
  options.activation = a.call.activation;
  options.residual = a.call.residual_mode;
  options.weight = a.weight.has_value();
  options.bias = a.bias.has_value();
  const RMSNorm2d layer(a.x.shape.c(), options);
  for (Parameter* p : layer.parameters()) p->values = to_floats(p->name == "weight" ? *a.weight : *a.bias);
  std::vector<TensorView> in = {a.x};
  if (options.residual != ResidualMode::none) in.push_back(a.call.residual);
  layer.reference({.in = in, .out = {&a.y, 1}, .run_dtype = a.x.dtype});
}

void bind_norm(nb::module_& m) {
  m.def("rms_norm2d_into", &rms_norm2d_into, nb::arg("x"), nb::arg("weight").none(), nb::arg("bias").none(), nb::arg("residual").none(),
        nb::arg("out"), nb::arg("eps").none(), nb::arg("residual_mode"), nb::arg("activation"), nb::arg("eps_mode"), nb::arg("rounding"),
        nb::arg("stream"), "frieze.rms_norm2d into an array that the caller has made.");
  bind_exchange(m);
}

}  // namespace frieze::python
