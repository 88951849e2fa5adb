#pragma once
/// The CUDA side of a layer. `prepare` happens once per plan, in a factory that the layer's .cu registers; it returns a
/// Kernel, which owns what it prepared (packed weights, library plans, tuned configuration) and only enqueues from then on.
#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <typeindex>
#include <unordered_map>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {
namespace cuda {

/// Facts of one device, read once.
struct DeviceInfo {
  int index = 0;
  std::string name;
  int compute_capability = 0;  ///< 90 for sm_90
  int sm_count = 0;
  int threads_per_sm = 0;
  std::size_t shared_memory_per_block = 0;  ///< with opt-in
  std::size_t shared_memory_per_sm = 0;     ///< of which each block takes 1 KiB beside its own
  std::size_t l2_bytes = 0;
  std::size_t memory_bytes = 0;
  int driver_version = 0, runtime_version = 0;
};
/// Throws CudaError if there is no such device.
DeviceInfo device_info(int index);

/// What a factory is given. The session's device is current; `stream` is idle and not capturing.
struct PrepareArgs {
  std::span<const TensorSpec> in;        ///< layer's inputs, then one operand per add/mul of the epilogue
  std::span<const TensorSpec> out;       ///< one for each output of infer()
  std::span<const EpilogueOp> epilogue;  ///< in order; only what the layer's absorbs() agreed to
  const DeviceInfo* device = nullptr;
  cudaStream_t stream = nullptr;  ///< for warm-up and tuning, on memory of the factory's own
  bool allow_tf32 = false;        ///< f32 matrix products may use TF32
  bool tune = true;               ///< false: take the default configuration, time nothing
  /// The tensors as launch() will be given them, without memory; empty: contiguous in the formats above. Only kernels of layers with
  /// strides() meet others.
  std::span<const TensorView> in_views = {}, out_views = {};
  bool keep_values = false;  ///< CompileOptions::keep_values, for kernels that hold values of their own: a loop's
};

/// What `launch` is given: device views, alive until the work is done. Never aliases unless the layer allows it.
struct LaunchArgs {
  std::span<const TensorView> in;
  std::span<const TensorView> out;
  void* workspace = nullptr;  ///< workspace_bytes() bytes, 256-byte aligned, contents undefined
};

class Kernel {
 public:
  virtual ~Kernel() = default;
  /// Enqueues on `stream`; allocates nothing, synchronises nothing, reads no host memory later than its return.
  virtual void launch(const LaunchArgs& args, cudaStream_t stream) const = 0;
  /// Scratch out of the plan's arena.
  virtual std::size_t workspace_bytes() const { return 0; }
  /// Device memory that the kernel owns: weights in their packed form.
  virtual std::size_t weight_bytes() const { return 0; }
  /// What runs and why, in one line: "nhwc rows, 16 lanes, 4 pixels (tuned)".
  virtual std::string describe() const { return {}; }
  /// True if every node that launch() enqueues is a kernel of our own, so that pointers may be patched after the capture.
  virtual bool rebindable() const { return true; }
  /// True if launch() enqueues by launch_kernel() and enqueue_copy() alone: its graph nodes are then built without a stream capture, which
  /// other threads can break. A kernel that launches in another way must leave it false.
  virtual bool builds_nodes() const { return false; }
};

/// A kernel that enqueues by launch_kernel() and enqueue_copy() alone.
class NodeKernel : public Kernel {
 public:
  bool builds_nodes() const override { return true; }
};

/// Loads kernel functions ahead of the capture, so that nothing is loaded lazily inside it. Throws CudaError.
void preload(const void* kernel_function);

/// True if the current device runs code of the kernel that was compiled for sm_90 or later, where a kernel can wait for the
/// one before it by itself; asked once a kernel and device. Throws CudaError.
bool waits_on_device(const void* kernel_function);

/// Before a launch of the kernel with `bytes` of dynamic shared memory on the current device. The first call for a kernel and device raises
/// its limit to all that a block may have there, less the kernel's static shared memory; it is never set again, so that threads do not
/// take it from each other. It is a limit only: how a multiprocessor divides its memory between cache and shared memory follows what
/// launches ask for. Throws CudaError if `bytes` are more than that.
void allow_shared_memory(const void* kernel_function, std::size_t bytes);

using KernelFactory = std::function<std::unique_ptr<Kernel>(const Layer&, const PrepareArgs&)>;

/// Layer type -> factory. Filled once, by the register_<folder> functions that the build collects from layers/*/.
class KernelRegistry {
 public:
  template <class L>
  void add(std::unique_ptr<Kernel> (*make)(const L&, const PrepareArgs&)) {
    factories_[std::type_index(typeid(L))] = [make](const Layer& layer, const PrepareArgs& args) {
      return make(static_cast<const L&>(layer), args);
    };
  }
  /// Throws CudaError if no kernel is registered for the layer's type; the message says how to register one.
  void check_registered(const Layer& layer) const { (void)factory(layer); }
  /// Throws as check_registered() and the factory do.
  std::unique_ptr<Kernel> prepare(const Layer& layer, const PrepareArgs& args) const;

 private:
  const KernelFactory& factory(const Layer& layer) const;
  std::unordered_map<std::type_index, KernelFactory> factories_;
};

/// The kernels of this library. A program adds those of its own layers before its first compile().
KernelRegistry& kernel_registry();

}  // namespace cuda
}  // namespace FRIEZE_API
