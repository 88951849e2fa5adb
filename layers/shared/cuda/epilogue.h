#pragma once
/// The chain of elementwise operations that a kernel applies to f32 values right before its store: the host's side.
#include <cstddef>
#include <cstdint>
#include <span>

#include <frieze/core/layer.h>

namespace frieze::cuda {

/// Of the activations whose code kernels call out of line, see activate_rare() in core/cuda/launch.cuh.
constexpr bool is_rare(Activation f) { return f > Activation::sigmoid; }

/// A chain as kernels take it, by value. Operands have the output's type, shape and memory layout: one linear offset serves all.
struct EpilogueArgs {
  static constexpr int kMaxOps = 4;
  struct Op {
    EpilogueOp::Kind kind = EpilogueOp::Kind::activation;
    Activation activation = Activation::none;
    float parameter = 0;            ///< of the activation
    const void* operand = nullptr;  ///< of an add or mul
  };
  Op ops[kMaxOps];
  int count = 0;

  /// True if every operand starts at a multiple of `bytes`.
  bool aligned(std::size_t bytes) const {
    for (int i = 0; i < count; ++i) {
      if (reinterpret_cast<std::uintptr_t>(ops[i].operand) % bytes != 0) return false;
    }
    return true;
  }
  bool has_rare() const {
    for (int i = 0; i < count; ++i) {
      if (is_rare(ops[i].activation)) return true;
    }
    return false;
  }
  /// The chain without its first `n` operations.
  EpilogueArgs without_first(int n) const {
    EpilogueArgs rest;
    for (int i = n; i < count; ++i) rest.ops[rest.count++] = ops[i];
    return rest;
  }
};

/// `operands` holds one view for each add and mul, in order. Throws CudaError on more than kMaxOps operations or a wrong
/// number of operands.
EpilogueArgs make_epilogue(std::span<const EpilogueOp> ops, std::span<const TensorView> operands);

inline bool is_aligned(const void* p, std::size_t bytes) { return reinterpret_cast<std::uintptr_t>(p) % bytes == 0; }

}  // namespace frieze::cuda
