#pragma once
/// rms_norm2d() behind the binding, for each kind of device.
#include <cstdint>
#include <optional>

#include <frieze/layers/rms_norm2d/rms_norm2d.h>

#include "tools/python/binding.h"

namespace frieze::python {

/// A view and its device, as DLPack names it.
struct Placed {
  TensorView view;
  int type = 0, id = 0;
};

/// What the caller gave.
struct NormTensors {
  Placed x, y;
  std::optional<Placed> weight, bias, residual;
};

/// Throws OptionError for an unknown name or an impossible eps.
RMSNorm2dCall norm_call(std::optional<double> eps, const std::string& residual_mode, const std::string& activation,
                        const std::string& eps_mode, const std::string& rounding);
/// Checks all of it, then works without the GIL. Throws ShapeError, DTypeError, OptionError, CudaError.
void run_norm(const NormTensors& tensors, const RMSNorm2dCall& call, std::uintptr_t stream);

void bind_exchange(nb::module_& m);

/// Checked views. The parameters' pointers in `call` are not set.
struct NormArrays {
  TensorView x, y;
  RMSNorm2dCall call;
  std::optional<TensorView> weight, bias;
};

void norm_on_cpu(const NormArrays& arrays);
/// On the stream of this handle, with `device` current meanwhile. Throws CudaError in a build without CUDA.
void norm_on_cuda(NormArrays& arrays, int device, std::uintptr_t stream);

}  // namespace frieze::python
