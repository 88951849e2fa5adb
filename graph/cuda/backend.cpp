/// A GPU as a device of sessions.
#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/graph/cuda/arena.h>
#include <frieze/graph/cuda/executor.h>
#include <frieze/graph/cuda/rates.h>

namespace frieze {
namespace cuda {
namespace {

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(int index) : device_(device_info(index)) {}
  bool is_cuda() const override { return true; }
  std::string name() const override { return device_.name + " (cuda:" + std::to_string(device_.index) + ")"; }
  std::int64_t used_memory() const override {
    const DeviceScope scope(device_.index);
    std::size_t free_bytes = 0, total = 0;
    CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total));
    return static_cast<std::int64_t>(total - free_bytes);
  }
  std::shared_ptr<Arena> make_arena() const override { return std::make_shared<DeviceArena>(device_.index, true); }
  DeviceRates measure_rates(DType dtype, bool allow_tf32) const override {
    const DeviceScope scope(device_.index);
    return cuda::measure_rates(device_, dtype, allow_tf32);
  }
  std::unique_ptr<Executor> make_executor(Plan plan, const CompileOptions& options, std::shared_ptr<Arena> arena) const override {
    return cuda::make_executor(std::move(plan), options, device_, name(), std::move(arena));
  }

 private:
  DeviceInfo device_;
};

}  // namespace
}  // namespace cuda

std::shared_ptr<const Backend> cuda_backend(int index) { return std::make_shared<const cuda::CudaBackend>(index); }

int cuda_device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  (void)cudaGetLastError();
  return 0;
}

}  // namespace frieze
