#include <frieze/graph/plan.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <frieze/core/error.h>
#include <frieze/graph/passes/passes.h>
#include <frieze/graph/repeat.h>

namespace frieze {

int Step::output() const {
  check<Error>(outputs.size() == 1, "plan: step '", path, "' makes ", outputs.size(), " values where one is taken");
  return outputs.front();
}

std::size_t Step::layer_inputs() const {
  const auto operands =
      std::count_if(epilogue.begin(), epilogue.end(), [](const FusedOp& f) { return f.op.kind != EpilogueOp::Kind::activation; });
  return inputs.size() - static_cast<std::size_t>(operands);
}

std::string output_name(const std::string& step, std::size_t i, std::size_t count) { return count == 1 ? step : concat_text(step, ".", i); }

std::vector<EpilogueOp> Step::ops() const {
  std::vector<EpilogueOp> ops;
  for (const FusedOp& fused : epilogue) ops.push_back(fused.op);
  return ops;
}

std::string Step::label() const {
  std::string text = path;
  for (const FusedOp& fused : epilogue) {
    switch (fused.op.kind) {
      case EpilogueOp::Kind::activation: text.append("+").append(name(fused.op.activation)); break;
      case EpilogueOp::Kind::add: text += "+add"; break;
      case EpilogueOp::Kind::mul: text += "+mul"; break;
    }
  }
  return text;
}

std::string outputs_text(const Plan& plan, const Step& step) {
  std::string text;
  for (const int id : step.outputs) text += concat_text(text.empty() ? "" : ", ", plan.spec(id));
  return text;
}

DType run_dtype(const Plan& plan, const Step& step) {
  for (const auto* ids : {&step.outputs, &step.inputs}) {
    for (const int id : *ids) {
      if (!is_integer(plan.spec(id).dtype)) return plan.spec(id).dtype;
    }
  }
  return DType::f32;
}

namespace {

int find_port(const std::vector<PlanPort>& ports, std::string_view name, const char* what) {
  for (const PlanPort& port : ports) {
    if (port.name == name) return port.value;
  }
  std::string names;
  for (const PlanPort& port : ports) names += (names.empty() ? "" : ", ") + port.name;
  throw OptionError(concat_text("no ", what, " named '", name, "': the model has ", names));
}

}  // namespace

int Plan::input(std::string_view name) const { return find_port(inputs, name, "input"); }
int Plan::output(std::string_view name) const { return find_port(outputs, name, "output"); }

bool Plan::placed() const {
  return std::all_of(values.begin(), values.end(), [](const PlanValue& v) { return v.storage >= 0; });
}

const PlanConstant* Plan::constant(int value) const {
  const auto found = std::find_if(constants.begin(), constants.end(), [value](const PlanConstant& c) { return c.value == value; });
  return found == constants.end() ? nullptr : &*found;
}

HostTensor constant_tensor(const Plan& plan, const PlanConstant& constant) {
  const TensorSpec& spec = plan.spec(constant.value);
  return constant.integers != nullptr ? constant.integers->converted(spec.dtype, spec.format) : HostTensor(spec, constant.values.get());
}

TensorView Plan::view(int value, void* storage) const {
  const PlanValue& v = values[static_cast<std::size_t>(value)];
  const std::int64_t bytes = v.offset * static_cast<std::int64_t>(size_of(v.spec.dtype));
  std::byte* const at = storage == nullptr ? nullptr : static_cast<std::byte*>(storage) + bytes;
  return TensorView(at, v.spec.shape, v.spec.dtype, v.strides);
}

namespace {

void check_storages(const Plan& plan) {
  for (const PlanValue& v : plan.values) {
    if (v.storage < 0) continue;
    check<Error>(v.storage < static_cast<int>(plan.storages.size()), "plan: value '", v.name, "' lies in no storage");
    std::int64_t end = v.offset;
    bool inside = end >= 0;
    for (int axis = 0; axis < v.spec.shape.rank(); ++axis) {
      const std::int64_t stride = v.strides[static_cast<std::size_t>(axis)];
      inside = inside && stride >= 0;
      end += (v.spec.shape[axis] - 1) * stride;
    }
    const std::int64_t bytes = plan.storages[static_cast<std::size_t>(v.storage)].bytes;
    inside = inside && (end + 1) * static_cast<std::int64_t>(size_of(v.spec.dtype)) <= bytes;
    check<Error>(inside, "plan: value '", v.name, "' leaves its storage of ", bytes, " bytes");
  }
}

}  // namespace

void Plan::validate() const {
  const int count = static_cast<int>(values.size());
  std::vector<char> made(values.size(), 0);
  const auto valid = [&](int id) { return id >= 0 && id < count; };
  for (const PlanPort& port : inputs) {
    check<Error>(valid(port.value) && values[static_cast<std::size_t>(port.value)].producer == -1, "plan: input '", port.name,
                 "' leads nowhere");
    made[static_cast<std::size_t>(port.value)] = 1;
  }
  for (const PlanConstant& c : constants) {
    check<Error>(valid(c.value) && values[static_cast<std::size_t>(c.value)].producer == -1 && !made[static_cast<std::size_t>(c.value)],
                 "plan: a constant stands for value ", c.value, ", which is another's");
    made[static_cast<std::size_t>(c.value)] = 1;
  }
  std::size_t looked = 0;
  const auto look = [&](std::size_t before) {  // of a concatenation, the parts are made before the whole
    for (; looked < views.size() && static_cast<std::size_t>(views[looked].before) <= before; ++looked) {
      const Step& step = views[looked].step;
      for (const int id : step.inputs) {
        check<Error>(valid(id) && made[static_cast<std::size_t>(id)], "plan: view '", step.path, "' looks at value ", id,
                     " before it is made");
      }
      for (const int id : step.outputs) {
        check<Error>(valid(id) && !made[static_cast<std::size_t>(id)], "plan: view '", step.path, "' makes value ", id, " again");
        made[static_cast<std::size_t>(id)] = 1;
      }
    }
  };
  for (std::size_t i = 0; i < steps.size(); ++i) {
    look(i);
    const Step& step = steps[i];
    for (const int id : step.inputs) {
      check<Error>(valid(id) && made[static_cast<std::size_t>(id)], "plan: step '", step.path, "' uses value ", id, " before it is made");
    }
    check<Error>(!step.outputs.empty(), "plan: step '", step.path, "' makes nothing");
    check<Error>(step.epilogue.empty() || step.outputs.size() == 1, "plan: step '", step.path, "' makes ", step.outputs.size(),
                 " values and has an epilogue, which takes one");
    for (const int id : step.outputs) {
      check<Error>(valid(id) && !made[static_cast<std::size_t>(id)], "plan: step '", step.path, "' makes value ", id, " again");
      check<Error>(values[static_cast<std::size_t>(id)].producer == static_cast<int>(i), "plan: value ", id,
                   " names another producer than step '", step.path, "'");
      made[static_cast<std::size_t>(id)] = 1;
    }
  }
  look(steps.size());
  check_storages(*this);
  for (const PlanPort& port : outputs) {
    check<Error>(valid(port.value) && made[static_cast<std::size_t>(port.value)], "plan: output '", port.name, "' is never made");
  }
}

void Plan::check_alive() const {
  for (const BorrowedLayer& layer : borrowed) {
    check<OptionError>(!layer.alive.expired(), layer.who,
                       " died with its model: keep the model alive, or give the layer a shared_copy() so that a session may outlive it");
  }
}

namespace {

// "a, b, c and 5 more"
std::string first_of(const std::vector<std::string>& names) {
  constexpr std::size_t kNamed = 3;
  std::string text;
  for (std::size_t i = 0; i < std::min(kNamed, names.size()); ++i) text += (i == 0 ? "" : ", ") + names[i];
  return names.size() > kNamed ? concat_text(text, " and ", names.size() - kNamed, " more") : text;
}

// A finite weight that the run's type turns into an infinity makes the model's values meaningless.
void check_range(const std::string& name, const ParameterValues& values, DType dtype) {
  if (dtype == DType::f32) return;
  const auto turns_infinite = [&](float v) { return std::isfinite(v) && std::isinf(round_to(dtype, v)); };
  constexpr float kLargest = std::numeric_limits<float>::max();
  float largest = 0;
  for (const float v : values.get()) largest = std::max(largest, std::abs(v) <= kLargest ? std::abs(v) : 0.0F);
  if (!turns_infinite(largest)) return;
  const auto beyond = std::count_if(values.begin(), values.end(), turns_infinite);
  check<WeightsError>(beyond == 0, name, ": ", beyond, " of ", values.size(), " values are too large for ", dtype, ", the largest is ",
                      largest, ": run in ", dtype == DType::f16 ? "bf16 or f32" : "f32");
}

}  // namespace

void Plan::check_runnable() const {
  check_alive();
  check<OptionError>(faults.unregistered.empty(), first_of(faults.unregistered));
  check<WeightsError>(faults.unfilled.empty(), first_of(faults.unfilled), faults.unfilled.size() == 1 ? " has" : " have",
                      " no values: call load() or init_random() before compiling");
  check<WeightsError>(faults.incomplete.empty(), first_of(faults.incomplete));
  visit_steps(*this, [](const Plan& plan, const Step& step) {
    for (const Parameter* p : step.layer->parameters()) check_range(concat_text(step.path, ".", p->name), p->values, run_dtype(plan, step));
  });
  visit_plans(*this, [](const Plan& plan) {
    for (const PlanConstant& c : plan.constants) {
      if (c.integers == nullptr) check_range(plan.values[static_cast<std::size_t>(c.value)].name, c.values, plan.spec(c.value).dtype);
    }
  });
}

std::vector<Rewrite> chosen_rewrites(const PassOptions& options) {
  check_rewrite_names(options.without);
  std::vector<Rewrite> chosen;
  if (!options.rewrite) return chosen;
  const RewriteRegistry::List all = rewrite_registry().all();
  for (const Rewrite& rewrite : *all) {
    const bool left_out = std::find(options.without.begin(), options.without.end(), rewrite.name) != options.without.end();
    if (!left_out) chosen.push_back(rewrite);
  }
  return chosen;
}

namespace {

Plan optimized(Plan plan, const PassOptions& options, const std::vector<Rewrite>& rewrites) {
  plan = rewrite(std::move(plan), rewrites, RewriteStage::before_fusion);
  if (options.fuse) plan = fuse(std::move(plan));
  plan = rewrite(std::move(plan), rewrites, RewriteStage::after_fusion);
  plan = choose_formats(std::move(plan), options.formats, options.views);
  for (Step& step : plan.steps) {
    const Repeat* const loop = loop_of(step);
    if (loop == nullptr) continue;
    const auto faster = loop->with_body(optimized(without_views(loop->body()), options, rewrites));
    std::vector<TensorSpec> in;
    for (const int id : step.inputs) in.push_back(plan.spec(id));
    const Inferred inferred = faster->infer(in);
    step.layer = faster;
    step.flops = inferred.flops;
    step.bytes = inferred.bytes;
  }
  plan = options.views ? find_views(std::move(plan)) : place(std::move(plan));
  plan.validate();
  return plan;
}

}  // namespace

Plan optimize(Plan plan, const PassOptions& options) {
  plan.check_alive();
  plan = without_views(std::move(plan));  // of a plan that is optimized again
  std::vector<Rewrite> rewrites = chosen_rewrites(options);
  // Such a plan is refused before it runs; rewrites may take parameters to have as many values as their shapes say.
  if (!plan.faults.incomplete.empty()) rewrites.clear();
  return optimized(std::move(plan), options, rewrites);
}

std::vector<AppliedRewrite> applied_rewrites(const Plan& plan) {
  std::vector<AppliedRewrite> all = plan.rewrites;
  for (const Step& step : plan.steps) {
    const Repeat* const loop = loop_of(step);
    if (loop == nullptr) continue;
    for (const AppliedRewrite& inner : applied_rewrites(loop->body())) {
      const auto known = std::find_if(all.begin(), all.end(), [&](const AppliedRewrite& outer) { return outer.name == inner.name; });
      if (known != all.end()) {
        known->times += inner.times;
      } else {
        all.push_back(inner);
      }
    }
  }
  return all;
}

}  // namespace frieze
