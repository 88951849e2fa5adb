#include <frieze/core/loop.h>

#include <frieze/core/error.h>

namespace frieze {

std::vector<Value> Tracer::loop(int, const LoopInputs&, const LoopBody&) { throw OptionError("repeat: this tracer has no loops"); }

std::vector<Value> repeat(int iterations, const LoopInputs& inputs, const LoopBody& body) {
  check<OptionError>(iterations >= 1, "repeat: expected at least 1 iteration, got ", iterations);
  check<OptionError>(!inputs.carried.empty(), "repeat: a loop that carries no value computes nothing");
  return inputs.carried.front().tracer().loop(iterations, inputs, body);
}

Value repeat(int iterations, Value x, const std::function<Value(Value)>& body) {
  const LoopBody one = [&](const LoopValues& values) { return std::vector<Value>{body(values.carried.front())}; };
  return repeat(iterations, {.carried = {x}}, one).front();
}

}  // namespace frieze
