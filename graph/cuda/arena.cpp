#include <frieze/graph/cuda/arena.h>

#include <algorithm>

#include <frieze/core/cuda/capture_lock.h>
#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/driver.h>
#include <frieze/core/cuda/fault.h>
#include <frieze/core/integers.h>

namespace frieze::cuda {
namespace {

struct VirtualMemory {
  CUresult (*granularity)(std::size_t*, const CUmemAllocationProp*, CUmemAllocationGranularity_flags);
  CUresult (*reserve)(CUdeviceptr*, std::size_t, std::size_t, CUdeviceptr, unsigned long long);
  CUresult (*release_range)(CUdeviceptr, std::size_t);
  CUresult (*create)(CUmemGenericAllocationHandle*, std::size_t, const CUmemAllocationProp*, unsigned long long);
  CUresult (*release)(CUmemGenericAllocationHandle);
  CUresult (*map)(CUdeviceptr, std::size_t, std::size_t, CUmemGenericAllocationHandle, unsigned long long);
  CUresult (*unmap)(CUdeviceptr, std::size_t);
  CUresult (*set_access)(CUdeviceptr, std::size_t, const CUmemAccessDesc*, std::size_t);
};

const VirtualMemory& driver() {
  static const VirtualMemory found = [] {
    constexpr unsigned kVersion = 12000;
    const VirtualMemory vm{
        driver_entry<decltype(VirtualMemory::granularity)>("cuMemGetAllocationGranularity", kVersion),
        driver_entry<decltype(VirtualMemory::reserve)>("cuMemAddressReserve", kVersion),
        driver_entry<decltype(VirtualMemory::release_range)>("cuMemAddressFree", kVersion),
        driver_entry<decltype(VirtualMemory::create)>("cuMemCreate", kVersion),
        driver_entry<decltype(VirtualMemory::release)>("cuMemRelease", kVersion),
        driver_entry<decltype(VirtualMemory::map)>("cuMemMap", kVersion),
        driver_entry<decltype(VirtualMemory::unmap)>("cuMemUnmap", kVersion),
        driver_entry<decltype(VirtualMemory::set_access)>("cuMemSetAccess", kVersion),
    };
    check<CudaError>(vm.granularity && vm.reserve && vm.release_range && vm.create && vm.release && vm.map && vm.unmap && vm.set_access,
                     "the driver has no virtual memory management, which an engine's shared arena needs");
    return vm;
  }();
  return found;
}

void check_driver(CUresult status, const char* call, std::size_t bytes) {
  if (status == CUDA_SUCCESS) return;
  // The runtime's codes are the driver's.
  throw CudaError(concat_text(call, " of ", bytes, " bytes for the shared arena: ",
                              status == CUDA_ERROR_OUT_OF_MEMORY ? "out of memory" : "driver error ", static_cast<int>(status)),
                  status);
}

CUmemAllocationProp device_memory(int device) {
  CUmemAllocationProp prop{};
  prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  prop.location = {CU_MEM_LOCATION_TYPE_DEVICE, device};
  return prop;
}

}  // namespace

// Every user has waited for its last use before.
DeviceArena::~DeviceArena() {
  if (base_ == 0) return;
  const BesideCaptures scope;
  const auto lock = lock_captures();
  bool ok = true;
  for (const Piece& piece : pieces_) {
    ok &= driver().unmap(base_ + piece.offset, piece.bytes) == CUDA_SUCCESS;
    ok &= driver().release(piece.handle) == CUDA_SUCCESS;
  }
  ok &= driver().release_range(base_, reserved_) == CUDA_SUCCESS;
  if (!ok) log_warning("the shared arena could not be released");
}

void DeviceArena::reserve(std::int64_t bytes) {
  const auto wanted = static_cast<std::size_t>(bytes);
  if (wanted <= bytes_) return;
  if (!shared_) {
    own_ = DeviceBuffer(wanted);
    bytes_ = wanted;
    return;
  }
  if (base_ == 0) {
    // All of the device's memory as addresses: they cost nothing until something is mapped.
    std::size_t free_bytes = 0, total = 0;
    CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total));
    constexpr std::size_t kRound = std::size_t{1} << 30;
    const std::size_t range = round_up(total, kRound);
    CUdeviceptr base = 0;
    check_driver(driver().reserve(&base, range, 0, 0, 0), "cuMemAddressReserve", range);
    base_ = base;
    reserved_ = range;
  }
  check<CudaError>(wanted <= reserved_, "an arena of ", wanted, " bytes exceeds the device's memory");
  map_more(wanted - bytes_);
}

void DeviceArena::map_more(std::size_t bytes) {
  const CUmemAllocationProp prop = device_memory(device_);
  std::size_t grain = 0;
  check_driver(driver().granularity(&grain, &prop, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED), "cuMemGetAllocationGranularity", bytes);
  const std::size_t size = round_up(bytes, grain);
  pieces_.reserve(pieces_.size() + 1);  // nothing may throw once memory is mapped
  CUmemGenericAllocationHandle handle = 0;
  check_driver(fails_here("cuMemCreate") ? CUDA_ERROR_OUT_OF_MEMORY : driver().create(&handle, size, &prop, 0), "cuMemCreate", size);
  const CUresult status = fails_here("cuMemMap") ? CUDA_ERROR_OUT_OF_MEMORY : driver().map(base_ + bytes_, size, 0, handle, 0);
  if (status != CUDA_SUCCESS) {
    (void)driver().release(handle);
    check_driver(status, "cuMemMap", size);
  }
  CUmemAccessDesc access{};
  access.location = prop.location;
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  if (const CUresult status = driver().set_access(base_ + bytes_, size, &access, 1); status != CUDA_SUCCESS) {
    (void)driver().unmap(base_ + bytes_, size);
    (void)driver().release(handle);
    check_driver(status, "cuMemSetAccess", size);
  }
  pieces_.push_back({handle, bytes_, size});
  bytes_ += size;
}

void DeviceArena::check_recordable() const {
  check<OptionError>(
      !shared_,
      "record: this session shares its memory with the other sessions of its engine, and replays of the caller's graph could not "
      "take turns with those; compile() a session of its own");
}

void DeviceArena::begin_use(cudaStream_t stream, const std::shared_ptr<const LastUse>& user) {
  if (!shared_ || last_user_ == user) return;  // who used it last keeps its own work in order
  if (last_user_ != nullptr) last_user_->order(stream);
  last_user_ = user;
}

}  // namespace frieze::cuda
