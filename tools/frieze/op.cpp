#include <algorithm>
#include <cmath>

#include <frieze/core/error.h>
#include <frieze/core/safetensors.h>
#include <frieze/core/tuning_cache.h>
#include <frieze/core/weights.h>
#include <frieze/graph/session.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/elementwise/elementwise.h>

#include "tools/frieze/commands.h"
#include "tools/frieze/layer_registry.h"
#include "tools/frieze/model_registry.h"
#include "tools/frieze/outputs.h"

namespace frieze::tools {
namespace {

bool is_input(const std::string& name) { return name == "x" || (name.size() == 2 && name[0] == 'x' && name[1] >= '2' && name[1] <= '9'); }

// "y", "y2", …: what a layer makes.
std::string result_name(std::size_t i) { return i == 0 ? "y" : "y" + std::to_string(i + 1); }
bool is_result(const std::string& name) { return name == "y" || (name.size() == 2 && name[0] == 'y' && name[1] >= '2' && name[1] <= '9'); }

// The layer, or the module, applied to the file's inputs, then what --then asks for.
class OpModule final : public Module {
 public:
  OpModule(std::shared_ptr<Module> made, std::string name, std::vector<std::string> then)
      : made_(std::move(made)), layer_(std::dynamic_pointer_cast<const Layer>(made_)), name_(std::move(name)), then_(std::move(then)) {
    if (layer_ == nullptr) add(name_, *made_);
  }

  std::vector<NamedValue> forward_named(const std::vector<NamedValue>& inputs) const override {
    // The residual is the layer's own, unless a later step asks for it.
    const bool later = std::any_of(then_.begin(), then_.end(), [](const std::string& step) { return step == "add" || step == "mul"; });
    std::vector<Value> values;
    std::vector<Value> residual;
    for (const NamedValue& input : inputs) (input.name == "residual" && later ? residual : values).push_back(input.value);
    const SourceLine nowhere;  // of no program of the user's
    const std::vector<Value> made =
        layer_ != nullptr ? apply_all(layer_, name_, values, nowhere) : std::vector<Value>{(*made_)(std::span<const Value>(values))};
    if (made.size() > 1) {
      check<OptionError>(then_.empty(), "--then follows a layer of one output, ", name_, " makes ", made.size());
      std::vector<NamedValue> all;
      for (const Value& v : made) all.push_back({result_name(all.size()), v});
      return all;
    }
    Value y = made.front();
    for (const std::string& step : then_) {
      if (step == "add" || step == "mul") {
        check<OptionError>(!residual.empty(), "--then ", step, " needs a tensor called residual");
        const Operand first(y, nowhere), second(residual.front(), nowhere);
        y = step == "add" ? first + second : first * second;
      } else {
        const Value one[] = {y};
        y = apply(std::make_shared<ActivationLayer>(parse_activation(step)), step, one, nowhere);
      }
    }
    return {{"y", y}};
  }
  std::string_view type_name() const override { return "frieze op"; }

 private:
  std::shared_ptr<Module> made_;
  std::shared_ptr<const Layer> layer_;  // null: a module of several steps
  std::string name_;
  std::vector<std::string> then_;
};

// A parameter from the tensor of its name or one of its other names.
void fill_parameter(Parameter& p, const Tensors& tensors, const std::string& file, std::vector<std::string>& used) {
  std::vector<std::string> names = {p.name};
  names.insert(names.end(), p.aliases.begin(), p.aliases.end());
  for (const std::string& name : names) {
    const auto it = tensors.find(name);
    if (it == tensors.end()) continue;
    const Shape& got = it->second.spec().shape;
    const auto without_ones = [](const Shape& s) {
      std::vector<std::int64_t> extents;
      std::copy_if(s.extents().begin(), s.extents().end(), std::back_inserter(extents), [](std::int64_t e) { return e != 1; });
      return extents;
    };
    check<ShapeError>(got == p.shape || (p.squeeze && without_ones(got) == without_ones(p.shape)), file, ": tensor '", name, "': expected ",
                      p.shape, ", got ", got);
    p.values = it->second.floats();
    used.push_back(name);
    return;
  }
  throw WeightsError(file + ": no tensor '" + p.name + "' " + to_string(p.shape));
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

int op_command(const OpOptions& options, Outputs& outputs) {
  std::ostream& out = outputs.text();
  if (options.list) {
    out << layer_table();
    return kExitOk;
  }
  check<OptionError>(!options.layer.empty() && !options.in.empty() && !options.out.empty(),
                     "needs a layer, --in and --out; --list shows the layers");
  const LayerEntry& entry = find_layer(options.layer);
  const Format format = parse_format(options.format);
  Settings settings(options.settings);
  outputs.reads_checkpoint(options.in);
  outputs.writes(options.out);
  check_ending(options.out, "a file of tensors", {".safetensors"});
  const Weights file = Weights::open(options.in);
  Tensors tensors;
  for (const auto& [name, _] : file.tensors()) {
    if (!is_result(name)) tensors.emplace(name, file.tensor(name));  // a result that is there already is written anew
  }
  check<WeightsError>(tensors.contains("x"), printable(options.in), ": no tensor 'x', which is the layer's input");

  const std::shared_ptr<Module> made = entry.make != nullptr ? entry.make(tensors, settings) : entry.make_module(tensors, settings);
  const std::vector<std::string> unknown = settings.unused();
  check<OptionError>(unknown.empty(), entry.name, " has no setting '", joined(unknown), "'; it has ", setting_keys(entry));
  std::vector<std::string> used;
  for (Parameter* p : made->parameters()) fill_parameter(*p, tensors, options.in, used);

  std::vector<InputSpec> inputs;
  for (const auto& [name, tensor] : tensors) {
    if (!is_input(name) && name != "residual") continue;
    inputs.push_back({name, tensor.spec().shape, tensor.spec().dtype, format});
    used.push_back(name);
  }
  // Inputs in the order x, x2, …, residual, whatever order the file has.
  std::stable_sort(inputs.begin(), inputs.end(),
                   [](const InputSpec& a, const InputSpec& b) { return is_input(a.name) > is_input(b.name); });
  for (const auto& [name, _] : tensors) {
    check<WeightsError>(std::find(used.begin(), used.end(), name) != used.end(), printable(options.in), ": tensor '", printable(name),
                        "' is not used: ", entry.name, " takes ", entry.tensors);
  }

  OpModule module(made, std::string(entry.name), options.then);
  const Device device = pick_device(options.device);
  CompileOptions compile_as;
  compile_as.passes.without = options.no_rewrites;
  compile_as.allow_tf32 = options.tf32;
  compile_as.tune = !options.no_tune;
  compile_as.tuning_cache = default_tuning_cache_file().string();
  check<OptionError>(!options.tf32 || device.is_cuda(), "--tf32 needs a CUDA device, this run is on the CPU");
  Session net = compile(module, inputs, device, compile_as);
  for (const InputSpec& input : inputs) net.input(input.name).copy_from(tensors.at(input.name));
  net.run();
  Tensors result;
  std::string made_text, faults;
  for (const PlanPort& port : net.plan().outputs) {
    HostTensor y = net.output(port.name).to_host().converted(net.output(port.name).spec().dtype, Format::nchw);
    const std::vector<float> values = y.floats();
    const auto nan = std::count_if(values.begin(), values.end(), [](float v) { return std::isnan(v); });
    const auto inf = std::count_if(values.begin(), values.end(), [](float v) { return std::isinf(v); });
    made_text += concat_text(made_text.empty() ? "" : ", ", port.name, ' ', y.spec().shape, ' ', y.spec().dtype);
    if (nan + inf > 0) faults += concat_text(port.name, " holds ", nan, " NaN and ", inf, " Inf among ", values.size(), " values\n");
    result.emplace(port.name, std::move(y));
  }
  write_safetensors(outputs.open(options.out), result, {{"frieze.layer", std::string(entry.name)}, {"frieze.device", device.name()}});
  const auto* const layer = dynamic_cast<const Layer*>(made.get());
  const std::string described = layer != nullptr ? layer->describe() : "";
  out << entry.name << (described.empty() ? "" : " ") << described << " on " << device.name() << ": x " << tensors.at("x").spec().shape
      << " -> " << made_text << ", " << printable(options.out) << '\n'
      << faults;
  return kExitOk;
}

}  // namespace frieze::tools
