#include "support/dry_device.h"

#if FRIEZE_WITH_CUDA
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include <cuda_runtime_api.h>

#include <frieze/core/error.h>

namespace frieze::test {
namespace {

struct Registered {
  std::string name;
  int most_threads = 1024;
};
// Filled before main() by the code that nvcc writes for each file.
std::map<const void*, Registered>& registered() {
  static std::map<const void*, Registered> all;
  return all;
}

struct State {
  cuda::DeviceInfo device;
  int index = 0;  // of its own, as what is remembered of devices is remembered by index
  int code = 0;
  std::map<const void*, std::size_t> most_dynamic;  // what cudaFuncSetAttribute allowed
  std::vector<DryLaunch> launches;
  std::string refusal;
};
std::optional<State> state;

// What kernels that take dynamic shared memory declare beside it: two barriers of 8 bytes at the most (nchw_tile, nchw_window).
constexpr std::size_t kStaticBesideDynamic = 16;
constexpr std::size_t kUnasked = 48 * 1024;

cudaError_t refuse(cudaError_t error, std::string why) {
  state->refusal = std::move(why);
  return error;
}

cudaError_t launch(const void* function, dim3 grid, dim3 block, std::size_t dynamic, int cluster, bool dependent) {
  const auto known = registered().find(function);
  if (known == registered().end()) return refuse(cudaErrorInvalidDeviceFunction, "an unknown kernel");
  const auto& [name, most_threads] = known->second;
  DryLaunch l{name, {}, dependent};
  l.needs.blocks = grid.x;
  l.needs.threads = static_cast<int>(block.x * block.y * block.z);
  l.needs.most_threads = most_threads;
  l.needs.dynamic_shared = dynamic;
  l.needs.cluster = cluster;
  const auto what = [&, &kernel = known->second] {
    return concat_text(kernel.name, ": ", grid.x, " x ", grid.y, " x ", grid.z, " blocks of ", l.needs.threads, " threads (of ",
                       kernel.most_threads, "), ", dynamic, " bytes, cluster of ", cluster, ", on sm_", state->device.compute_capability);
  };
  cuda::LaunchNeeds whole = l.needs;
  whole.static_shared = dynamic > 0 ? kStaticBesideDynamic : 0;  // without dynamic memory at most 48 KiB, which the compiler sees to
  if (grid.y < 1 || grid.y > 65535 || grid.z < 1 || grid.z > 65535 || block.z > 64 || grid.x > cuda::kMostBlocks)
    return refuse(cudaErrorInvalidConfiguration, what());
  if (!cuda::can_launch(whole, state->device.compute_capability, state->device.shared_memory_per_block))
    return refuse(cudaErrorInvalidConfiguration, what());
  const auto allowed = state->most_dynamic.find(function);
  if (dynamic > kUnasked && (allowed == state->most_dynamic.end() || allowed->second < dynamic))
    return refuse(cudaErrorInvalidValue, what() + ", not asked for");
  if ((cluster > 1 || dependent) && state->code < cuda::kFirstWithClusters)
    return refuse(cudaErrorInvalidValue, concat_text(what(), ", by code for sm_", state->code, " that knows neither clusters nor waits"));
  state->launches.push_back(std::move(l));
  return cudaSuccess;
}

std::mutex handles_mutex;
std::map<const void*, const void*>& handles() {
  static std::map<const void*, const void*> all;
  return all;
}

cuda::DeviceInfo gpu(const char* name, int capability, int multiprocessors, int threads, int block_kib, int sm_kib, int l2_mib) {
  cuda::DeviceInfo d;
  d.name = name;
  d.compute_capability = capability;
  d.sm_count = multiprocessors;
  d.threads_per_sm = threads;
  d.shared_memory_per_block = static_cast<std::size_t>(block_kib) * 1024;
  d.shared_memory_per_sm = static_cast<std::size_t>(sm_kib) * 1024;
  d.l2_bytes = static_cast<std::size_t>(l2_mib) << 20;
  d.memory_bytes = std::size_t{8} << 30;
  return d;
}

}  // namespace

void remember_handle(const void* handle, const void* function) {
  const std::lock_guard lock(handles_mutex);
  handles()[handle] = function;
}

// The function itself where the handle was made while a DryDevice lived.
const void* function_of(const void* handle) {
  const std::lock_guard lock(handles_mutex);
  const auto found = handles().find(handle);
  return found != handles().end() ? found->second : handle;
}

std::vector<cuda::DeviceInfo> gpus_of_every_capability() {
  return {gpu("A100", 80, 108, 2048, 163, 164, 40),   gpu("RTX 3060", 86, 28, 1536, 99, 100, 3),
          gpu("RTX 4060", 89, 24, 1536, 99, 100, 24), gpu("H100", 90, 132, 2048, 227, 228, 50),
          gpu("B200", 100, 148, 2048, 227, 228, 126), gpu("RTX 5060", 120, 30, 1536, 99, 100, 32)};
}

std::vector<std::string> registered_kernels() {
  std::vector<std::string> names;
  for (const auto& [function, kernel] : registered()) names.push_back(kernel.name);
  return names;
}

DryDevice::DryDevice(const cuda::DeviceInfo& device, int code) {
  static int next = 1000;
  state.emplace();
  state->index = next++;
  state->device = device;
  state->code = code > 0 ? code : device.compute_capability;
}
DryDevice::~DryDevice() { state.reset(); }
const cuda::DeviceInfo& DryDevice::info() const { return state->device; }
std::vector<DryLaunch> DryDevice::take_launches() { return std::exchange(state->launches, {}); }
std::string DryDevice::refusal() const { return state->refusal; }

}  // namespace frieze::test

// What the linker puts in the place of the runtime's functions. The names are its own.
using frieze::test::registered;
using frieze::test::state;

extern "C" {

#define FRIEZE_WRAP(function, parameters, arguments, dry) \
  cudaError_t __real_##function parameters;               \
  cudaError_t __wrap_##function parameters;               \
  cudaError_t __wrap_##function parameters {              \
    if (!state) return __real_##function arguments;       \
    dry;                                                  \
    return cudaSuccess;                                   \
  }

void __real___cudaRegisterFunction(void**, const char*, char*, const char*, int, uint3*, uint3*, dim3*, dim3*, int*);
void __wrap___cudaRegisterFunction(void**, const char*, char*, const char*, int, uint3*, uint3*, dim3*, dim3*, int*);
void __wrap___cudaRegisterFunction(void** handle, const char* host, char* device, const char* name, int most_threads, uint3* tid,
                                   uint3* bid, dim3* block, dim3* grid, int* warp) {
  registered()[host] = {name, most_threads > 0 ? most_threads : 1024};
  __real___cudaRegisterFunction(handle, host, device, name, most_threads, tid, bid, block, grid, warp);
}

// A kernel's handle is its function while a DryDevice lives. Launches remember handles, which on a GPU are the real ones.
cudaError_t __real___cudaGetKernel(cudaKernel_t* kernel, const void* function);
cudaError_t __wrap___cudaGetKernel(cudaKernel_t* kernel, const void* function);
cudaError_t __wrap___cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  if (state) {
    *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(function));
    return cudaSuccess;
  }
  const cudaError_t status = __real___cudaGetKernel(kernel, function);
  if (status == cudaSuccess) frieze::test::remember_handle(*kernel, function);
  return status;
}
cudaError_t __real___cudaLaunchKernel(cudaKernel_t, dim3, dim3, void**, size_t, cudaStream_t);
cudaError_t __wrap___cudaLaunchKernel(cudaKernel_t, dim3, dim3, void**, size_t, cudaStream_t);
cudaError_t __wrap___cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** args, size_t shared, cudaStream_t stream) {
  if (state) return frieze::test::launch(frieze::test::function_of(kernel), grid, block, shared, 1, false);
  if (registered().contains(kernel)) {
    if (const cudaError_t status = __wrap___cudaGetKernel(&kernel, kernel); status != cudaSuccess) return status;
  }
  return __real___cudaLaunchKernel(kernel, grid, block, args, shared, stream);
}

cudaError_t __real_cudaLaunchKernelExC(const cudaLaunchConfig_t*, const void*, void**);
cudaError_t __wrap_cudaLaunchKernelExC(const cudaLaunchConfig_t*, const void*, void**);
cudaError_t __wrap_cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function, void** args) {
  if (!state) return __real_cudaLaunchKernelExC(config, function, args);
  unsigned cluster = 1;
  bool dependent = false;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    const cudaLaunchAttribute& a = config->attrs[i];
    if (a.id == cudaLaunchAttributeClusterDimension) cluster = a.val.clusterDim.x * a.val.clusterDim.y * a.val.clusterDim.z;
    if (a.id == cudaLaunchAttributeProgrammaticStreamSerialization) dependent = a.val.programmaticStreamSerializationAllowed != 0;
  }
  return frieze::test::launch(function, config->gridDim, config->blockDim, config->dynamicSmemBytes, static_cast<int>(cluster), dependent);
}

cudaError_t __real_cudaFuncSetAttribute(const void*, cudaFuncAttribute, int);
cudaError_t __wrap_cudaFuncSetAttribute(const void*, cudaFuncAttribute, int);
cudaError_t __wrap_cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  if (!state) return __real_cudaFuncSetAttribute(function, attribute, value);
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || static_cast<std::size_t>(value) > state->device.shared_memory_per_block) return cudaErrorInvalidValue;
  state->most_dynamic[function] = static_cast<std::size_t>(value);
  return cudaSuccess;
}

cudaError_t __real_cudaDeviceGetAttribute(int*, cudaDeviceAttr, int);
cudaError_t __wrap_cudaDeviceGetAttribute(int*, cudaDeviceAttr, int);
cudaError_t __wrap_cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (!state) return __real_cudaDeviceGetAttribute(value, attribute, device);
  if (attribute != cudaDevAttrMaxSharedMemoryPerBlockOptin) return cudaErrorNotSupported;
  *value = static_cast<int>(state->device.shared_memory_per_block);
  return cudaSuccess;
}

FRIEZE_WRAP(cudaFuncGetAttributes, (cudaFuncAttributes * attributes, const void* function), (attributes, function), {
  *attributes = {};
  attributes->ptxVersion = attributes->binaryVersion = state->code;
  const auto known = registered().find(function);
  if (known == registered().end()) return cudaErrorInvalidDeviceFunction;
  attributes->maxThreadsPerBlock = known->second.most_threads;
  attributes->sharedSizeBytes = frieze::test::kStaticBesideDynamic;
})
FRIEZE_WRAP(cudaGetDevice, (int* device), (device), *device = state->index)
FRIEZE_WRAP(cudaGetDeviceCount, (int* count), (count), *count = state->index + 1)
FRIEZE_WRAP(cudaGetDeviceProperties, (cudaDeviceProp * all, int device), (all, device), {
  const frieze::cuda::DeviceInfo& d = state->device;
  *all = {};
  all->major = d.compute_capability / 10;
  all->minor = d.compute_capability % 10;
  all->multiProcessorCount = d.sm_count;
  all->maxThreadsPerMultiProcessor = d.threads_per_sm;
  all->sharedMemPerBlockOptin = d.shared_memory_per_block;
  all->sharedMemPerMultiprocessor = d.shared_memory_per_sm;
  all->l2CacheSize = static_cast<int>(d.l2_bytes);
  all->totalGlobalMem = d.memory_bytes;
})
FRIEZE_WRAP(cudaDriverGetVersion, (int* version), (version), *version = 13000)
FRIEZE_WRAP(cudaGetLastError, (), (), )
FRIEZE_WRAP(cudaStreamSynchronize, (cudaStream_t stream), (stream), )
FRIEZE_WRAP(cudaMalloc, (void** memory, size_t bytes), (memory, bytes),
            if ((*memory = std::malloc(bytes)) == nullptr) return cudaErrorMemoryAllocation)
FRIEZE_WRAP(cudaFree, (void* memory), (memory), std::free(memory))
FRIEZE_WRAP(cudaMemcpyAsync, (void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream),
            (to, from, bytes, kind, stream), std::memcpy(to, from, bytes))
FRIEZE_WRAP(cudaStreamCreateWithFlags, (cudaStream_t * stream, unsigned flags), (stream, flags),
            *stream = reinterpret_cast<cudaStream_t>(&*state))
FRIEZE_WRAP(cudaPointerGetAttributes, (cudaPointerAttributes * attributes, const void* memory), (attributes, memory), {
  *attributes = {};
  attributes->type = cudaMemoryTypeDevice;
  attributes->device = state->index;
})
FRIEZE_WRAP(cudaStreamDestroy, (cudaStream_t stream), (stream), )

}  // extern "C"
#endif
