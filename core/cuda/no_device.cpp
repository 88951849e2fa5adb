#include <frieze/core/cuda/no_device.h>

#include <cuda_runtime_api.h>

#include <cstdlib>

#include <frieze/core/error.h>

namespace frieze::cuda {

std::string why_no_device(int status, int driver_version, int runtime_version) {
  const auto text = [](int v) { return concat_text(v / 1000, '.', v % 1000 / 10); };
  switch (status) {
    case cudaErrorInsufficientDriver:
      // The runtime says so too where there is no driver at all.
      if (driver_version == 0) return "no CUDA driver is installed (libcuda.so.1 was not found)";
      return concat_text("the driver is for CUDA ", text(driver_version), ", and this program was built with CUDA ", text(runtime_version));
    case cudaSuccess:
    case cudaErrorNoDevice:
      if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES"))
        return concat_text("the driver lists no device with CUDA_VISIBLE_DEVICES=", printable(visible, 100));
      return "the driver finds no device";
    default: return cudaGetErrorString(static_cast<cudaError_t>(status));
  }
}

std::string why_no_device(int status) {
  int driver = 0, runtime = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || cudaRuntimeGetVersion(&runtime) != cudaSuccess) (void)cudaGetLastError();
  return why_no_device(status, driver, runtime);
}

}  // namespace frieze::cuda
