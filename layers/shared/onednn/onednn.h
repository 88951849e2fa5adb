#pragma once
/// What kernels on oneDNN share: its engine, its threads, and Frieze's tensors and chains in its words.
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include <dnnl.hpp>

#include <frieze/core/cpu/kernel.h>

namespace frieze::onednn {

const dnnl::engine& engine();

/// The memory of a tensor of rank 4 that is contiguous in `format`; nullopt if it is not.
std::optional<dnnl::memory::desc> image_desc(const TensorView& view, Format format);

/// An activation in oneDNN's words.
struct Function {
  dnnl::algorithm algorithm;
  float alpha, beta;
};
/// nullopt for one that oneDNN lacks.
std::optional<Function> function_of(const EpilogueOp& op);

/// A chain of elementwise operations at a primitive's store.
struct PostOps {
  dnnl::post_ops ops;
  std::vector<dnnl::memory::desc> operands;  ///< one for each add and mul
  bool relu = false;                         ///< at the end: oneDNN's makes 0 of NaN, so Primitive does it
};
/// nullopt for a chain with an operation that oneDNN lacks. `operands`: of each add and mul.
std::optional<PostOps> post_ops(std::span<const EpilogueOp> chain, std::span<const dnnl::memory::desc> operands);

/// A primitive with its arguments: what stays, and what a run gives.
class Primitive {
 public:
  Primitive(dnnl::primitive primitive, std::string name);
  void add_fixed(int argument, dnnl::memory memory);
  /// Input `i` of the step.
  void add_in(int argument, const dnnl::memory::desc& desc, std::size_t i);
  void add_out(int argument, const dnnl::memory::desc& desc);
  /// The operands of a chain, which are inputs 1, 2, … of the step.
  void add_operands(std::span<const EpilogueOp> chain, const PostOps& ops);
  void run(const cpu::RunArgs& args) const;
  std::size_t fixed_bytes() const;
  const std::string& name() const { return name_; }

 private:
  struct Port {
    int argument;
    dnnl::memory::desc desc;
    std::size_t input;
    bool output;
  };
  dnnl::primitive primitive_;
  std::string name_;
  std::vector<std::pair<int, dnnl::memory>> fixed_;
  std::vector<Port> ports_;
  bool relu_ = false;
};

/// max(v, 0) of each; NaN stays NaN.
void apply_relu(float* values, std::int64_t count);

/// `values`, laid out as `from`, in the order `to`.
dnnl::memory reordered(const std::vector<float>& values, const dnnl::memory::desc& from, const dnnl::memory::desc& to);

/// Calls body(); what oneDNN throws leaves as nullptr, since then the reference runs.
std::unique_ptr<cpu::Kernel> try_make(const std::function<std::unique_ptr<cpu::Kernel>()>& body);

}  // namespace frieze::onednn
