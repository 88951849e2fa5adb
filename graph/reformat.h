#pragma once
/// The step that passes insert: the same values in other memory.
#include <frieze/core/layer.h>

namespace frieze {

/// y = x, any shape and dtype; formats and strides are those of the plan's values. Exact. Moves 2*elements*sizeof(T) bytes.
class Reformat final : public Layer {
 public:
  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::no, .out = Strided::any};
  }
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 0, .terms = 0}; }
  std::string_view type_name() const override { return "Reformat"; }
};

}  // namespace frieze
