#include <frieze/graph/other_shape.h>

#include <frieze/core/error.h>
#include <frieze/graph/passes/passes.h>

namespace frieze {

std::optional<Plan> with_one_image_more(const Plan& plan) {
  Plan out = without_views(plan);
  const bool views = !plan.views.empty();
  const auto spec = [&out](int value) -> TensorSpec& { return out.values[static_cast<std::size_t>(value)].spec; };
  for (const PlanPort& port : out.inputs) {
    Shape& shape = spec(port.value).shape;
    if (shape.rank() != 4) return std::nullopt;
    shape = shape.with(0, shape[0] + 1);
  }
  try {
    for (Step& step : out.steps) {
      std::vector<TensorSpec> in;
      for (std::size_t i = 0; i < step.layer_inputs(); ++i) in.push_back(spec(step.inputs[i]));
      const Inferred inferred = step.layer->infer(in);
      const FormatRule rule = step.layer->formats(in);
      const bool runs = step.format == Format::nchw ? rule.nchw : rule.nhwc;
      const std::vector<EpilogueOp> ops = step.ops();
      if (!runs || (!ops.empty() && step.layer->absorbs(in, ops) != ops.size())) return std::nullopt;
      for (std::size_t i = step.layer_inputs(); i < step.inputs.size(); ++i) {
        if (spec(step.inputs[i]).shape != inferred.out.front().shape) return std::nullopt;
      }
      if (inferred.out.size() != step.outputs.size()) return std::nullopt;
      for (std::size_t i = 0; i < step.outputs.size(); ++i) spec(step.outputs[i]).shape = inferred.out[i].shape;
    }
  } catch (const Error&) {
    return std::nullopt;
  }
  return views ? find_views(std::move(out)) : place(std::move(out));
}

}  // namespace frieze
