#pragma once
/// Value: what `Module::forward` computes with while a model is traced. It holds no data, only shape, type and origin.
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <frieze/core/tensor.h>

namespace frieze FRIEZE_API {

class Layer;
class Module;
class Tracer;
struct LoopInputs;
struct LoopValues;

class Value {
 public:
  Value(Tracer& tracer, int id) : tracer_(&tracer), id_(id) {}

  const TensorSpec& spec() const;
  const Shape& shape() const { return spec().shape; }
  DType dtype() const { return spec().dtype; }
  Tracer& tracer() const { return *tracer_; }
  int id() const { return id_; }

 private:
  Tracer* tracer_;
  int id_;
};

/// Records what `forward` does. graph/trace.h has the one that builds a Plan; a test may bring its own.
class Tracer {
 public:
  virtual ~Tracer() = default;
  /// One leaf layer applied to values; gives every value that it makes. `path` is the module path of the step. Errors of `layer->infer`
  /// name the path.
  virtual std::vector<Value> step(std::shared_ptr<const Layer> layer, const std::string& path, std::span<const Value> inputs) = 0;
  virtual const TensorSpec& spec(int id) const = 0;
  /// Modules on the way down; functional layers are named after the innermost one.
  virtual void enter(const Module& module) = 0;
  virtual void leave() = 0;
  /// A path for a functional layer in the current module: "block.silu", then "block.silu_1", …
  virtual std::string functional_path(std::string_view op) = 0;
  /// A loop, see repeat() in core/loop.h. By default throws OptionError.
  virtual std::vector<Value> loop(int iterations, const LoopInputs& inputs,
                                  const std::function<std::vector<Value>(const LoopValues&)>& body);
};

inline const TensorSpec& Value::spec() const { return tracer_->spec(id_); }

/// Applies a layer that is nobody's member, as the free functions (silu, concat, operator+ …) do.
/// Throws OptionError if the values belong to different traces, or if the layer has several outputs.
Value apply(std::shared_ptr<const Layer> layer, std::string_view op, std::span<const Value> inputs);
/// The same for a layer of several outputs, in the order in which it names them.
std::vector<Value> apply_all(std::shared_ptr<const Layer> layer, std::string_view op, std::span<const Value> inputs);

/// The value of a step that makes one. Throws OptionError, naming `who`, if it makes several.
Value only_output(const std::vector<Value>& values, std::string_view who);

}  // namespace FRIEZE_API
