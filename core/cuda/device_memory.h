#pragma once
/// Whether memory that a caller hands in is what kernels of a device may use.
#include <cstddef>
#include <string_view>

namespace frieze::cuda {

/// Throws OptionError, beginning with `what`, unless the `bytes` bytes from `data` on lie within one allocation on `device`, or are managed
/// memory: the driver is asked. Host memory is refused, pinned memory too, as kernels would read it over the bus; so is memory of another
/// device. Allocations of cudaMalloc, of stream-ordered pools and of virtual memory mappings are known; the last may consist of several
/// pieces. Needs no synchronisation and may be called while streams are being captured.
void check_device_memory(const void* data, std::size_t bytes, int device, std::string_view what);

/// Throws OptionError, beginning with `what`, unless the `bytes` bytes from `data` on, at least one, are page-locked host memory, which
/// copies go to and from while the host goes on.
void check_pinned_memory(const void* data, std::size_t bytes, std::string_view what);

}  // namespace frieze::cuda
