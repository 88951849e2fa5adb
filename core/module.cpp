#include <frieze/core/module.h>

#include <cxxabi.h>

#include <cmath>
#include <cstdlib>
#include <typeinfo>

#include <frieze/core/error.h>
#include <frieze/core/host_memory.h>
#include <frieze/core/random.h>

namespace frieze {

void Module::refuse_inputs(std::size_t count) const {
  const std::string inputs = concat_text(count, count == 1 ? " input" : " inputs");
  throw OptionError(concat_text(place(), ": called with ", inputs, ", but it defines no forward() of ", inputs));
}

Value Module::forward(Value) const { refuse_inputs(1); }
Value Module::forward(Value, Value) const { refuse_inputs(2); }
Value Module::forward(Value, Value, Value) const { refuse_inputs(3); }
Value Module::forward(Value, Value, Value, Value) const { refuse_inputs(4); }
Value Module::forward(Value, Value, Value, Value, Value) const { refuse_inputs(5); }
Value Module::forward(Value, Value, Value, Value, Value, Value) const { refuse_inputs(6); }

Value Module::forward(std::span<const Value> in) const {
  switch (in.size()) {
    case 1: return forward(in[0]);
    case 2: return forward(in[0], in[1]);
    case 3: return forward(in[0], in[1], in[2]);
    case 4: return forward(in[0], in[1], in[2], in[3]);
    case 5: return forward(in[0], in[1], in[2], in[3], in[4]);
    case 6: return forward(in[0], in[1], in[2], in[3], in[4], in[5]);
    default: refuse_inputs(in.size());
  }
}

std::vector<NamedValue> Module::forward_named(const std::vector<NamedValue>& inputs) const {
  std::vector<Value> values;
  for (const NamedValue& input : inputs) values.push_back(input.value);
  return {{"y", forward(values)}};
}

Value Module::operator()(std::span<const Value> inputs) const {
  struct Scope {
    Tracer& tracer;
    Scope(Tracer& t, const Module& m) : tracer(t) { tracer.enter(m); }
    ~Scope() { tracer.leave(); }
  } scope(tracer_of(place(), inputs), *this);
  return forward(inputs);
}

std::string Module::path() const {
  const Module* const above = parent();
  if (above == nullptr) return name_;
  const std::string prefix = above->path();
  return prefix.empty() ? name_ : prefix + "." + name_;
}

std::string Module::class_name() const {
  if (type_name() != "Module") return std::string(type_name());
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(abi::__cxa_demangle(typeid(*this).name(), nullptr, nullptr, &status), &std::free);
  const std::string name = status == 0 ? text.get() : "Module";
  // "frieze::(anonymous namespace)::Net<A::B>": what stands behind the last "::" that is in no brackets.
  std::size_t begin = 0;
  int depth = 0;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '<' || name[i] == '(') ++depth;
    if (name[i] == '>' || name[i] == ')') --depth;
    if (depth == 0 && name[i] == ':') begin = i + 1;
  }
  return name.substr(begin);
}

std::string Module::place() const {
  const std::string own = path();
  return own.empty() ? class_name() : own + " (" + class_name() + ")";
}

void Module::append(Module* child) {
  check<OptionError>(child != nullptr, class_name(), ": there is no module to add");
  add(std::to_string(children_.size()), *child);
}

std::size_t Module::checked(std::size_t i, std::size_t count) const {
  check<OptionError>(i < count, place(), ": module ", i, " was asked for, it has ", count);
  return i;
}

const Value& Module::only(std::span<const Value> inputs) const {
  if (inputs.size() != 1) refuse_inputs(inputs.size());
  return inputs.front();
}

void Module::add(std::string name, Module& child) {
  check<OptionError>(!name.empty() && name.find('.') == std::string::npos, class_name(),
                     ": a child's name must be non-empty and hold no dot, got '", name, "'");
  for (const Module* above = this; above != nullptr; above = above->parent()) {
    check<OptionError>(above != &child, class_name(), ": '", name, "' would be its own ancestor");
  }
  check<OptionError>(child.parent() == nullptr, class_name(), ": '", name, "' already belongs to a module, as '", child.path(), "'");
  check<OptionError>(child_names_.insert(name).second, class_name(), ": two children named '", name, "'");
  child.name_ = name;
  child.parent_ = this;
  child.parent_alive_ = alive_;
  children_.emplace_back(std::move(name), &child);
  children_alive_.push_back(child.alive_);
}

void Module::add_parameter(Parameter& parameter, std::string name, Shape shape, Init init) {
  check<OptionError>(!name.empty(), class_name(), ": a parameter needs a name");
  for (const Parameter* other : parameters_) check<OptionError>(other->name != name, class_name(), ": two parameters named '", name, "'");
  parameter.name = std::move(name);
  parameter.shape = shape;
  parameter.init = init;
  parameter.values = ParameterValues(static_cast<std::size_t>(shape.elements()), static_cast<float>(init.center));
  parameters_.push_back(&parameter);
}

template <class M, class P, class Visit>
void Module::visit_tree(M& module, const std::string& prefix, const Visit& visit) {
  for (P* parameter : module.parameters_) visit(prefix + parameter->name, *parameter);
  for (std::size_t i = 0; i < module.children_.size(); ++i) {
    const auto& [name, child] = module.children_[i];
    check<OptionError>(!module.children_alive_[i].expired(), prefix, name, ": was destroyed before the module that it was added to");
    visit_tree<M, P>(*child, prefix + name + ".", visit);
  }
}

void Module::visit_parameters(const std::function<void(const std::string&, Parameter&)>& visit) {
  visit_tree<Module, Parameter>(*this, "", visit);
}

void Module::visit_parameters(const std::function<void(const std::string&, const Parameter&)>& visit) const {
  visit_tree<const Module, const Parameter>(*this, "", visit);
}

void init_random(Module& module, std::uint64_t seed) {
  std::int64_t bytes = 0;
  module.visit_parameters([&](const std::string&, Parameter& p) {
    if (!p.values.filled()) bytes = checked_add(bytes, TensorSpec{p.shape}.bytes(), "the model's weights");
  });
  check_memory(bytes, "the model's weights: memory for them");
  module.visit_parameters([&](const std::string& key, Parameter& p) {
    // FNV-1a of the key, from a start that the seed decides; mixed, or seed and first character could trade bits.
    std::uint64_t hash = 0xCBF29CE484222325ULL ^ SplitMix64 { seed }();
    for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
    SplitMix64 random{hash};
    std::vector<float> values(static_cast<std::size_t>(p.shape.elements()));
    for (float& v : values) {
      const double unit = static_cast<double>(random() >> 11) * 0x1p-53;  // [0, 1)
      // fma by name: left to the compiler, a machine that has the instruction would round differently from one that has not.
      const double spread = p.init.spread * (2 * unit - 1);
      v = static_cast<float>(p.init.center == 0 ? spread : std::fma(p.init.spread, 2 * unit - 1, p.init.center));
    }
    p.values = std::move(values);
  });
}

}  // namespace frieze
