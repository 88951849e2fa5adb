// frieze.Graph: layers that Python applies one by one, compiled as one model; and Model, a session behind a lock.
#include "tools/python/graph.h"

#include <algorithm>
#include <cmath>

#include <frieze/core/error.h>
#include <frieze/core/module.h>
#include <frieze/graph/profile.h>
#include <frieze/graph/verify.h>

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "tools/frieze/layer_registry.h"

namespace frieze::python {
namespace {

// Fills the layer's parameters from the tensors of their names.
void fill(Layer& layer, const tools::Tensors& tensors, const std::string& who) {
  for (const auto& [key, _] : tensors) {
    const auto is_it = [&key = key](const Parameter* p) { return p->name == key; };
    check<OptionError>(std::any_of(layer.parameters().begin(), layer.parameters().end(), is_it), who, " has no parameter '", printable(key),
                       "'");
  }
  for (Parameter* p : layer.parameters()) {
    const auto it = tensors.find(p->name);
    check<WeightsError>(it != tensors.end(), who, ": no '", p->name, "' ", p->shape);
    const Shape& got = it->second.spec().shape;
    const bool fits = got == p->shape || (p->squeeze && got.elements() == p->shape.elements());
    check<ShapeError>(fits, who, ": '", p->name, "': expected ", p->shape, ", got ", got);
    std::vector<float> values = it->second.floats();
    const auto bad = std::count_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
    check<WeightsError>(bad == 0, who, ": '", p->name, "' holds ", bad, " values that are NaN or Inf");
    p->values = std::move(values);
  }
}

}  // namespace

struct Recorder::Recorded final : Module {
  std::vector<Input> inputs;
  std::vector<Step> steps;
  std::vector<std::pair<std::string, int>> outputs;

  std::vector<NamedValue> forward_named(const std::vector<NamedValue>& given) const override {
    std::vector<std::optional<Value>> values(inputs.size() + steps.size());
    for (std::size_t i = 0; i < inputs.size(); ++i) values[static_cast<std::size_t>(inputs[i].node)] = given[i].value;
    for (const Step& step : steps) {
      std::vector<Value> in;
      for (const int node : step.inputs) in.push_back(*values[static_cast<std::size_t>(node)]);
      values[static_cast<std::size_t>(step.node)] = apply(step.layer, step.name, in, SourceLine{});
    }
    std::vector<NamedValue> result;
    for (const auto& [name, node] : outputs) result.push_back({name, *values[static_cast<std::size_t>(node)]});
    return result;
  }
  std::string_view type_name() const override { return "frieze.Graph"; }
};

int Recorder::input(const std::string& name, const nb::tuple& shape, const std::string& dtype) {
  check<OptionError>(!name.empty(), "an input needs a name");
  for (const Input& input : inputs_) check<OptionError>(input.spec.name != name, "input '", name, "': there is one of this name already");
  const Shape extents = shape_of(shape);
  check<ShapeError>(extents.elements() > 0, "input '", name, "': expected extents of at least 1, got ", extents);
  const int node = static_cast<int>(specs_.size());
  inputs_.push_back({node, {name, extents, parse_dtype(dtype)}});
  specs_.push_back({extents, parse_dtype(dtype)});
  return node;
}

int Recorder::step(const std::string& name, const std::vector<int>& inputs, const std::map<std::string, Array>& parameters,
                   const std::vector<std::string>& settings) {
  std::vector<TensorSpec> in;
  for (const int node : inputs) in.push_back(spec(node));
  check<OptionError>(!in.empty(), name, ": needs an input");
  tools::Tensors tensors;
  for (const auto& [key, array] : parameters) {
    check<OptionError>(array.device_type() == nb::device::cpu::value, name, ": '", key, "': expected an array on the CPU");
    tensors.emplace(key, host_copy(view_of(array, name + ": '" + key + "'")));
  }
  tools::Settings of_layer(settings);
  // Layers take the number of channels from x; its extents on other axes are no one's business.
  tools::Tensors shapes;
  for (const auto& [key, tensor] : tensors) shapes.emplace(key, HostTensor(tensor.spec()));
  const Shape& x = in.front().shape;
  shapes.emplace("x", HostTensor({x.rank() == 4 ? Shape{1, x.c(), 1, 1} : Shape{1}, DType::f32}));
  if (name == "rms_norm2d" && in.size() > 1) shapes.emplace("residual", HostTensor({Shape{1}, DType::f32}));
  const tools::LayerEntry& entry = tools::find_layer(name);
  check<OptionError>(entry.make != nullptr, name, ": is several steps, which Python cannot compose in one call");
  std::shared_ptr<Layer> layer = entry.make(shapes, of_layer);
  for (const std::string& key : of_layer.unused()) throw OptionError(concat_text(name, " has no setting '", printable(key), "'"));
  fill(*layer, tensors, name);
  const TensorSpec out = layer->infer(in).out.front();
  const int node = static_cast<int>(specs_.size());
  steps_.push_back({node, name, std::move(layer), inputs});
  specs_.push_back(out);
  return node;
}

const TensorSpec& Recorder::spec(int node) const {
  check<OptionError>(node >= 0 && static_cast<std::size_t>(node) < specs_.size(), "this value belongs to another graph");
  return specs_[static_cast<std::size_t>(node)];
}

std::shared_ptr<Model> Recorder::compile(const std::map<std::string, int>& outputs, const std::string& device, bool tune, bool tf32,
                                         std::int64_t max_memory) const {
  check<OptionError>(!inputs_.empty(), "a graph needs an input");
  check<OptionError>(!outputs.empty(), "a graph needs an output");
  Recorded module;
  std::vector<InputSpec> inputs;
  for (const Input& input : inputs_) inputs.push_back(input.spec);
  module.inputs = inputs_;
  module.steps = steps_;
  for (const auto& [name, node] : outputs) {
    (void)spec(node);
    module.outputs.emplace_back(name, node);
  }
  const nb::gil_scoped_release work;
  NamedDevice where = parse_device(device);
  check<OptionError>(!tf32 || where.device.is_cuda(), "tf32 needs a CUDA device, this is the CPU");
  CompileOptions options;
  options.tune = tune;
  options.allow_tf32 = tf32;
  options.max_memory = max_memory;
  options.on_warning = warn;
  Session session = frieze::compile(module, inputs, where.device, options);
  return std::make_shared<Model>(std::move(session), std::move(where));
}

Model::Model(Session session, NamedDevice device) : session_(std::move(session)), device_(std::move(device)) {
  const Plan& plan = session_->plan();
  for (const PlanPort& port : plan.inputs) inputs_.push_back({port.name, plan.spec(port.value)});
  for (const PlanPort& port : plan.outputs) outputs_.push_back({port.name, plan.spec(port.value)});
}

Session& Model::session() {
  process_.check("this model");
  check<Error>(session_.has_value(), "this model was closed");
  return *session_;
}

void Model::run(const std::vector<Array>& inputs, const std::vector<Output>& outputs, std::uintptr_t stream) {
  std::vector<TensorView> in, out;
  {
    const nb::gil_scoped_release wait;
    mutex_.lock();
  }
  const std::lock_guard lock(mutex_, std::adopt_lock);
  Session& net = session();
  check<OptionError>(inputs.size() == inputs_.size(), "expected ", inputs_.size(), " inputs, got ", inputs.size());
  check<OptionError>(outputs.size() == outputs_.size(), "expected ", outputs_.size(), " outputs, got ", outputs.size());
  const auto take = [&](const auto& array, const NamedSpec& port, std::vector<TensorView>& to) {
    const std::string what = "'" + port.name + "'";
    const TensorView& view = to.emplace_back(view_of(array, what));
    check<ShapeError>(view.shape == port.spec.shape, what, ": expected shape ", port.spec.shape, ", got ", view.shape);
    check_device(array.device_type(), array.device_id(), what, device_);
    if (!device_.device.is_cuda()) return;
    check<DTypeError>(view.dtype == port.spec.dtype, what, ": expected ", port.spec.dtype, ", got ", view.dtype);
    check<OptionError>(view.is_contiguous(port.spec.format), what, ": expected contiguous memory");
  };
  for (std::size_t i = 0; i < inputs.size(); ++i) take(inputs[i], inputs_[i], in);
  for (std::size_t i = 0; i < outputs.size(); ++i) take(outputs[i], outputs_[i], out);
  const nb::gil_scoped_release work;
  if (device_.device.is_cuda()) {
    for (const NamedSpec& port : outputs_) net.bind(port.name, nullptr);  // an old one may lie where a new input does
    for (std::size_t i = 0; i < in.size(); ++i) net.bind(inputs_[i].name, in[i].data);
    for (std::size_t i = 0; i < out.size(); ++i) net.bind(outputs_[i].name, out[i].data);
    return net.launch(reinterpret_cast<cudaStream_t>(stream));
  }
  for (std::size_t i = 0; i < in.size(); ++i) net.input(inputs_[i].name).copy_from(host_copy(in[i]));
  net.run();
  for (std::size_t i = 0; i < out.size(); ++i) write_host(net.output(outputs_[i].name).to_host(), out[i], "'" + outputs_[i].name + "'");
}

std::string Model::text(const std::string& what, int number) {
  const nb::gil_scoped_release work;
  const std::lock_guard lock(mutex_);
  Session& net = session();
  if (what == "receipt") return net.receipt().json();
  if (what == "receipt_text") return net.receipt().text();
  if (what == "verify") return verify(net, {.seed = static_cast<std::uint64_t>(number)}).json();
  if (what == "profile") return profile(net, {.rounds = number}).json();
  throw OptionError("unknown report '" + what + "'");
}

nb::list Model::ports(bool outputs) const {
  nb::list list;
  for (const NamedSpec& port : outputs ? outputs_ : inputs_) {
    list.append(nb::make_tuple(port.name, tuple_of(port.spec.shape), std::string(name(port.spec.dtype))));
  }
  return list;
}

void Model::close() {
  const nb::gil_scoped_release wait;
  const std::lock_guard lock(mutex_);
  session_.reset();
}

void bind_graph(nb::module_& m) {
  nb::class_<Recorder>(m, "Recorder", "The steps that frieze.Graph has recorded.")
      .def(nb::init<>())
      .def("input", &Recorder::input, nb::arg("name"), nb::arg("shape"), nb::arg("dtype"), "A new input; its node.")
      .def("step", &Recorder::step, nb::arg("layer"), nb::arg("inputs"), nb::arg("parameters"), nb::arg("settings"),
           "A layer applied to nodes; the node of its output.")
      .def(
          "spec",
          [](const Recorder& r, int node) {
            const TensorSpec& spec = r.spec(node);
            return nb::make_tuple(tuple_of(spec.shape), std::string(name(spec.dtype)));
          },
          nb::arg("node"), "Shape and type of a node.")
      .def("compile", &Recorder::compile, nb::arg("outputs"), nb::arg("device"), nb::arg("tune"), nb::arg("tf32"), nb::arg("max_memory"),
           "The model that computes these outputs.");
  nb::class_<Model>(m, "Model", "A session and its lock.")
      .def("run", &Model::run, nb::arg("inputs"), nb::arg("outputs"), nb::arg("stream"), "One run, into arrays of the caller.")
      .def("text", &Model::text, nb::arg("what"), nb::arg("number"), "A report: receipt, receipt_text, verify (seed) or profile (rounds).")
      .def("ports", &Model::ports, nb::arg("outputs"), "(name, shape, type) of each input or output.")
      .def("close", &Model::close, "Gives memory back; every later call raises Error.")
      .def_prop_ro(
          "device", [](const Model& model) { return model.device(); }, "\"cpu\" or \"cuda:N\".");
  nb::list names;
  for (const tools::LayerEntry& entry : tools::layers()) {
    if (entry.make != nullptr) names.append(std::string(entry.name));
  }
  m.attr("layers") = nb::tuple(names);
}

}  // namespace frieze::python
