#pragma once
/// Module: a named tree of parameters and children whose `forward` composes layers. A module's path is its weights' key.
#include <cstdint>
#include <functional>
#include <map>
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

class Weights;

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

  /// One value in, one value out: what most modules override.
  /// Throws OptionError if the module defines neither this nor forward_named.
  virtual Value forward(Value x) const;
  /// Several inputs or outputs, by name. By default: one input, and one output called "y".
  virtual std::vector<NamedValue> forward_named(const std::vector<NamedValue>& inputs) const;

  Value operator()(Value x) const;

  /// "encoder.stage2.conv1"; the root's path is empty.
  std::string path() const;
  /// The class as users call it, e.g. "Conv2d"; used in messages and plan tables.
  virtual std::string_view type_name() const { return "Module"; }

  /// The class as written in the program, for messages: type_name() where a class defines it, else the C++ name without namespaces.
  std::string class_name() const;
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
  /// Registers a parameter member and sets its name, shape and initialisation. Throws OptionError on a name that is empty
  /// or taken.
  void add_parameter(Parameter& parameter, std::string name, Shape shape, Init init);

 private:
  friend class Layer;  // see Layer::sharing
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

/// A list of modules whose children are named "0", "1", …
template <class M>
class ModuleList final : public Module {
 public:
  template <class... Args>
  M& emplace_back(Args&&... args) {
    items_.push_back(std::make_unique<M>(std::forward<Args>(args)...));
    add(std::to_string(items_.size() - 1), *items_.back());
    return *items_.back();
  }
  std::size_t size() const { return items_.size(); }
  const M& operator[](std::size_t i) const { return *items_[i]; }
  /// The modules one after the other.
  Value forward(Value x) const override {
    for (const auto& item : items_) x = (*item)(x);
    return x;
  }
  std::string_view type_name() const override { return "ModuleList"; }

 private:
  std::vector<std::unique_ptr<M>> items_;
};

/// Fills every parameter from its key and `seed` alone, so that the same model is the same on every machine. Throws MemoryError, before
/// anything is allocated, if the parameters that have no values need more memory than the machine has.
void init_random(Module& module, std::uint64_t seed);

struct LoadOptions {
  /// Take weights that are NaN or Inf, or numbers that f32 cannot hold. No model computes anything with one: they are refused by default.
  bool allow_non_finite = false;
};

/// Fills every parameter from `weights` by key; every tensor of the file must be used. A prefix that all of the file's names share and the
/// model's do not ("model.", "module.", "vae.") is taken off, see without_foreign_prefix(). Sessions that were compiled before keep the
/// values they had.
/// Throws WeightsError naming the key, what was expected and what was got, or the tensor and how many of its values are NaN or Inf; the
/// module is then left as it was.
void load(Module& module, const Weights& weights, const LoadOptions& options = {});

/// Fills each parameter from the tensors named beside it, one after the other where there are several; for loaders that know other names
/// than the parameters' own. Callers check names and shapes before. Throws as Weights::floats() does, and on values that are NaN
/// or Inf; the parameters are then left as they were.
void fill_parameters(std::span<const std::pair<Parameter*, std::vector<std::string>>> sources, const Weights& weights,
                     const LoadOptions& options = {});

}  // namespace FRIEZE_API
