#include <frieze/graph/passes/passes.h>

namespace frieze {

Plan rebuilt(const Plan& plan, std::vector<Step> steps) {
  Plan out;
  out.faults = plan.faults;
  out.borrowed = plan.borrowed;
  out.rewrites = plan.rewrites;
  std::vector<int> renamed(plan.values.size(), -1);
  const auto keep = [&](int old, int producer) {
    int& id = renamed[static_cast<std::size_t>(old)];
    if (id >= 0) return id;
    id = static_cast<int>(out.values.size());
    out.values.push_back(plan.values[static_cast<std::size_t>(old)]);
    out.values.back().producer = producer;
    return id;
  };
  for (const PlanPort& port : plan.inputs) out.inputs.push_back({port.name, keep(port.value, -1)});
  for (Step& step : steps) {
    for (int& id : step.inputs) id = keep(id, -1);
    for (int& id : step.outputs) id = keep(id, static_cast<int>(out.steps.size()));
    out.steps.push_back(std::move(step));
  }
  for (const PlanPort& port : plan.outputs) out.outputs.push_back({port.name, keep(port.value, -1)});
  for (PlanConstant c : plan.constants) {
    c.value = renamed[static_cast<std::size_t>(c.value)];
    if (c.value >= 0) out.constants.push_back(std::move(c));  // else nobody uses it any more
  }
  out.validate();
  return out;
}

}  // namespace frieze
