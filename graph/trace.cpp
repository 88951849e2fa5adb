/// Tracing: `forward` runs once on Values, every leaf layer checks its inputs and becomes a step.
#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <set>
#include <typeinfo>

#include <frieze/core/constant.h>
#include <frieze/core/error.h>
#include <frieze/graph/plan.h>
#include <frieze/graph/reformat.h>
#include <frieze/graph/repeat.h>

namespace frieze {
namespace {

// Rethrows an error of `infer` with the module path in front, keeping its type.
template <class Infer>
Inferred infer_at(const std::string& path, Infer&& infer) {
  try {
    return infer();
  } catch (const ShapeError& e) {
    throw ShapeError(path + ": " + e.what());
  } catch (const DTypeError& e) {
    throw DTypeError(path + ": " + e.what());
  } catch (const OptionError& e) {
    throw OptionError(path + ": " + e.what());
  }
}

class PlanTracer final : public Tracer {
 public:
  explicit PlanTracer(Plan& plan) : plan_(plan), outermost_(plan), state_(std::make_shared<State>()) {}
  /// Of a loop's body, somewhere below `outer`.
  PlanTracer(Plan& body, const PlanTracer& outer) : plan_(body), outermost_(outer.outermost_), state_(outer.state_) {}

  Value add_input(const InputSpec& input) {
    plan_.values.push_back({{input.shape, input.dtype, input.format}, input.name, -1});
    const int id = static_cast<int>(plan_.values.size()) - 1;
    plan_.inputs.push_back({input.name, id});
    note_shown();
    return Value(*this, id);
  }

  std::vector<Value> step(std::shared_ptr<const Layer> layer, const std::string& path, std::span<const Value> inputs) override {
    Step step;
    std::vector<TensorSpec> specs;
    for (const Value& v : inputs) {
      step.inputs.push_back(v.id());
      specs.push_back(spec(v.id()));
      specs.back().format = Format::nchw;  // layers see shapes; formats are the format pass's business
    }
    const std::string name = path.empty() ? std::string(layer->type_name()) : path;
    if (layer.use_count() == 0) {
      layer = adopted(*layer, name);  // somebody's member
    } else if (!layer->parameters().empty()) {
      check_parameters(*layer, name, nullptr);
      if (auto copy = copy_of(*layer)) layer = std::move(copy);  // the model may write to its own
    }
    const Inferred inferred = infer_at(name, [&] { return layer->infer(specs); });
    step.layer = std::move(layer);
    step.path = name;
    step.flops = inferred.flops;
    step.bytes = inferred.bytes;
    check<OptionError>(!inferred.out.empty(), name, ": ", step.layer->type_name(), " infers no output");
    std::vector<Value> made;
    for (std::size_t i = 0; i < inferred.out.size(); ++i) {
      step.outputs.push_back(static_cast<int>(plan_.values.size()));
      const TensorSpec spec{inferred.out[i].shape, inferred.out[i].dtype, Format::nchw};
      plan_.values.push_back({spec, output_name(name, i, inferred.out.size()), static_cast<int>(plan_.steps.size())});
      note_shown();
      made.emplace_back(*this, step.outputs.back());
    }
    plan_.steps.push_back(std::move(step));
    return made;
  }

  Value constant(const Constant& c) override {
    std::string name = c.parameter == nullptr ? functional_path("constant") : std::string();
    if (c.parameter != nullptr) {
      const auto known = parameters_.find({c.parameter, c.spec.dtype});
      if (known != parameters_.end()) return Value(*this, known->second);
      name = key_of(*c.parameter);
    }
    const int id = static_cast<int>(plan_.values.size());
    plan_.values.push_back({c.spec, std::move(name), -1});
    plan_.constants.push_back({id, c.values, c.integers});
    note_shown();
    if (c.parameter != nullptr) parameters_.emplace(std::pair(c.parameter, c.spec.dtype), id);
    return Value(*this, id);
  }

  DType run_dtype() const override {
    for (const PlanPort& port : outermost_.inputs) {
      if (!is_integer(outermost_.spec(port.value).dtype)) return outermost_.spec(port.value).dtype;
    }
    return DType::f32;
  }

  /// The value as one that the plan may give: of a constant, a copy.
  int as_output(const Value& v) {
    const PlanConstant* const c = plan_.constant(v.id());
    if (c == nullptr) return v.id();
    return step(std::make_shared<Reformat>(), plan_.values[static_cast<std::size_t>(v.id())].name + ":copy", {&v, 1}).front().id();
  }

  const TensorSpec& spec(int id) const override { return plan_.spec(id); }
  const char* shown(int id) const override { return shown_.at(static_cast<std::size_t>(id)).c_str(); }

  std::vector<Value> loop(int iterations, const LoopInputs& inputs, const LoopBody& body) override {
    const std::string path = functional_path("repeat");
    Plan inner;
    PlanTracer tracer(inner, *this);
    LoopValues values;
    std::vector<Value> outside;
    const auto add = [&](const std::vector<Value>& from, const char* name, std::vector<Value>& to) {
      for (const Value& v : from) {
        check<OptionError>(&v.tracer() == this, path, ": values of two different traces cannot be combined");
        outside.push_back(v);
        to.push_back(tracer.add_input({concat_text(name, to.size()), v.shape(), v.dtype()}));
      }
    };
    add(inputs.carried, "carried.", values.carried);
    add(inputs.given, "given.", values.given);
    for (const LoopTable& table : inputs.tables) {
      check<DTypeError>(!is_integer(table.dtype), path, ": a table is of floats, got ", table.dtype);
      values.rows.push_back(tracer.add_input({concat_text("row.", values.rows.size()), table.row, table.dtype}));
    }
    const std::vector<Value> next = [&] {
      const TracerScope scope(tracer);
      return body(values);
    }();
    for (const Value& v : next) {
      check<OptionError>(&v.tracer() == &tracer, path, ": the body of a loop gives a value of the model outside of it");
      inner.outputs.push_back({concat_text("next.", inner.outputs.size()), tracer.as_output(v)});
    }
    std::shared_ptr<const Repeat> repeat;
    try {
      repeat = std::make_shared<Repeat>(std::move(inner), iterations, inputs.carried.size(), inputs.given.size(), inputs.tables);
    } catch (const OptionError& e) {
      throw OptionError(path + ": " + e.what());
    }
    return step(repeat, path, outside);
  }

  void enter(const Module& module) override {
    if (state_->root == nullptr) state_->root = &module;
    state_->scopes.push_back({&module, module.path()});
  }
  void leave() override { state_->scopes.pop_back(); }

  std::string functional_path(std::string_view op) override {
    const std::string scope = state_->scopes.empty() ? std::string() : state_->scopes.back().path;
    const std::string base = scope.empty() ? std::string(op) : scope + "." + std::string(op);
    const int count = state_->uses[base]++;
    return count == 0 ? base : base + "_" + std::to_string(count);
  }

 private:
  struct Scope {
    const Module* module;
    std::string path;
  };
  // What the tracers of a model and of its loops' bodies share.
  struct State {
    const Module* root = nullptr;
    std::vector<Scope> scopes;
    std::map<const Layer*, std::shared_ptr<const Layer>> adopted;
    std::map<std::string, int> uses;
  };

  // Of the values that are new.
  void note_shown() {
    while (shown_.size() < plan_.values.size()) {
      const PlanValue& value = plan_.values[shown_.size()];
      shown_.push_back(concat_text(value.name, ' ', value.spec));
    }
  }

  // Not of a base class that forgot what the layer is.
  static std::shared_ptr<const Layer> copy_of(const Layer& layer) {
    std::shared_ptr<const Layer> copy = layer.shared_copy();
    if (copy == nullptr) return nullptr;
    const Layer& made = *copy;
    return typeid(made) == typeid(layer) ? copy : nullptr;
  }

  // The layer as the plan keeps it: a copy that shares the parameters' values, or, of a layer that has no such copy, the layer itself.
  std::shared_ptr<const Layer> adopted(const Layer& layer, const std::string& name) {
    const auto known = state_->adopted.find(&layer);
    if (known != state_->adopted.end()) return known->second;
    const Module* top = &layer;
    while (top != state_->root && top->parent() != nullptr) top = top->parent();
    const bool registered = top == state_->root;
    check_parameters(layer, name, registered ? nullptr : top);
    std::shared_ptr<const Layer> copy = copy_of(layer);
    if (copy == nullptr) {
      copy = std::shared_ptr<const Layer>(std::shared_ptr<const Layer>(), &layer);
      outermost_.borrowed.push_back({concat_text(name, " (", layer.class_name(), ")"), layer.lifetime()});
    }
    // Others may be gone before the trace ends, and something else be at their address.
    if (registered) state_->adopted.emplace(&layer, copy);
    return copy;
  }

  // Notes what keeps a parameter from being used. `stray`: the root of its tree, if that is not the model.
  void check_parameter(const std::string& full, const Parameter& p, const Module* stray) {
    const std::int64_t count = static_cast<std::int64_t>(p.values.size()), expected = p.shape.elements();
    if (!p.values.filled()) {
      if (stray == nullptr && expected > 0) outermost_.faults.unfilled.push_back(full);
    } else if (count != expected) {
      outermost_.faults.incomplete.push_back(concat_text(full, " has ", count, " values, its shape ", p.shape, " takes ", expected));
    } else if (p.values.by_element()) {
      const auto missing = std::count_if(p.values.begin(), p.values.end(), [](float v) { return std::isnan(v); });
      if (missing > 0)
        outermost_.faults.incomplete.push_back(concat_text(full, ": ", missing, " of ", count, " values are NaN or were never set"));
    }
  }

  void check_parameters(const Layer& layer, const std::string& name, const Module* stray) {
    bool any = false;
    layer.visit_parameters([&](const std::string& key, const Parameter& p) {
      any = true;
      check_parameter(&layer == state_->root && layer.path().empty() ? key : name + "." + key, p, stray);
    });
    if (any && stray != nullptr) note_stray(*stray);
  }

  // Who used a module of another tree: the innermost module that is not of that tree itself.
  void note_stray(const Module& stray) {
    const auto belongs = [&](const Module* module) {
      for (; module != nullptr; module = module->parent()) {
        if (module == &stray) return true;
      }
      return false;
    };
    const auto user =
        std::find_if(state_->scopes.rbegin(), state_->scopes.rend(), [&](const Scope& scope) { return !belongs(scope.module); });
    note_unregistered(concat_text(stray.class_name(), " used in ",
                                  user == state_->scopes.rend() ? state_->root->class_name() : user->module->class_name(),
                                  "::forward was never add()ed"));
  }

  void note_unregistered(std::string sentence) {
    std::vector<std::string>& told = outermost_.faults.unregistered;
    if (told.empty() || told.back() != sentence) told.push_back(std::move(sentence));
  }

  // The full key of a parameter that a forward uses as a value: of the module whose forward runs, or of one around or below it.
  std::string key_of(const Parameter& parameter) {
    for (const bool below : {false, true}) {
      for (auto scope = state_->scopes.rbegin(); scope != state_->scopes.rend(); ++scope) {
        std::string found;
        const auto look = [&](const std::string& key, const Parameter& p) {
          if (&p == &parameter) found = scope->path.empty() ? key : scope->path + "." + key;
        };
        if (below) {
          scope->module->visit_parameters(look);
        } else {
          for (const Parameter* p : scope->module->parameters()) look(p->name, *p);
        }
        if (found.empty()) continue;
        const Module* top = scope->module;
        while (top != state_->root && top->parent() != nullptr) top = top->parent();
        const Module* const stray = top == state_->root ? nullptr : top;
        check_parameter(found, parameter, stray);
        if (stray != nullptr) note_stray(*stray);
        return found;
      }
    }
    const Module* const user = state_->scopes.empty() ? state_->root : state_->scopes.back().module;
    note_unregistered(concat_text("a parameter of shape ", parameter.shape, " used in ", user->class_name(),
                                  "::forward was never registered: call add_parameter() in the module's constructor"));
    return functional_path("parameter");
  }

  Plan& plan_;
  Plan& outermost_;  // takes the faults and the borrowed layers
  std::shared_ptr<State> state_;
  std::map<std::pair<const Parameter*, DType>, int> parameters_;  // that are values of this plan
  std::deque<std::string> shown_;                                 // by value; values refer to the texts
};

void check_inputs_of_model(const std::vector<InputSpec>& inputs) {
  check<OptionError>(!inputs.empty(), "a model needs at least one input");
  std::set<std::string> names;
  for (const InputSpec& input : inputs) {
    check<OptionError>(!input.name.empty(), "an input of the model has no name");
    check<OptionError>(names.insert(input.name).second, "two inputs named '", input.name, "'");
    check<ShapeError>(input.shape.elements() > 0, "input '", input.name, "': expected extents of at least 1, got ", input.shape);
    (void)TensorSpec{input.shape, input.dtype, input.format}.bytes();  // refuses a size past 2^63 - 1 bytes
  }
}

}  // namespace

Plan trace(const Module& model, const std::vector<InputSpec>& inputs) {
  check_inputs_of_model(inputs);
  Plan plan;
  PlanTracer tracer(plan);
  std::vector<NamedValue> values;
  for (const InputSpec& input : inputs) values.push_back({input.name, tracer.add_input(input)});
  const TracerScope scope(tracer);
  tracer.enter(model);
  // A lone leaf layer is a model too, with as many inputs as were given.
  std::vector<NamedValue> outputs;
  if (const auto* layer = dynamic_cast<const Layer*>(&model)) {
    std::vector<Value> bare;
    for (const NamedValue& v : values) bare.push_back(v.value);
    const std::vector<Value> made = tracer.step(std::shared_ptr<const Layer>(std::shared_ptr<const Layer>(), layer), model.path(), bare);
    for (std::size_t i = 0; i < made.size(); ++i) outputs.push_back({output_name("y", i, made.size()), made[i]});
  } else {
    outputs = model.forward_named(values);
  }
  check<OptionError>(!outputs.empty(), model.class_name(), ": the model gives no output");
  std::set<std::string> names;
  for (const NamedValue& output : outputs) {
    check<OptionError>(names.insert(output.name).second, model.class_name(), ": two outputs named '", output.name, "'");
    const std::string who = concat_text(model.class_name(), ": output '", output.name, "'");
    check<OptionError>(&tracer_of(who, {&output.value, 1}) == &tracer, who, " belongs to another trace");
    plan.outputs.push_back({output.name, tracer.as_output(output.value)});
  }
  plan.validate();
  return plan;
}

}  // namespace frieze
