/// Storages of values, and plans without them.
#include <utility>

#include <frieze/graph/passes/passes.h>

namespace frieze {

void place_own(Plan& plan, int id) {
  PlanValue& value = plan.values[static_cast<std::size_t>(id)];
  value.storage = static_cast<int>(plan.storages.size());
  value.offset = 0;
  value.strides = contiguous_strides(value.spec.shape, value.spec.format);
  plan.storages.push_back({id, value.spec.bytes(), Storage::Where::arena});
}

void place_ports(Plan& plan) {
  for (const auto* ports : {&plan.inputs, &plan.outputs}) {
    for (const PlanPort& port : *ports) {
      PlanValue& value = plan.values[static_cast<std::size_t>(port.value)];
      if (value.storage < 0) place_own(plan, port.value);
      plan.storages[static_cast<std::size_t>(value.storage)].where = Storage::Where::port;
    }
  }
}

void place_constants(Plan& plan) {
  for (const PlanConstant& c : plan.constants) {
    PlanValue& value = plan.values[static_cast<std::size_t>(c.value)];
    if (value.storage < 0) place_own(plan, c.value);
    plan.storages[static_cast<std::size_t>(value.storage)].where = Storage::Where::constant;
  }
}

Plan place(Plan plan) {
  if (plan.placed()) return plan;
  place_ports(plan);
  place_constants(plan);
  for (std::size_t id = 0; id < plan.values.size(); ++id) {
    if (plan.values[id].storage < 0) place_own(plan, static_cast<int>(id));
  }
  return plan;
}

Plan without_views(Plan plan) {
  plan.storages.clear();
  for (PlanValue& value : plan.values) value.storage = -1;
  std::vector<Step> steps;
  std::size_t looked = 0;
  const auto take = [&](Step& step) {
    for (const int id : step.outputs) plan.values[static_cast<std::size_t>(id)].producer = static_cast<int>(steps.size());
    steps.push_back(std::move(step));
  };
  for (std::size_t i = 0; i <= plan.steps.size(); ++i) {
    for (; looked < plan.views.size() && static_cast<std::size_t>(plan.views[looked].before) <= i; ++looked) take(plan.views[looked].step);
    if (i < plan.steps.size()) take(plan.steps[i]);
  }
  plan.views.clear();
  plan.steps = std::move(steps);
  return plan;
}

}  // namespace frieze
