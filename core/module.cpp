#include <frieze/core/module.h>

#include <cxxabi.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>
#include <typeinfo>

#include <frieze/core/error.h>
#include <frieze/core/host_memory.h>
#include <frieze/core/parallel.h>
#include <frieze/core/random.h>
#include <frieze/core/weights.h>

namespace frieze {

Value only_output(const std::vector<Value>& values, std::string_view who) {
  check<OptionError>(values.size() == 1, who, ": makes ", values.size(), " values where one is taken");
  return values.front();
}

Value apply(std::shared_ptr<const Layer> layer, std::string_view op, std::span<const Value> inputs) {
  return only_output(apply_all(std::move(layer), op, inputs), op);
}

std::vector<Value> apply_all(std::shared_ptr<const Layer> layer, std::string_view op, std::span<const Value> inputs) {
  check<OptionError>(!inputs.empty(), op, ": needs at least one value");
  Tracer& tracer = inputs.front().tracer();
  for (const Value& v : inputs) {
    check<OptionError>(&v.tracer() == &tracer, op, ": values of two different traces cannot be combined");
  }
  return tracer.step(std::move(layer), tracer.functional_path(op), inputs);
}

Value Module::forward(Value) const {
  throw OptionError(concat_text(path().empty() ? "the model" : path(), ": ", type_name(), " defines no forward(Value)"));
}

std::vector<NamedValue> Module::forward_named(const std::vector<NamedValue>& inputs) const {
  check<OptionError>(inputs.size() == 1, path().empty() ? "the model" : path(), ": ", type_name(), " takes one input, got ", inputs.size());
  return {{"y", forward(inputs.front().value)}};
}

Value Module::operator()(Value x) const {
  struct Scope {
    Tracer& tracer;
    Scope(Tracer& t, const Module& m) : tracer(t) { tracer.enter(m); }
    ~Scope() { tracer.leave(); }
  } scope(x.tracer(), *this);
  return forward(x);
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

void Module::add(std::string name, Module& child) {
  check<OptionError>(!name.empty() && name.find('.') == std::string::npos, type_name(),
                     ": a child's name must be non-empty and hold no dot, got '", name, "'");
  for (const Module* above = this; above != nullptr; above = above->parent()) {
    check<OptionError>(above != &child, type_name(), ": '", name, "' would be its own ancestor");
  }
  check<OptionError>(child.parent() == nullptr, type_name(), ": '", name, "' already belongs to a module, as '", child.path(), "'");
  check<OptionError>(child_names_.insert(name).second, type_name(), ": two children named '", name, "'");
  child.name_ = name;
  child.parent_ = this;
  child.parent_alive_ = alive_;
  children_.emplace_back(std::move(name), &child);
  children_alive_.push_back(child.alive_);
}

void Module::add_parameter(Parameter& parameter, std::string name, Shape shape, Init init) {
  check<OptionError>(!name.empty(), type_name(), ": a parameter needs a name");
  for (const Parameter* other : parameters_) check<OptionError>(other->name != name, type_name(), ": two parameters named '", name, "'");
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

namespace {

Shape squeezed(const Shape& shape) {
  std::vector<std::int64_t> kept;
  for (const std::int64_t e : shape.extents()) {
    if (e != 1) kept.push_back(e);
  }
  return Shape(kept);
}

bool fits(const Parameter& p, const Shape& found) { return found == p.shape || (p.squeeze && squeezed(found) == squeezed(p.shape)); }

// The file's key for a parameter: its own name, or one of its aliases; throws if none or several are there.
std::string find_key(const Weights& weights, const std::string& key, const Parameter& p) {
  const std::string prefix = key.substr(0, key.size() - p.name.size());
  std::string found, others;
  if (weights.contains(key)) found = key;
  for (const std::string& alias : p.aliases) {
    const std::string other = prefix + alias;
    others += concat_text(others.empty() ? " (or '" : ", or '", other, "'");
    if (!weights.contains(other)) continue;
    check<WeightsError>(found.empty(), weights.source(), ": both '", found, "' and '", other, "' are there for the parameter '", key, "'");
    found = other;
  }
  check<WeightsError>(!found.empty(), weights.source(), ": no tensor '", key, "'", others, others.empty() ? "" : ")",
                      " for the model's parameter of shape ", p.shape);
  return found;
}

}  // namespace

void load(Module& module, const Weights& file, const LoadOptions& options) {
  std::set<std::string> keys;
  module.visit_parameters([&](const std::string& key, Parameter& p) {
    keys.insert(key);
    for (const std::string& alias : p.aliases) keys.insert(key.substr(0, key.size() - p.name.size()) + alias);
  });
  const Weights weights = without_foreign_prefix(file, keys);
  std::vector<std::pair<Parameter*, std::vector<std::string>>> sources;
  std::map<std::string, std::string> used;  // tensor -> parameter
  module.visit_parameters([&](const std::string& key, Parameter& p) {
    const std::string found = find_key(weights, key, p);
    const Shape& shape = weights.at(found).shape;
    check<WeightsError>(fits(p, shape), weights.source(), ": tensor '", found, "' has shape ", shape, ", the model's '", key, "' expects ",
                        p.shape);
    sources.emplace_back(&p, std::vector{found});
    const auto [user, first] = used.emplace(found, key);
    check<WeightsError>(first, weights.source(), ": tensor '", found, "' would fill both '", user->second, "' and '", key, "'");
  });
  for (const auto& [name, tensor] : weights.tensors()) {
    check<WeightsError>(used.contains(name), weights.source(), ": tensor '", printable(name), "' of shape ", tensor.shape,
                        " is used by no parameter of the model");
  }
  fill_parameters(sources, weights, options);
}

namespace {

void check_finite(const Weights& weights, const std::string& tensor, std::span<const float> values) {
  const auto bad = std::count_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
  check<WeightsError>(bad == 0, weights.source(), ": tensor '", printable(tensor), "': ", bad, " of ", values.size(),
                      " values are NaN or Inf in f32");
}

}  // namespace

void fill_parameters(std::span<const std::pair<Parameter*, std::vector<std::string>>> sources, const Weights& weights,
                     const LoadOptions& options) {
  // Everything is read before anything is assigned, so that an error leaves the parameters as they were.
  std::vector<std::vector<float>> filled(sources.size());
  parallel_for(static_cast<std::int64_t>(sources.size()), [&](std::int64_t first, std::int64_t last) {
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
      const std::vector<std::string>& names = sources[i].second;
      for (const std::string& name : names) {
        std::vector<float> part = weights.floats(name);
        if (!options.allow_non_finite) check_finite(weights, name, part);
        if (names.size() == 1) {
          filled[i] = std::move(part);
        } else {
          filled[i].insert(filled[i].end(), part.begin(), part.end());
        }
      }
    }
  });
  for (std::size_t i = 0; i < sources.size(); ++i) sources[i].first->values = std::move(filled[i]);
}

}  // namespace frieze
