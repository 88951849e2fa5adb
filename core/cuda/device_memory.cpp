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
  CUresult (*attribute)(void*, CUpointer_attribute, CUdeviceptr) = nullptr;
};

const Driver& driver() {
  static const Driver found{driver_entry<decltype(Driver::address_range)>("cuMemGetAddressRange", 12000),
                            driver_entry<decltype(Driver::attribute)>("cuPointerGetAttribute", 12000)};
  return found;
}

// True if what `at` belongs to was reserved beyond `end`: a virtual memory mapping, which may go on in a next piece. Any other allocation
// is as large as its piece.
bool is_reserved_beyond(CUdeviceptr at, CUdeviceptr end) {
  CUdeviceptr first = 0;
  std::size_t size = 0;
  return driver().attribute != nullptr && driver().attribute(&first, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, at) == CUDA_SUCCESS &&
         driver().attribute(&size, CU_POINTER_ATTRIBUTE_RANGE_SIZE, at) == CUDA_SUCCESS && first + size > end;
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
    if (!is_reserved_beyond(at, at + found)) return found;
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

void check_pinned_memory(const void* data, std::size_t bytes, std::string_view what) {
  for (const void* byte : {data, static_cast<const void*>(static_cast<const std::byte*>(data) + bytes - 1)}) {
    cudaPointerAttributes attributes{};
    CUDA_CHECK(cudaPointerGetAttributes(&attributes, byte));
    check<OptionError>(attributes.type != cudaMemoryTypeUnregistered, what, ": expected page-locked host memory, got pageable memory at ",
                       byte, ": take cudaHostAlloc or cudaHostRegister, or copy_from() and copy_to(), which wait");
    check<OptionError>(attributes.type == cudaMemoryTypeHost, what, ": expected page-locked host memory, got ",
                       attributes.type == cudaMemoryTypeManaged ? "managed" : "device", " memory at ", byte,
                       ": enqueue cudaMemcpyAsync from or to Port::view() instead");
  }
}

}  // namespace frieze::cuda
