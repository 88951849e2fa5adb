// Parameters and constants as values: named, rounded once, in memory of their own, and no step.
#include <gtest/gtest.h>

#include <algorithm>

#include <frieze/core/constant.h>
#include <frieze/core/error.h>
#include <frieze/core/loop.h>
#include <frieze/graph/passes/passes.h>
#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>

#include <frieze/layers/permute/permute.h>
#include <frieze/layers/reshape/reshape.h>

#include "graph/device_layers.h"
#include "graph/test_layers.h"
#include "support/parity.h"

namespace frieze::test {
namespace {

// x + gain + offset, the gain used twice; in nhwc if its step prefers that.
struct Shifted : Module {
  Parameter gain;
  explicit Shifted(const Shape& shape = {1, 4, 1, 1}) { add_parameter(gain, "gain", shape, Init::around(1, 0.5)); }
  Value forward(Value x) const override {
    const Value first = value_of(gain), offset = constant(Shape{1, 1, 1, 1}, {0.25F});
    return x * first + value_of(gain) + offset;
  }
};

struct Nested : Module {
  Shifted inner;
  Nested() { add("inner", inner); }
  Value forward(Value x) const override { return inner(x); }
};

Session cpu_session(const Module& model, const std::vector<InputSpec>& inputs, const CompileOptions& options = {}) {
  return compile(model, inputs, Device::reference(), options);
}

TEST(ConstantsTest, AParameterIsAValueOfTheModel) {
  Nested model;
  model.inner.gain.values = {1, 2, 3, 4};
  Session net = cpu_session(model, {{"x", {1, 4, 1, 2}}});
  ASSERT_EQ(net.plan().constants.size(), 2U);  // the parameter once, however often it is used
  EXPECT_EQ(net.plan().values[static_cast<std::size_t>(net.plan().constants[0].value)].name, "inner.gain");
  for (const Step& step : net.plan().steps) EXPECT_NE(step.layer->type_name(), "Reformat");
  net.input("x").copy_from(std::vector<float>{1, -1, 1, -1, 1, -1, 1, -1});
  net.run();
  EXPECT_EQ(net.output().floats(), (std::vector<float>{2.25F, 0.25F, 4.25F, 0.25F, 6.25F, 0.25F, 8.25F, 0.25F}));
  EXPECT_EQ(net.receipt().memory.weights, 5 * 4);
}

TEST(ConstantsTest, ValuesAreThoseOfTheTraceAndRoundedToTheRunsType) {
  Shifted model;
  model.gain.values = {1.001F, 1, 1, 1};
  Session net = cpu_session(model, {{"x", {1, 4, 1, 1}, DType::bf16}});
  model.gain.values = {100, 100, 100, 100};
  net.input("x").copy_from(std::vector<float>{1, 1, 1, 1});
  net.run();
  EXPECT_EQ(net.output().floats(), (std::vector<float>(4, 2.25F)));  // 1.001 rounds to 1 in bf16
  EXPECT_EQ(net.plan().spec(net.plan().constants[0].value).dtype, DType::bf16);
}

TEST(ConstantsTest, FaultsAreToldAsThoseOfLayers) {
  Nested unfilled;
  EXPECT_EQ(message_of<WeightsError>([&] {
              cpu_session(unfilled, {{"x", {1, 4, 1, 1}}});
            }),
            "inner.gain has no values: call load() or init_random() before compiling");
  Nested large;
  large.inner.gain.values = {1, 2, 3, 1e6F};
  EXPECT_EQ(message_of<WeightsError>([&] {
              cpu_session(large, {{"x", {1, 4, 1, 1}, DType::f16}});
            }),
            "inner.gain: 1 of 4 values are too large for f16, the largest is 1e+06: run in bf16 or f32");
  struct Stray : Module {
    Parameter own;
    Value forward(Value x) const override { return x + value_of(own); }
  } stray;
  stray.own.shape = {1};
  stray.own.values = {1};
  EXPECT_NE(message_of<OptionError>([&] {
              cpu_session(stray, {{"x", {1}}});
            }).find("used in Stray::forward was never registered"),
            std::string::npos);
}

TEST(ConstantsTest, OutsideOfAForwardThereAreNone) {
  Shifted model;
  const std::string message = message_of<OptionError>([&] { value_of(model.gain); });
  EXPECT_EQ(message.find("value_of: no forward is being traced: a model's values exist only while its forward runs (constants_test.cpp:"),
            0U)
      << message;
  EXPECT_THROW(constant({2}, {1, 2}), OptionError);
  const auto in_forward = [](const std::function<Value()>& make) {
    return trace_function({{2}}, [&](const std::vector<Value>&) { return std::vector<Value>{make()}; });
  };
  EXPECT_THROW(in_forward([] { return constant({2}, {1, 2, 3}); }), ShapeError);
  EXPECT_THROW(in_forward([] { return constant({2}, {1, 2}, DType::i32); }), DTypeError);
  EXPECT_THROW(in_forward([] { return constant(HostTensor()); }), ShapeError);
}

TEST(ConstantsTest, AnOutputMayBeAConstantOfIntegers) {
  const std::int64_t numbers[] = {7, -3};
  const HostTensor tensor({{2}, DType::i64}, numbers);
  const FunctionModel model([&](const std::vector<Value>& x) { return std::vector<Value>{x[0], constant(tensor)}; });
  Session net = cpu_session(model, {{"x", {2}}});
  net.run();
  EXPECT_EQ(net.output("y1").to_host().integers(), (std::vector<std::int64_t>{7, -3}));
}

// What a step wants in nhwc lies so from the beginning, and decides no format itself.
TEST(ConstantsTest, LieInTheFormatThatTheirStepsWant) {
  Shifted model({1, 4, 2, 3});
  init_random(model, 3);
  struct Convolved : Module {
    Shifted& shifted;
    std::shared_ptr<const Layer> times = std::make_shared<Times>(TimesOptions{.formats = {.nchw = false, .prefers = Format::nhwc}});
    explicit Convolved(Shifted& s) : shifted(s) { add("shifted", s); }
    Value forward(Value x) const override { return apply(times, "times", {shifted(apply(times, "times", {x}))}); }
  } convolved(model);
  const Plan plan = optimize(trace(convolved, {{"x", {1, 4, 2, 3}}}));
  ASSERT_EQ(plan.constants.size(), 2U);
  EXPECT_EQ(plan.spec(plan.constants[1].value).format, Format::nhwc);
  EXPECT_EQ(std::count_if(plan.steps.begin(), plan.steps.end(), [](const Step& s) { return s.layer->type_name() == "Reformat"; }), 2);
  Session net = compile(plan, Device::reference());
  EXPECT_TRUE(verify(net).ok());
}

// A view of a constant is one too, and lies as its step wants it.
TEST(ConstantsTest, WhatLooksAtOneIsOne) {
  struct Viewed : Module {
    Parameter flat;
    std::shared_ptr<const Layer> times = std::make_shared<Times>(TimesOptions{.formats = {.nchw = false, .prefers = Format::nhwc}});
    Viewed() { add_parameter(flat, "flat", {24}, Init::around(0, 1)); }
    Value forward(Value x) const override {
      return apply(times, "times", {apply(times, "times", {x}) + permute(reshape(value_of(flat), {1, 2, 3, 4}), {0, 3, 1, 2})});
    }
  } model;
  init_random(model, 4);
  const Plan plan = optimize(trace(model, {{"x", {1, 4, 2, 3}}}));
  ASSERT_EQ(plan.constants.size(), 1U);
  EXPECT_EQ(plan.spec(plan.constants[0].value), (TensorSpec{{1, 4, 2, 3}, DType::f32, Format::nhwc}));
  EXPECT_EQ(plan.steps.size(), 5U);  // times, add, times, and the formats of input and output
  EXPECT_EQ(plan.views.size(), 0U);
  Session net = compile(plan, Device::reference());
  EXPECT_TRUE(verify(net).ok());
  // Given as an output, it is a copy.
  const FunctionModel given([&](const std::vector<Value>& x) {
    return std::vector<Value>{x[0], reshape(constant({4}, {1, 2, 3, 4}), {2, 2})};
  });
  Session other = cpu_session(given, {{"x", {2}}});
  other.run();
  EXPECT_EQ(other.output("y1").floats(), (std::vector<float>{1, 2, 3, 4}));
}

// The body of a loop has constants of its own.
struct LoopedShift : Module {
  Shifted body;
  LoopedShift() { add("body", body); }
  Value forward(Value x) const override {
    return repeat(3, x, [this](Value v) { return body(v); });
  }
};

TEST(ConstantsTest, StandInTheBodiesOfLoops) {
  LoopedShift model;
  model.body.gain.values = {1, 2, 0, 0.5F};
  Session net = cpu_session(model, {{"x", {1, 4, 1, 1}}});
  EXPECT_EQ(net.receipt().memory.weights, 5 * 4);
  net.input("x").copy_from(std::vector<float>{1, 1, 1, 1});
  net.run();
  // x * g + g + 0.25, three times.
  EXPECT_EQ(net.output().floats(), (std::vector<float>{4.75F, 23.75F, 0.25F, 1.4375F}));
  EXPECT_TRUE(verify(net).ok());
  EXPECT_NE(plan_text(net.plan()).find("constant body.gain: [1,4,1,1] f32"), std::string::npos) << plan_text(net.plan());
  EXPECT_NE(plan_dot(trace(model.body, {{"x", {1, 4, 1, 1}}})).find("shape=note, label=\"body.gain\""), std::string::npos);
}

TEST(ConstantsTest, AnEnginesShapesAndTapsKnowThem) {
  Nested model;
  model.inner.gain.values = {1, 2, 3, 4};
  Engine engine(model, Device::reference());
  for (const std::int64_t width : {1, 3}) {
    Session& net = engine.session({{"x", {1, 4, 1, width}}});
    EXPECT_FALSE(net.tap("*").empty());
    net.run();
    EXPECT_TRUE(verify(net).ok());
  }
}

TEST(ConstantsGpu, LieBesideTheWeightsAndAreNoNodes) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : {DType::f32, DType::bf16}) {
    Nested model;
    init_random(model, 5);
    Session net = compile(model, {{"x", {2, 4, 5, 7}, t}}, Device::cuda());
    EXPECT_EQ(net.receipt().nodes.size(), net.plan().steps.size());
    EXPECT_EQ(net.receipt().memory.weights, static_cast<std::int64_t>(5 * size_of(t)));
    const VerifyReport report = verify(net);
    EXPECT_TRUE(report.ok()) << report;
  }
  LoopedShift looped;
  init_random(looped, 6);
  Session net = compile(looped, {{"x", {2, 4, 5, 7}}}, Device::cuda());
  const VerifyReport report = verify(net);
  EXPECT_TRUE(report.ok()) << report;
}

}  // namespace
}  // namespace frieze::test
