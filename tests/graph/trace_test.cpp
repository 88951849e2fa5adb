#include <gtest/gtest.h>

#include <frieze/graph/plan.h>

#include "graph/test_layers.h"

namespace frieze::test {
namespace {

struct TwoTimes : Module {
  Times first, second;
  TwoTimes() {
    add("first", first);
    add("second", second);
  }
  Value forward(Value x) const override { return x + silu(second(silu(first(x)))); }
};

struct StemAndHead : Module {
  TwoTimes stem, head;
  StemAndHead() {
    add("stem", stem);
    add("head", head);
  }
  Value forward(Value x) const override { return relu(head(stem(x))); }
};

TEST(TraceTest, StepsAreInOrderOfExecutionAndNamedAfterTheirModules) {
  const Plan plan = trace(StemAndHead(), {{"x", {1, 3, 4, 4}}});
  EXPECT_EQ(labels(plan),
            "stem.first stem.silu stem.second stem.silu_1 stem.add head.first head.silu head.second head.silu_1 head.add relu");
  EXPECT_EQ(plan.inputs.size(), 1U);
  EXPECT_EQ(plan.outputs.at(0).name, "y");
  EXPECT_EQ(plan.spec(plan.output("y")).shape, Shape({1, 3, 4, 4}));
  EXPECT_EQ(plan.values[static_cast<std::size_t>(plan.output("y"))].producer, 10);
  plan.validate();
}

TEST(TraceTest, AModuleUsedTwiceKeepsItsPathAndItsFunctionalLayersAreCounted) {
  TwoTimes block;
  const Lambda model([&](Value x) { return block(block(x)); });
  EXPECT_EQ(labels(trace(model, {{"x", {1, 1, 1, 1}}})), "first silu second silu_1 add first silu_2 second silu_3 add_1");
}

TEST(TraceTest, StepsCarryTheCostThatInferSaid) {
  const Plan plan = trace(Lambda([](Value x) { return times(x); }), {{"x", {1, 2, 3, 4}, DType::f16}});
  EXPECT_DOUBLE_EQ(plan.steps.at(0).flops, 24);
  EXPECT_DOUBLE_EQ(plan.steps.at(0).bytes, 2 * 24 * 2);
}

TEST(TraceTest, ALoneLayerIsAModelToo) {
  const Plan plan = trace(Add(), {{"a", {2, 3}}, {"b", {2, 3}}});
  EXPECT_EQ(plan.steps.size(), 1U);
  EXPECT_EQ(plan.steps[0].inputs, (std::vector<int>{plan.input("a"), plan.input("b")}));
}

TEST(TraceTest, SeveralInputsAndOutputsByName) {
  const Lambda model([](const std::vector<NamedValue>& in) {
    const Value a = in.at(0).value, b = in.at(1).value;
    return std::vector<NamedValue>{{"sum", a + b}, {"product", a * b}};
  });
  const Plan plan = trace(model, {{"a", {1, 2, 2, 2}}, {"b", {1, 2, 2, 2}, DType::f32, Format::nhwc}});
  EXPECT_EQ(plan.steps.size(), 2U);
  EXPECT_EQ(plan.output("sum"), plan.steps[0].output());
  EXPECT_EQ(plan.output("product"), plan.steps[1].output());
  EXPECT_EQ(plan.spec(plan.input("b")).format, Format::nhwc);
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)plan.output("difference"); }), "sum, product"));
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)plan.input("c"); }), "a, b"));
}

TEST(TraceTest, ARefusedShapeNamesTheModulePathFirst) {
  struct Deep : Module {
    struct Inner : Module {
      Value forward(Value x) const override { return x + times(x, {.large_output = true}); }
    } inner;
    Deep() { add("inner", inner); }
    Value forward(Value x) const override { return inner(x); }
  } model;
  const std::string text = message_of<ShapeError>([&] { (void)trace(model, {{"x", {1, 3, 2, 2}}}); });
  EXPECT_EQ(text.find("inner.add: Add "), 0U) << text;
  EXPECT_TRUE(contains(text, "[1,3,2,2]"));
  EXPECT_TRUE(contains(text, "[1,6,2,2]"));
}

TEST(TraceTest, ARefusedTypeKeepsItsExceptionType) {
  const std::string text = message_of<DTypeError>([] { (void)trace(Add(), {{"a", {2}, DType::f32}, {"b", {2}, DType::f16}}); });
  EXPECT_TRUE(contains(text, "f32"));
  EXPECT_TRUE(contains(text, "f16"));
}

TEST(TraceTest, ValuesOfTwoTracesCannotMeet) {
  std::optional<Value> stolen;
  const Lambda thief([&](Value x) {
    stolen = x;
    // Inside this trace another one runs, and tries to use this one's value.
    const Lambda inner([&](Value y) { return y + *stolen; });
    (void)trace(inner, {{"x", {1, 1, 1, 1}}});
    return x;
  });
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)trace(thief, {{"x", {1, 1, 1, 1}}}); }), "two different traces"));

  const Lambda giver([&](Value x) {
    stolen = x;
    const Lambda inner([&](Value) { return *stolen; });
    (void)trace(inner, {{"x", {1, 1, 1, 1}}});
    return x;
  });
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)trace(giver, {{"x", {1, 1, 1, 1}}}); }), "another trace"));
}

TEST(TraceTest, RefusesImpossibleInputs) {
  const Lambda model([](Value x) { return relu(x); });
  EXPECT_THROW((void)trace(model, {}), OptionError);
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)trace(model, {{"x", {1}}, {"x", {1}}}); }), "'x'"));
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)trace(model, {{"", {1}}}); }), "no name"));
  EXPECT_TRUE(contains(message_of<ShapeError>([&] { (void)trace(model, {{"x", {1, 0, 2, 2}}}); }), "input 'x'"));
  const std::int64_t huge = std::int64_t{1} << 62;
  EXPECT_THROW((void)trace(model, {{"x", {huge}}}), ShapeError) << "2^62 elements of 4 bytes are past 2^63";
}

TEST(TraceTest, RefusesTwoOutputsOfOneNameAndNoOutputs) {
  const Lambda twice([](const std::vector<NamedValue>& in) {
    return std::vector<NamedValue>{{"y", relu(in[0].value)}, {"y", silu(in[0].value)}};
  });
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)trace(twice, {{"x", {1}}}); }), "two outputs named 'y'"));
  const Lambda none([](const std::vector<NamedValue>&) { return std::vector<NamedValue>{}; });
  EXPECT_THROW((void)trace(none, {{"x", {1}}}), OptionError);
}

TEST(TraceTest, AModuleWithoutForwardSaysSo) {
  const Module empty;
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)trace(empty, {{"x", {1}}}); }), "defines no forward"));
}

TEST(PlanTest, ValidateCatchesPlansThatCannotRun) {
  const Plan good = trace(Lambda([](Value x) { return silu(relu(x)); }), {{"x", {4}}});
  Plan early = good;
  std::swap(early.steps[0], early.steps[1]);
  EXPECT_THROW(early.validate(), Error);
  Plan twice = good;
  twice.steps[1].outputs = twice.steps[0].outputs;
  EXPECT_THROW(twice.validate(), Error);
  Plan nowhere = good;
  nowhere.outputs[0].value = 99;
  EXPECT_THROW(nowhere.validate(), Error);
  Plan never = good;
  never.steps.pop_back();
  EXPECT_THROW(never.validate(), Error);
}

}  // namespace
}  // namespace frieze::test
