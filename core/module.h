#pragma once
/// Module: a named tree of parameters and children whose `forward` composes layers. A module's path is its weights' key.
#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <frieze/core/parameter.h>
#include <frieze/core/value.h>

namespace frieze FRIEZE_API {

/// A named value, as models take and give them.
struct NamedValue {
  std::string name;
  Value value;
};

class Module {
 public:
  Module() = default;
  Module(const Module&) = delete;  // children and parameters are registered by address
  Module& operator=(const Module&) = delete;
  virtual ~Module() = default;

  /// A module overrides the overload that has its number of inputs. The others throw OptionError naming path, class and number.
  virtual Value forward(Value) const;
  virtual Value forward(Value, Value) const;
  virtual Value forward(Value, Value, Value) const;
  virtual Value forward(Value, Value, Value, Value) const;
  virtual Value forward(Value, Value, Value, Value, Value) const;
  virtual Value forward(Value, Value, Value, Value, Value, Value) const;
  /// For more inputs, or any number of them. By default calls the overload above that takes as many.
  virtual Value forward(std::span<const Value> inputs) const;
  /// For models with several outputs, or with inputs by name. By default calls forward() with the inputs in their order, and names the
  /// output "y".
  virtual std::vector<NamedValue> forward_named(const std::vector<NamedValue>& inputs) const;

  /// block(x), block(x, t), …: forward() in the scope of this module, so that its steps are named after it.
  template <class... More>
  requires(std::convertible_to<const More&, Value>&&...) Value operator()(const Value& x, const More&... more) const {
    const Value inputs[] = {x, more...};
    return (*this)(std::span<const Value>(inputs));
  }
  Value operator()(std::span<const Value> inputs) const;

  /// "encoder.stage2.conv1"; the root's path is empty.
  std::string path() const;
  /// The class as users call it, e.g. "Conv2d"; used in messages and plan tables.
  virtual std::string_view type_name() const { return "Module"; }

  /// The class as written in the program, for messages: type_name() where a class defines it, else the C++ name without namespaces.
  std::string class_name() const;
  /// This module's name in messages: "encoder.stage2 (ResBlock)"; of a root, the class alone.
  std::string place() const;
  /// The module that this one was add()ed to; nullptr for a root, or once that module is gone.
  const Module* parent() const { return parent_alive_.expired() ? nullptr : parent_; }
  /// Expires when the module dies. Engines check it before they trace a model that they only refer to.
  std::weak_ptr<const void> lifetime() const { return alive_; }

  const std::vector<std::pair<std::string, Module*>>& children() const { return children_; }
  const std::vector<Parameter*>& parameters() const { return parameters_; }
  /// Calls `visit(full key, parameter)` for every parameter of the tree, parents before children, in order of registration.
  /// Throws OptionError if a child has died before this module.
  void visit_parameters(const std::function<void(const std::string&, Parameter&)>& visit);
  void visit_parameters(const std::function<void(const std::string&, const Parameter&)>& visit) const;

 protected:
  /// Registers a child, which must outlive this module and have no other parent. Throws OptionError on a name that is
  /// empty, holds a dot, or is taken, on a child of another module, and on a module above this one.
  void add(std::string name, Module& child);
  /// For containers: registers a child under the number of children so far. Throws OptionError for nullptr.
  void append(Module* child);
  /// `i`, if it is below `count`, else throws OptionError.
  std::size_t checked(std::size_t i, std::size_t count) const;
  /// The only one of `inputs`. Throws OptionError if there are several.
  const Value& only(std::span<const Value> inputs) const;
  /// Registers a parameter member and sets its name, shape and initialisation. Throws OptionError on a name that is empty
  /// or taken.
  void add_parameter(Parameter& parameter, std::string name, Shape shape, Init init);

 private:
  friend class Layer;  // see Layer::sharing
  [[noreturn]] void refuse_inputs(std::size_t count) const;
  template <class M, class P, class Visit>
  static void visit_tree(M& module, const std::string& prefix, const Visit& visit);

  std::shared_ptr<const void> alive_ = std::make_shared<char>();
  std::string name_;
  const Module* parent_ = nullptr;
  std::weak_ptr<const void> parent_alive_;
  std::vector<std::pair<std::string, Module*>> children_;
  std::vector<std::weak_ptr<const void>> children_alive_;
  std::set<std::string, std::less<>> child_names_;
  std::vector<Parameter*> parameters_;
};

/// Fills every parameter from its key and `seed` alone, so that the same model is the same on every machine. Throws MemoryError, before
/// anything is allocated, if the parameters that have no values need more memory than the machine has.
void init_random(Module& module, std::uint64_t seed);

}  // namespace FRIEZE_API
