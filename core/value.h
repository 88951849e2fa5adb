#pragma once
/// Value: what `Module::forward` computes with while a model is traced. It holds no data, only shape, type and origin.
#include <functional>
#include <initializer_list>
#include <iosfwd>
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
struct Constant;
struct LoopInputs;
struct LoopValues;

/// A line of the program, for messages. A defaulted parameter `SourceLine where = SourceLine::here()` holds the line of the call.
/// Stands in for std::source_location, which clang 14 lacks.
struct SourceLine {
  const char* file = "";
  unsigned line = 0;
  static constexpr SourceLine here(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) { return {file, line}; }
};
std::ostream& operator<<(std::ostream& out, SourceLine where);  ///< "net.cpp:41", without folders

class Value {
 public:
  /// An empty value. Assign to it before any other use, which throws OptionError.
  Value() = default;
  Value(Tracer& tracer, int id);

  /// True until a traced value is assigned.
  bool empty() const { return tracer_ == nullptr; }
  /// False if it is empty, or of a trace that has ended.
  bool usable() const { return tracer_ != nullptr && !alive_.expired(); }
  /// These four throw OptionError unless the value is usable.
  const TensorSpec& spec() const;
  const Shape& shape() const { return spec().shape; }
  DType dtype() const { return spec().dtype; }
  Tracer& tracer() const;
  int id() const { return id_; }
  /// "blocks.0.conv1 [1,16,64,96] f32", "an empty Value" or "a Value of a trace that has ended".
  std::string text() const;

 private:
  friend Tracer& tracer_of(std::string_view who, std::span<const Value> inputs);
  Tracer* tracer_ = nullptr;
  int id_ = -1;
  const char* shown_ = "empty";  // what text() returns, for debuggers; the tracer owns it
  std::weak_ptr<const void> alive_;
};
std::ostream& operator<<(std::ostream& out, const Value& value);  ///< its text()

/// An argument of a functional step (silu, operator+ …): a value and the line of the program that passes it, for messages. Values convert
/// to it implicitly.
struct Operand {
  Value value;
  SourceLine where;
  Operand(const Value& value, SourceLine where = SourceLine::here()) : value(value), where(where) {}  // NOLINT: meant to convert
};

/// Records what `forward` does. graph/trace.cpp has the one that builds a Plan; a test may bring its own.
class Tracer {
 public:
  virtual ~Tracer() = default;
  /// One leaf layer applied to values; gives every value that it makes. `path` is the module path of the step. Errors of `layer->infer`
  /// name the path.
  virtual std::vector<Value> step(std::shared_ptr<const Layer> layer, const std::string& path, std::span<const Value> inputs) = 0;
  virtual const TensorSpec& spec(int id) const = 0;
  /// The text that Value::text() returns. Lives as long as the tracer.
  virtual const char* shown(int) const { return ""; }
  /// Modules on the way down; functional layers are named after the innermost one.
  virtual void enter(const Module& module) = 0;
  virtual void leave() = 0;
  /// A path for a functional layer in the current module: "block.silu", then "block.silu_1", …
  virtual std::string functional_path(std::string_view op) = 0;
  /// A value that no step makes, see core/constant.h. By default throws OptionError.
  virtual Value constant(const Constant& constant);
  /// The type that parameters take as values where no other is asked for: that of the model's first input that is no integer, else f32.
  virtual DType run_dtype() const { return DType::f32; }
  /// A loop, see repeat() in core/loop.h. By default throws OptionError.
  virtual std::vector<Value> loop(int iterations, const LoopInputs& inputs,
                                  const std::function<std::vector<Value>(const LoopValues&)>& body);
  /// Expires with the tracer; its values are unusable afterwards.
  std::weak_ptr<const void> lifetime() const { return alive_; }

 private:
  std::shared_ptr<const void> alive_ = std::make_shared<char>();
};

/// While it lives, `tracer` is what current_tracer() gives in this thread. Whoever runs a forward holds one; they nest.
class TracerScope {
 public:
  explicit TracerScope(Tracer& tracer);
  TracerScope(const TracerScope&) = delete;
  TracerScope& operator=(const TracerScope&) = delete;
  ~TracerScope();

 private:
  Tracer* before_;
};
/// The tracer of the forward that runs in this thread. Throws OptionError "<who>: …" if none does.
Tracer& current_tracer(std::string_view who);

/// The tracer of values that are used together. Throws OptionError "<who>: …" if there are no values, if one is not usable, or if they
/// belong to different traces.
Tracer& tracer_of(std::string_view who, std::span<const Value> inputs);

/// Applies a layer that is no module's member, as the free functions (silu, concat, operator+ …) do. Throws what tracer_of() and the
/// layer's infer() throw; the message begins with the step's path and ends with the program's line, `where`.
Value apply(std::shared_ptr<const Layer> layer, std::string_view op, std::span<const Value> inputs, SourceLine where = SourceLine::here());
/// The same for a layer of several outputs, in the order in which it names them.
std::vector<Value> apply_all(std::shared_ptr<const Layer> layer, std::string_view op, std::span<const Value> inputs,
                             SourceLine where = SourceLine::here());
/// The same; the line is that of the first operand.
Value apply(std::shared_ptr<const Layer> layer, std::string_view op, std::initializer_list<Operand> inputs);
/// The same with the layer that `make` returns, so that errors of the layer's constructor have path and line too.
Value apply_made(const std::function<std::shared_ptr<const Layer>()>& make, std::string_view op, std::initializer_list<Operand> inputs);
/// The same with a new L(options…).
template <class L, class... Options>
Value apply_new(std::string_view op, std::initializer_list<Operand> inputs, const Options&... options) {
  return apply_made([&] { return std::make_shared<const L>(options...); }, op, inputs);
}
/// Calls `checks` and adds path and line to what they throw, as apply() does. For functions that consist of several steps.
void check_at(std::string_view op, const Operand& x, const std::function<void()>& checks);

/// The value of a step that makes one. Throws OptionError, naming `who`, if it makes several.
Value only_output(const std::vector<Value>& values, std::string_view who);

}  // namespace FRIEZE_API
