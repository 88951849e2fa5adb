#include <frieze/core/value.h>

#include <ostream>
#include <utility>
#include <vector>

#include <frieze/core/error.h>

namespace frieze {
namespace {

// Calls body(); what it throws leaves with the line behind, or with the path in front.
template <class Body>
auto with_line(SourceLine where, Body&& body) {
  try {
    return body();
  } catch (const Error&) {
    rethrow_with("", *where.file == '\0' ? "" : concat_text(" (", where, ")"));
  }
}
template <class Body>
auto with_path(const std::string& path, Body&& body) {
  try {
    return body();
  } catch (const Error&) {
    rethrow_with(path + ": ", "");
  }
}

SourceLine line_of(std::initializer_list<Operand> inputs) { return inputs.size() == 0 ? SourceLine{} : inputs.begin()->where; }

std::vector<Value> values_of(std::initializer_list<Operand> inputs) {
  std::vector<Value> values;
  for (const Operand& input : inputs) values.push_back(input.value);
  return values;
}

// The path of a functional step, as far as one of its values knows.
std::string path_of(std::string_view op, std::span<const Value> inputs) {
  for (const Value& v : inputs) {
    if (v.usable()) return v.tracer().functional_path(op);
  }
  return std::string(op);
}

}  // namespace

std::ostream& operator<<(std::ostream& out, SourceLine where) {
  const std::string_view file = where.file;
  return out << printable(file.substr(file.rfind('/') + 1), 80) << ':' << where.line;  // npos + 1 is 0
}

Value::Value(Tracer& tracer, int id) : tracer_(&tracer), id_(id), shown_(tracer.shown(id)), alive_(tracer.lifetime()) {}

const TensorSpec& Value::spec() const { return tracer().spec(id_); }
Tracer& Value::tracer() const { return tracer_of("Value", {this, 1}); }

std::string Value::text() const {
  if (empty()) return "an empty Value";
  return usable() ? printable(shown_) : "a Value of a trace that has ended";
}

std::ostream& operator<<(std::ostream& out, const Value& value) { return out << value.text(); }

Tracer& tracer_of(std::string_view who, std::span<const Value> inputs) {
  check<OptionError>(!inputs.empty(), who, ": needs at least one value");
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Value& v = inputs[i];
    if (v.usable()) continue;
    const std::string which = inputs.size() == 1 ? "its value" : concat_text("value ", i + 1, " of ", inputs.size());
    check<OptionError>(!v.empty(), who, ": ", which, " is empty: it was declared, and nothing was assigned to it");
    throw OptionError(concat_text(who, ": ", which, " is of a trace that has ended: values cannot be kept from one forward for another"));
  }
  for (const Value& v : inputs) {
    check<OptionError>(v.tracer_ == inputs.front().tracer_, who, ": values of two different traces cannot be combined");
  }
  return *inputs.front().tracer_;
}

namespace {
thread_local Tracer* tracing = nullptr;
}  // namespace

TracerScope::TracerScope(Tracer& tracer) : before_(std::exchange(tracing, &tracer)) {}
TracerScope::~TracerScope() { tracing = before_; }

Tracer& current_tracer(std::string_view who) {
  check<OptionError>(tracing != nullptr, who, ": no forward is being traced: a model's values exist only while its forward runs");
  return *tracing;
}

Value only_output(const std::vector<Value>& values, std::string_view who) {
  check<OptionError>(values.size() == 1, who, ": makes ", values.size(), " values where one is taken");
  return values.front();
}

Value apply(std::shared_ptr<const Layer> layer, std::string_view op, std::span<const Value> inputs, SourceLine where) {
  const std::vector<Value> made = apply_all(std::move(layer), op, inputs, where);
  return with_line(where, [&] { return only_output(made, op); });
}

std::vector<Value> apply_all(std::shared_ptr<const Layer> layer, std::string_view op, std::span<const Value> inputs, SourceLine where) {
  return with_line(where, [&] {
    const std::string path = path_of(op, inputs);
    return tracer_of(path, inputs).step(std::move(layer), path, inputs);
  });
}

Value apply(std::shared_ptr<const Layer> layer, std::string_view op, std::initializer_list<Operand> inputs) {
  return apply(std::move(layer), op, values_of(inputs), line_of(inputs));
}

Value apply_made(const std::function<std::shared_ptr<const Layer>()>& make, std::string_view op, std::initializer_list<Operand> inputs) {
  const std::vector<Value> values = values_of(inputs);
  return with_line(line_of(inputs), [&] {
    const std::string path = path_of(op, values);
    Tracer& tracer = tracer_of(path, values);
    return only_output(tracer.step(with_path(path, make), path, values), path);
  });
}

void check_at(std::string_view op, const Operand& x, const std::function<void()>& checks) {
  with_line(x.where, [&] {
    const std::string path = path_of(op, {&x.value, 1});
    (void)tracer_of(path, {&x.value, 1});
    with_path(path, checks);
  });
}

}  // namespace frieze
