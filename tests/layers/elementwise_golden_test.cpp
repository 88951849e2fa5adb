/// Arithmetic, activations, reductions, gates and embeddings against PyTorch: tests/golden/elementwise.safetensors, made by
/// tools/golden/elementwise.py.
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include <frieze/core/constant.h>
#include <frieze/core/weights.h>
#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/arithmetic/arithmetic.h>
#include <frieze/layers/concat/concat.h>
#include <frieze/layers/embedding/embedding.h>
#include <frieze/layers/glu/glu.h>
#include <frieze/layers/prelu/prelu.h>
#include <frieze/layers/reduce/reduce.h>
#include <frieze/layers/reshape/reshape.h>
#include "support/parity.h"
#include "support/paths.h"
#include "support/reference.h"

namespace frieze {
namespace {

using ElementwiseFunction = std::function<Value(const std::vector<Value>&)>;
struct ElementwiseGolden {
  std::string name;
  ElementwiseFunction function;
};
void PrintTo(const ElementwiseGolden& c, std::ostream* out) { *out << c.name; }

const Weights& elementwise_golden() {
  static const Weights file = Weights::open(test::source_path("tests/golden/elementwise.safetensors"));
  return file;
}

Value golden_weight(const std::string& name) { return constant(elementwise_golden().tensor(name + "/weight")); }

std::vector<ElementwiseGolden> elementwise_cases() {
  std::vector<ElementwiseGolden> cases;
  const auto one = [&](const char* name, Value (*f)(Value)) {
    cases.push_back({name, [f](const std::vector<Value>& x) { return f(x[0]); }});
  };
  const auto two = [&](const char* name, Value (*f)(Value, Value)) {
    cases.push_back({name, [f](const std::vector<Value>& x) { return f(x[0], x[1]); }});
  };
  one("tanh", [](Value v) { return tanh(v); });
  one("softplus", [](Value v) { return softplus(v); });
  one("mish", [](Value v) { return mish(v); });
  one("hardsigmoid", [](Value v) { return hardsigmoid(v); });
  one("hardswish", [](Value v) { return hardswish(v); });
  one("leaky_relu", [](Value v) { return leaky_relu(v); });
  one("leaky_relu_02", [](Value v) { return leaky_relu(v, 0.2F); });
  one("elu", [](Value v) { return elu(v); });
  one("elu_17", [](Value v) { return elu(v, 1.7F); });
  one("neg", [](Value v) { return -v; });
  one("abs", [](Value v) { return abs(v); });
  one("sin", [](Value v) { return sin(v); });
  one("cos", [](Value v) { return cos(v); });
  one("sin_large", [](Value v) { return sin(v); });
  one("cos_large", [](Value v) { return cos(v); });
  one("square", [](Value v) { return square(v); });
  one("floor", [](Value v) { return floor(v); });
  one("exp", [](Value v) { return exp(v); });
  one("log", [](Value v) { return log(v); });
  one("sqrt", [](Value v) { return sqrt(v); });
  one("rsqrt", [](Value v) { return rsqrt(v); });
  one("reciprocal", [](Value v) { return reciprocal(v); });
  one("clamp", [](Value v) { return clamp(v, -1, 2); });
  one("clamp_low", [](Value v) { return clamp(v, 0.5F); });
  one("clamp_crossed", [](Value v) { return clamp(v, 2, 1); });
  one("add_number", [](Value v) { return v + 1; });
  one("sub_number", [](Value v) { return v - 0.5F; });
  one("number_sub", [](Value v) { return 3 - v; });
  one("div_number", [](Value v) { return v / 8; });
  one("number_div", [](Value v) { return 2 / v; });
  one("pow_2", [](Value v) { return pow(v, 2); });
  one("pow_3", [](Value v) { return pow(v, 3); });
  one("pow_half", [](Value v) { return pow(v, 0.5F); });
  one("greater_number", [](Value v) { return greater(v, 0); });
  one("less_equal_number", [](Value v) { return less_equal(v, 3); });
  two("sub", [](Value a, Value b) { return a - b; });
  two("div", [](Value a, Value b) { return a / b; });
  two("minimum", [](Value a, Value b) { return minimum(a, b); });
  two("maximum", [](Value a, Value b) { return maximum(a, b); });
  two("greater", [](Value a, Value b) { return greater(a, b); });
  two("greater_equal", [](Value a, Value b) { return greater_equal(a, b); });
  two("less", [](Value a, Value b) { return less(a, b); });
  two("equal", [](Value a, Value b) { return equal(a, b); });
  two("not_equal", [](Value a, Value b) { return not_equal(a, b); });
  for (const char* shape : {"channels", "row", "gate", "one"}) {
    two((std::string("sub_") + shape).c_str(), [](Value a, Value b) { return a - b; });
    two((std::string("rdiv_") + shape).c_str(), [](Value a, Value b) { return a / b; });
    two((std::string("add_") + shape).c_str(), [](Value a, Value b) { return a + b; });
  }
  two("mul_both_repeat", [](Value a, Value b) { return a * b; });
  two("where_number", [](Value condition, Value b) { return where(condition, -1.5F, b); });
  cases.push_back({"where", [](const std::vector<Value>& x) { return where(x[0], x[1], x[2]); }});
  const std::pair<const char*, std::vector<int>> all_axes[] = {{"0", {0}},     {"1", {1}},         {"3", {3}},    {"23", {2, -1}},
                                                               {"02", {2, 0}}, {"023", {0, 2, 3}}, {"12", {1, 2}}};
  const std::pair<std::string, Value (*)(Operand, std::vector<int>, bool)> reductions[] = {
      {"sum", &sum}, {"mean", &mean}, {"amax", &amax}, {"amin", &amin}};
  for (const auto& [name, f] : reductions) {
    for (const auto& [text, axes] : all_axes) {
      cases.push_back({name + "_" + text, [f = f, axes = axes](const std::vector<Value>& x) { return f(x[0], axes, false); }});
      cases.push_back({name + "_" + text + "_kept", [f = f, axes = axes](const std::vector<Value>& x) { return f(x[0], axes, true); }});
    }
    cases.push_back({name + "_all", [f = f](const std::vector<Value>& x) { return f(x[0], {}, false); }});
  }
  one("amax_nan", [](Value v) { return amax(v, {2}); });
  one("amin_nan", [](Value v) { return amin(v, {0, 1}); });
  const std::pair<std::string, Value (*)(Operand, int)> gates[] = {
      {"glu", &glu}, {"swiglu", &swiglu}, {"geglu", &geglu}, {"reglu", &reglu}};
  for (const auto& [name, f] : gates) {
    cases.push_back({name + "_1", [f = f](const std::vector<Value>& x) { return f(x[0], 1); }});
    cases.push_back({name + "_3", [f = f](const std::vector<Value>& x) { return f(x[0], -1); }});
  }
  one("glu_torch", [](Value v) { return glu(v, 1); });
  one("prelu_one", [](Value v) { return prelu(v, golden_weight("prelu_one")); });
  one("prelu_channels", [](Value v) { return prelu(v, golden_weight("prelu_channels")); });
  one("timestep", [](Value v) { return timestep_embedding(v, 32); });
  one("timestep_flipped", [](Value v) { return timestep_embedding(v, 32, {.flip_sin_to_cos = true, .downscale_freq_shift = 0}); });
  one("timestep_odd", [](Value v) { return timestep_embedding(v, 9, {.downscale_freq_shift = 0.5, .scale = 0.25, .max_period = 1000}); });
  one("timestep_i64", [](Value v) { return timestep_embedding(v, 16, {.flip_sin_to_cos = true, .downscale_freq_shift = 0}); });
  two("stack_0", [](Value a, Value b) { return stack({a, b}); });
  two("stack_1", [](Value a, Value b) { return stack({a, b}, 1); });
  two("stack_3", [](Value a, Value b) { return stack({a, b}, -1); });
  one("squeeze_unsqueeze", [](Value v) { return unsqueeze(unsqueeze(squeeze(v, 0), -1), 1); });
  return cases;
}

void expect_elementwise_equal(const Module& model, const std::string& name, const Device& device, Format format) {
  const std::string prefix = name + "/";
  std::vector<InputSpec> inputs;
  std::vector<HostTensor> values;
  for (const char* input : {"x", "x2", "x3"}) {
    if (!elementwise_golden().contains(prefix + input)) continue;
    values.push_back(elementwise_golden().tensor(prefix + input));
    inputs.push_back({input, values.back().spec().shape, values.back().spec().dtype, format});
  }
  Session net = compile(model, inputs, device);
  for (std::size_t i = 0; i < inputs.size(); ++i) net.input(inputs[i].name).copy_from(values[i]);
  net.poison();
  net.run();
  const HostTensor expected = elementwise_golden().tensor(prefix + "y");
  ASSERT_EQ(net.output().spec().shape, expected.spec().shape);
  ErrorBudget budget{.roundings = 0, .terms = 0};
  for (const Step& step : net.plan().steps) {
    const ErrorBudget own = step_budget(net.plan(), step);
    budget.roundings += own.roundings;
    budget.terms += own.terms;
  }
  // Of values that only moved, and of exact functions, PyTorch's are the same; of others they were rounded to f32 once.
  const Difference d = difference(net.output().floats(), expected.floats(), DType::f32, budget);
  EXPECT_LE(d.share, 1) << "max abs " << d.max_abs << ", max ulp " << d.max_ulp << " at " << d.worst_index;
}

class ElementwiseAgainstPyTorch : public testing::TestWithParam<ElementwiseGolden> {
 protected:
  void expect_equal(const Device& device, Format format) const {
    const test::FunctionModel model([](const std::vector<Value>& x) { return std::vector<Value>{GetParam().function(x)}; });
    expect_elementwise_equal(model, GetParam().name, device, format);
  }
};

TEST_P(ElementwiseAgainstPyTorch, Reference) { expect_equal(Device::reference(), Format::nchw); }
TEST_P(ElementwiseAgainstPyTorch, KernelInBothFormats) {
  FRIEZE_NEEDS_GPU();
  expect_equal(Device::cuda(), Format::nchw);
  expect_equal(Device::cuda(), Format::nhwc);
}
INSTANTIATE_TEST_SUITE_P(PyTorch, ElementwiseAgainstPyTorch, testing::ValuesIn(elementwise_cases()),
                         [](const auto& info) { return info.param.name; });

template <class L, class... Args>
void expect_module_equal(const std::string& name, const Args&... args) {
  L layer(args...);
  for (Parameter* p : layer.Module::parameters()) p->values = elementwise_golden().floats(name + "/" + p->name);
  expect_elementwise_equal(layer, name, Device::reference(), Format::nchw);
  if (!test::has_gpu()) return;
  expect_elementwise_equal(layer, name, Device::cuda(), Format::nchw);
  expect_elementwise_equal(layer, name, Device::cuda(), Format::nhwc);
}
const std::set<std::string> kModuleCases = {"embedding_i32", "embedding_i64"};

TEST(ElementwiseModules, EqualPyTorch) {
  for (const std::string& name : kModuleCases) expect_module_equal<Embedding>(name, 11, 6);
  expect_module_equal<PReLU>("prelu_one", 1);
  expect_module_equal<PReLU>("prelu_channels", 5);
}

// A case in the file that no test reads would be a test that cannot fail.
TEST(ElementwiseGoldenFile, EveryCaseIsTested) {
  std::set<std::string> tested = kModuleCases;
  for (const ElementwiseGolden& c : elementwise_cases()) tested.insert(c.name);
  for (const auto& [name, _] : elementwise_golden().tensors()) EXPECT_TRUE(tested.contains(name.substr(0, name.find('/')))) << name;
}

}  // namespace
}  // namespace frieze
