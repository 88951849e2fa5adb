#include <frieze/core/loop.h>

#include <frieze/core/error.h>

namespace frieze {

std::vector<Value> Tracer::loop(int, const LoopInputs&, const LoopBody&) { throw OptionError("repeat: this tracer has no loops"); }

std::vector<Value> repeat(int iterations, const LoopInputs& inputs, const LoopBody& body, SourceLine where) {
  bool in_body = false;
  const LoopBody told = [&](const LoopValues& values) {
    in_body = true;
    std::vector<Value> next = body(values);
    in_body = false;
    return next;
  };
  try {
    check<OptionError>(iterations >= 1, "repeat: expected at least 1 iteration, got ", iterations);
    check<OptionError>(!inputs.carried.empty(), "repeat: a loop that carries no value computes nothing");
    return tracer_of("repeat", inputs.carried).loop(iterations, inputs, told);
  } catch (const Error&) {
    if (in_body) throw;
    rethrow_with("", concat_text(" (", where, ")"));
  }
}

Value repeat(int iterations, Operand x, const std::function<Value(Value)>& body) {
  const LoopBody one = [&](const LoopValues& values) { return std::vector<Value>{body(values.carried.front())}; };
  return repeat(iterations, {.carried = {x.value}}, one, x.where).front();
}

}  // namespace frieze
