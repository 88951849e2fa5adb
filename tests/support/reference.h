#pragma once
/// Short spellings for tests of the CPU side: one layer on given numbers, one forward traced to a plan.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <frieze/core/layer.h>
#include <frieze/graph/plan.h>

namespace frieze::test {

struct Input {
  Shape shape;
  std::vector<float> values;
};

/// infer(), then reference() on inputs and output of type `t` in `format`: the row-major output.
inline std::vector<float> run_reference(const Layer& layer, const std::vector<Input>& inputs, DType t = DType::f32,
                                        Format format = Format::nchw) {
  std::vector<TensorSpec> specs;
  std::vector<HostTensor> tensors;
  std::vector<TensorView> views;
  for (const Input& input : inputs) {
    specs.push_back({input.shape, t, format});
    tensors.emplace_back(specs.back(), input.values);
    views.push_back(tensors.back().view());
  }
  TensorSpec out = layer.infer(specs).out[0];
  out.format = format;
  const HostTensor y(out);
  const TensorView made = y.view();
  layer.reference({views, {&made, 1}, t});
  return y.floats();
}

/// The output shape that infer() gives for inputs of these shapes.
inline Shape inferred_shape(const Layer& layer, const std::vector<Shape>& shapes, DType t = DType::f32) {
  std::vector<TensorSpec> specs;
  for (const Shape& shape : shapes) specs.push_back({shape, t});
  return layer.infer(specs).out[0].shape;
}

/// The message of the E that `body` throws; a failure and "" if it throws none.
template <class E, class Body>
std::string message_of(Body&& body) {
  try {
    body();
  } catch (const E& e) {
    return e.what();
  } catch (const std::exception& e) {
    ADD_FAILURE() << "threw another exception: " << e.what();
    return {};
  }
  ADD_FAILURE() << "threw nothing";
  return {};
}

/// The largest difference as a share of the expected values' range; infinite if a value is not finite or the shapes differ.
inline double share_of_range(const HostTensor& got, const HostTensor& expected) {
  EXPECT_EQ(got.spec().shape, expected.spec().shape);
  if (got.spec().shape != expected.spec().shape) return INFINITY;
  const std::vector<float> a = got.floats(), b = expected.floats();
  const auto [least, most] = std::minmax_element(b.begin(), b.end());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::isfinite(a[i]) ? std::max(worst, std::abs(double{a[i]} - b[i])) : INFINITY;
  return worst / (double{*most} - *least);
}

/// A model made of one function from the inputs to the outputs.
class FunctionModel final : public Module {
 public:
  using Function = std::function<std::vector<Value>(const std::vector<Value>&)>;
  explicit FunctionModel(Function f) : f_(std::move(f)) {}
  std::vector<NamedValue> forward_named(const std::vector<NamedValue>& inputs) const override {
    std::vector<Value> values;
    for (const NamedValue& input : inputs) values.push_back(input.value);
    std::vector<NamedValue> outputs;
    for (const Value& v : f_(values)) outputs.push_back({"y" + std::to_string(outputs.size()), v});
    return outputs;
  }

 private:
  Function f_;
};

/// The plan of `f` applied to f32 inputs of these shapes. It refers to no member layer, so it outlives the model.
inline Plan trace_function(const std::vector<Shape>& shapes, FunctionModel::Function f) {
  const FunctionModel model(std::move(f));
  std::vector<InputSpec> inputs;
  for (const Shape& shape : shapes) inputs.push_back({"x" + std::to_string(inputs.size()), shape});
  return trace(model, inputs);
}

/// 0, 1, 2, …
inline std::vector<float> iota(std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i);
  return values;
}

}  // namespace frieze::test
