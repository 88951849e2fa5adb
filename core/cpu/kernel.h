#pragma once
/// The CPU side of a layer: f32 kernels that are fast, beside the reference, which is right. `prepare` happens once per plan; a layer
/// without a kernel for what it is given runs its reference.
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <typeindex>
#include <unordered_map>

#include <frieze/core/layer.h>

namespace frieze::cpu {

/// What a factory is given. All specs are f32.
struct PrepareArgs {
  std::span<const TensorSpec> in;  ///< the layer's inputs, then one operand per add/mul of the epilogue
  std::span<const TensorSpec> out;
  std::span<const EpilogueOp> epilogue;             ///< in order; what the layer's absorbs() agreed to
  std::span<const TensorView> in_views, out_views;  ///< as run() will be given them, without memory
  Format format = Format::nchw;                     ///< of the step
};

struct RunArgs {
  std::span<const TensorView> in;
  std::span<const TensorView> out;
};

class Kernel {
 public:
  virtual ~Kernel() = default;
  /// Computes every output, on up to thread_count() threads. Called by one thread at a time.
  virtual void run(const RunArgs& args) const = 0;
  /// Memory that the kernel owns: weights in its own order.
  virtual std::size_t weight_bytes() const { return 0; }
  /// What runs, in one line: "oneDNN jit:avx512_core".
  virtual std::string describe() const = 0;
};

/// Layer type -> factory. Filled once, by the functions that the build collects from layers/*/cpu and layers/*/onednn.
class KernelRegistry {
 public:
  /// A factory returns nullptr for what its kernel does not take.
  template <class L>
  void add(std::unique_ptr<Kernel> (*make)(const L&, const PrepareArgs&)) {
    factories_[std::type_index(typeid(L))] = [make](const Layer& layer, const PrepareArgs& args) {
      return make(static_cast<const L&>(layer), args);
    };
  }
  /// nullptr: the layer's reference runs.
  std::unique_ptr<Kernel> prepare(const Layer& layer, const PrepareArgs& args) const;

 private:
  std::unordered_map<std::type_index, std::function<std::unique_ptr<Kernel>(const Layer&, const PrepareArgs&)>> factories_;
};

const KernelRegistry& kernel_registry();

}  // namespace frieze::cpu
