#include <frieze/core/cuda/device_memory.h>

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/driver.h>

namespace frieze::cuda {
namespace {

struct Driver {
  CUresult (*address_range)(CUdeviceptr*, std::size_t*, CUdeviceptr) = nullptr;
  CUresult (*retain)(CUmemGenericAllocationHandle*, void*) = nullptr;
  CUresult (*release)(CUmemGenericAllocationHandle) = nullptr;
};

const Driver& driver() {
  static const Driver found{driver_entry<decltype(Driver::address_range)>("cuMemGetAddressRange", 12000),
                            driver_entry<decltype(Driver::retain)>("cuMemRetainAllocationHandle", 12000),
                            driver_entry<decltype(Driver::release)>("cuMemRelease", 12000)};
  return found;
}

// A piece of a virtual memory mapping, which may go on in the next piece.
bool is_mapping(CUdeviceptr at) {
  CUmemGenericAllocationHandle handle = 0;
  if (driver().retain == nullptr || driver().release == nullptr) return false;
  if (driver().retain(&handle, reinterpret_cast<void*>(at)) != CUDA_SUCCESS) return false;
  (void)driver().release(handle);
  return true;
}

// Bytes that belong to the allocation from `at` on, at most `wanted`. `wanted` where the driver does not tell.
std::size_t bytes_from(CUdeviceptr at, std::size_t wanted) {
  std::size_t found = 0;
  while (driver().address_range != nullptr) {
    CUdeviceptr base = 0;
    std::size_t size = 0;
    if (driver().address_range(&base, &size, at + found) != CUDA_SUCCESS) break;
    found = base + size - at;
    if (found >= wanted) return wanted;
    if (!is_mapping(at) || !is_mapping(at + found)) return found;
  }
  return found == 0 ? wanted : found;
}

}  // namespace

void check_device_memory(const void* data, std::size_t bytes, int device, std::string_view what) {
  cudaPointerAttributes attributes{};
  CUDA_CHECK(cudaPointerGetAttributes(&attributes, data));
  check<OptionError>(attributes.type != cudaMemoryTypeUnregistered, what, ": expected memory of device ", device, ", got host memory at ",
                     data, " that CUDA does not know");
  check<OptionError>(attributes.type != cudaMemoryTypeHost, what, ": expected memory of device ", device, ", got pinned host memory at ",
                     data, ": copy it instead");
  if (attributes.type == cudaMemoryTypeDevice) {
    check<OptionError>(attributes.device == device, what, ": expected memory of device ", device, ", got memory of device ",
                       attributes.device);
  }
  const std::size_t there = bytes_from(reinterpret_cast<CUdeviceptr>(data), bytes);
  check<OptionError>(there >= bytes, what, ": expected ", bytes, " bytes, the allocation has ", there, " from this address on");
}

}  // namespace frieze::cuda
