/// What a CPU-only build says when asked for a GPU.
#include <frieze/core/error.h>
#include <frieze/graph/executor.h>

namespace frieze {

std::shared_ptr<const Backend> cuda_backend(int) {
  throw CudaError("this build of Frieze has no CUDA: configure it with nvcc on the PATH (FRIEZE_CUDA=ON), or use the cpu device");
}

int cuda_device_count() { return 0; }

}  // namespace frieze
