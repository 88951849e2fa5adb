#pragma once
/// Driver functions found through the runtime: nothing links against libcuda, so programs start on machines without one.
#include <cuda.h>
#include <cuda_runtime_api.h>

namespace frieze::cuda {

/// The driver function `symbol` as of API version `version` (e.g. 12000), or nullptr if this driver has none.
template <class F>
F driver_entry(const char* symbol, unsigned version) {
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found{};
  if (cudaGetDriverEntryPointByVersion(symbol, &entry, version, cudaEnableDefault, &found) != cudaSuccess ||
      found != cudaDriverEntryPointSuccess) {
    (void)cudaGetLastError();
    return nullptr;
  }
  return reinterpret_cast<F>(entry);
}

}  // namespace frieze::cuda
