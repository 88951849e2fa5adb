#pragma once
/// Containers of modules. They name their children "0", "1", … as PyTorch's ModuleList and Sequential do.
#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <frieze/core/module.h>

namespace frieze FRIEZE_API {

/// A list of modules of class M or derived from it; ModuleList<> holds any modules. It iterates like a vector of M:
/// `for (const ResBlock& block : blocks) x = block(x, t);`
template <class M = Module>
class ModuleList : public Module {
  static_assert(std::derived_from<M, Module>);
  template <class Item, class Inner>
  class Iterator;

 public:
  using iterator = Iterator<M, typename std::vector<std::unique_ptr<M>>::const_iterator>;
  using const_iterator = Iterator<const M, typename std::vector<std::unique_ptr<M>>::const_iterator>;

  /// Constructs a T at the end of the list: `list.emplace_back<Conv2d>(64, 64, 3)`. A ModuleList<T> constructs T's by default.
  template <class T = M, class... Args>
  T& emplace_back(Args&&... args) {
    return push_back(std::make_unique<T>(std::forward<Args>(args)...));
  }
  /// Throws OptionError on nullptr, and on a module that belongs to another one.
  template <std::derived_from<M> T>
  T& push_back(std::unique_ptr<T> item) {
    T* const made = item.get();
    append(made);
    items_.push_back(std::move(item));
    return *made;
  }
  std::size_t size() const { return items_.size(); }
  bool empty() const { return items_.empty(); }
  /// Throws OptionError if there is no such module.
  const M& operator[](std::size_t i) const { return *items_[checked(i, items_.size())]; }
  M& operator[](std::size_t i) { return *items_[checked(i, items_.size())]; }
  iterator begin() { return iterator(items_.begin()); }
  iterator end() { return iterator(items_.end()); }
  const_iterator begin() const { return const_iterator(items_.begin()); }
  const_iterator end() const { return const_iterator(items_.end()); }

  /// Applies the modules one after the other. The first takes all inputs. An empty list returns its only input.
  Value forward(std::span<const Value> inputs) const override {
    if (items_.empty()) return only(inputs);
    Value x = (*items_.front())(inputs);
    for (std::size_t i = 1; i < items_.size(); ++i) x = (*items_[i])(x);
    return x;
  }
  std::string_view type_name() const override { return "ModuleList"; }

 private:
  template <class Item, class Inner>
  class Iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = Item;
    using difference_type = std::ptrdiff_t;
    using pointer = Item*;
    using reference = Item&;
    Iterator() = default;
    explicit Iterator(Inner at) : at_(at) {}
    reference operator*() const { return **at_; }
    pointer operator->() const { return at_->get(); }
    Iterator& operator++() {
      ++at_;
      return *this;
    }
    Iterator operator++(int) {
      Iterator before = *this;
      ++at_;
      return before;
    }
    friend bool operator==(const Iterator&, const Iterator&) = default;

   private:
    Inner at_{};
  };

  std::vector<std::unique_ptr<M>> items_;
};

/// A function of one value as a module: `FunctionModule twice([](Value x) { return upsample(x, 2); })`.
class FunctionModule final : public Module {
 public:
  explicit FunctionModule(std::function<Value(Value)> function) : function_(std::move(function)) {}
  Value forward(Value x) const override { return function_(std::move(x)); }
  std::string_view type_name() const override { return "FunctionModule"; }

 private:
  std::function<Value(Value)> function_;
};

/// Applies modules of any classes one after the other, like nn.Sequential. Items are unique pointers to modules, or functions of one
/// value:
///   Sequential mlp{silu, std::make_unique<Linear>(time, 2 * c)};  // its weights: "mlp.1.weight", "mlp.1.bias"
class Sequential final : public ModuleList<> {
 public:
  Sequential() = default;
  template <class... Items>
  requires(sizeof...(Items) > 0 && (!std::derived_from<std::remove_cvref_t<Items>, Module> && ...)) explicit Sequential(Items&&... items) {
    (push(std::forward<Items>(items)), ...);
  }
  std::string_view type_name() const override { return "Sequential"; }

 private:
  template <std::derived_from<Module> T>
  void push(std::unique_ptr<T> item) {
    push_back(std::move(item));
  }
  template <std::invocable<Value> F>
  void push(F&& function) {
    emplace_back<FunctionModule>(std::forward<F>(function));
  }
};

}  // namespace FRIEZE_API
