#pragma once
/// The step that the format pass inserts: the same values in another memory format.
#include <frieze/core/layer.h>

namespace frieze {

/// y = x, any shape and dtype; the formats are those of the plan's values. Exact. Moves 2*elements*sizeof(T) bytes.
class Reformat final : public Layer {
 public:
  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 0, .terms = 0}; }
  std::string_view type_name() const override { return "Reformat"; }
};

}  // namespace frieze
