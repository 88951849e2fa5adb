#include <frieze/core/error.h>

#include "tools/python/norm.h"

namespace frieze::python {

void norm_on_cuda(NormArrays&, int, std::uintptr_t) {
  throw CudaError("this build of frieze is for the CPU, x lies on a CUDA device: install a wheel with CUDA");
}

}  // namespace frieze::python
