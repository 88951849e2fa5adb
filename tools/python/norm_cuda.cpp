#include <frieze/core/cuda/handles.h>

#include "tools/python/norm.h"

namespace frieze::python {

void norm_on_cuda(NormArrays& a, int device, std::uintptr_t stream) {
  const cuda::DeviceScope current(device);
  if (a.weight) a.call.weight = a.weight->data;
  if (a.bias) a.call.bias = a.bias->data;
  rms_norm2d(a.x, a.y, a.call, reinterpret_cast<cudaStream_t>(stream));
}

}  // namespace frieze::python
