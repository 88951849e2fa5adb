/// Tracing: `forward` runs once on Values, every leaf layer checks its inputs and becomes a step.
#include <map>
#include <set>

#include <frieze/core/error.h>
#include <frieze/graph/plan.h>

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
  explicit PlanTracer(Plan& plan) : plan_(plan) {}

  Value add_input(const InputSpec& input) {
    plan_.values.push_back({{input.shape, input.dtype, input.format}, input.name, -1});
    const int id = static_cast<int>(plan_.values.size()) - 1;
    plan_.inputs.push_back({input.name, id});
    return Value(*this, id);
  }

  Value step(std::shared_ptr<const Layer> layer, const std::string& path, std::span<const Value> inputs) override {
    Step step;
    std::vector<TensorSpec> specs;
    for (const Value& v : inputs) {
      step.inputs.push_back(v.id());
      specs.push_back(spec(v.id()));
      specs.back().format = Format::nchw;  // layers see shapes; formats are the format pass's business
    }
    const std::string name = path.empty() ? std::string(layer->type_name()) : path;
    const Inferred inferred = infer_at(name, [&] { return layer->infer(specs); });
    step.layer = std::move(layer);
    step.path = name;
    step.flops = inferred.flops;
    step.bytes = inferred.bytes;
    step.output = static_cast<int>(plan_.values.size());
    plan_.values.push_back({{inferred.out.shape, inferred.out.dtype, Format::nchw}, name, static_cast<int>(plan_.steps.size())});
    plan_.steps.push_back(std::move(step));
    return Value(*this, plan_.steps.back().output);
  }

  const TensorSpec& spec(int id) const override { return plan_.spec(id); }

  void enter(const Module& module) override { scopes_.push_back(module.path()); }
  void leave() override { scopes_.pop_back(); }

  std::string functional_path(std::string_view op) override {
    const std::string scope = scopes_.empty() ? std::string() : scopes_.back();
    const std::string base = scope.empty() ? std::string(op) : scope + "." + std::string(op);
    const int count = uses_[base]++;
    return count == 0 ? base : base + "_" + std::to_string(count);
  }

 private:
  Plan& plan_;
  std::vector<std::string> scopes_;
  std::map<std::string, int> uses_;
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
  tracer.enter(model);
  // A lone leaf layer is a model too, with as many inputs as were given.
  std::vector<NamedValue> outputs;
  if (const auto* layer = dynamic_cast<const Layer*>(&model)) {
    std::vector<Value> bare;
    for (const NamedValue& v : values) bare.push_back(v.value);
    outputs.push_back({"y", tracer.step(std::shared_ptr<const Layer>(std::shared_ptr<const Layer>(), layer), model.path(), bare)});
  } else {
    outputs = model.forward_named(values);
  }
  check<OptionError>(!outputs.empty(), "the model gives no output");
  std::set<std::string> names;
  for (const NamedValue& output : outputs) {
    check<OptionError>(names.insert(output.name).second, "two outputs named '", output.name, "'");
    check<OptionError>(&output.value.tracer() == &tracer, "output '", output.name, "' belongs to another trace");
    plan.outputs.push_back({output.name, output.value.id()});
  }
  plan.validate();
  return plan;
}

}  // namespace frieze
