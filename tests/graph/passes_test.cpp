#include <gtest/gtest.h>

#include <algorithm>

#include <frieze/graph/reference_step.h>
#include <frieze/graph/session.h>

#include "graph/test_layers.h"

namespace frieze::test {
namespace {

constexpr TimesOptions kAbsorber{.absorbs = 4};

Plan fused(const Module& model, std::vector<InputSpec> inputs = {{"x", {1, 3, 2, 2}}}) {
  return optimize(trace(model, inputs), {.fuse = true, .formats = false});
}

// Runs the model as traced and as optimised on the CPU and expects the same f32 values.
void expect_same_function(const Module& model, const std::vector<InputSpec>& inputs) {
  Session plain = compile(model, inputs, Device::reference(), {.passes = {.fuse = false, .formats = false}});
  Session best = compile(model, inputs, Device::reference());
  for (const InputSpec& input : inputs) {
    const HostTensor values({input.shape, input.dtype, Format::nchw}, ramp(input.shape.elements(), 0.01F));
    plain.input(input.name).copy_from(values);
    best.input(input.name).copy_from(values);
  }
  plain.run();
  best.run();
  for (const PlanPort& port : plain.plan().outputs) {
    const std::vector<float> a = plain.output(port.name).floats(), b = best.output(port.name).floats();
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-6 * (1 + std::abs(a[i]))) << port.name << " at " << i;
  }
}

TEST(FuseTest, AProducerAbsorbsTheChainBehindIt) {
  const Lambda model([](Value x) { return silu(times(x, kAbsorber)) + x; });
  const Plan plan = fused(model);
  EXPECT_EQ(labels(plan), "times+silu+add");
  EXPECT_EQ(plan.steps[0].inputs, (std::vector<int>{plan.input("x"), plan.input("x")})) << "the layer's input, then the operand";
  EXPECT_EQ(plan.steps[0].layer_inputs(), 1U);
  EXPECT_EQ(plan.steps[0].epilogue[1].path, "add");
  EXPECT_EQ(plan.values.size(), 2U) << "values that were fused away are gone";
  expect_same_function(model, {{"x", {1, 3, 2, 2}}});
}

TEST(FuseTest, TheProducerDecidesHowMuch) {
  const auto chain = [](TimesOptions options) { return Lambda([options](Value x) { return silu(relu(times(x, options)) + x); }); };
  EXPECT_EQ(labels(fused(chain({.absorbs = 0}))), "times relu add silu");
  EXPECT_EQ(labels(fused(chain({.absorbs = 1}))), "times+relu add silu");
  EXPECT_EQ(labels(fused(chain({.absorbs = 2}))), "times+relu+add silu");
  EXPECT_EQ(labels(fused(chain({.absorbs = 9}))), "times+relu+add+silu");
  EXPECT_EQ(labels(fused(chain({.absorbs = 9, .operands = false}))), "times+relu add silu");
}

TEST(FuseTest, AValueWithSeveralUsersStays) {
  EXPECT_EQ(labels(fused(Lambda([](Value x) {
              const Value t = times(x, kAbsorber);
              return silu(t) + t;
            }))),
            "times silu add");
  EXPECT_EQ(labels(fused(Lambda([](Value x) {
              const Value t = times(x, kAbsorber);
              return t * t;
            }))),
            "times mul")
      << "twice by one step is also twice";
}

TEST(FuseTest, AnOutputOfTheModelStays) {
  const Lambda model([](const std::vector<NamedValue>& in) {
    const Value t = times(in[0].value, kAbsorber);
    return std::vector<NamedValue>{{"before", t}, {"after", silu(t)}};
  });
  EXPECT_EQ(labels(fused(model)), "times silu");
  expect_same_function(model, {{"x", {1, 3, 2, 2}}});
}

TEST(FuseTest, TheOperandMayStandOnEitherSide) {
  const Lambda right([](Value x) { return x + times(x, kAbsorber); });
  EXPECT_EQ(labels(fused(right)), "times+add");
  expect_same_function(right, {{"x", {2, 3, 1, 5}}});
  const Lambda gate([](Value x) { return sigmoid(x) * times(x, kAbsorber); });
  const Plan plan = fused(gate);
  EXPECT_EQ(labels(plan), "sigmoid times+mul");
  EXPECT_EQ(plan.steps[1].inputs.back(), plan.steps[0].output());
  expect_same_function(gate, {{"x", {2, 3, 1, 5}}});
}

TEST(FuseTest, OnlyOneOfTwoProducersAbsorbsTheirSum) {
  const Lambda model([](Value x) { return times(x, kAbsorber) + times(x, {.factor = 3, .absorbs = 4}); });
  const Plan plan = fused(model);
  ASSERT_EQ(plan.steps.size(), 2U);
  EXPECT_EQ(plan.steps[0].epilogue.size() + plan.steps[1].epilogue.size(), 1U);
  expect_same_function(model, {{"x", {1, 3, 2, 2}}});
}

TEST(FuseTest, AnOperandMadeLaterMovesTheProducerBehindIt) {
  // times is first in the trace, its operand is made after it: the fused step must run where the add was.
  const Lambda model([](Value x) {
    const Value t = times(x, kAbsorber);
    return t + silu(relu(x));
  });
  const Plan plan = fused(model);
  EXPECT_EQ(labels(plan), "relu silu times+add");
  expect_same_function(model, {{"x", {1, 3, 2, 2}}});
}

TEST(FuseTest, ABroadcastOperandIsNotAbsorbed) {
  const Lambda model([](const std::vector<NamedValue>& in) {
    return std::vector<NamedValue>{{"y", times(in[0].value, kAbsorber) + in[1].value}};
  });
  EXPECT_EQ(labels(fused(model, {{"x", {1, 3, 2, 2}}, {"bias", {1, 3, 1, 1}}})), "times add");
  EXPECT_EQ(labels(fused(model, {{"x", {1, 3, 1, 1}}, {"bias", {1, 3, 2, 2}}})), "times add") << "the producer is the smaller";
  expect_same_function(model, {{"x", {1, 3, 2, 2}}, {"bias", {1, 3, 1, 1}}});
}

TEST(FuseTest, CostsAddUp) {
  const Lambda model([](Value x) { return times(x, kAbsorber) + x; });
  const Plan plain = trace(model, {{"x", {1, 3, 2, 2}}}), plan = fused(model);
  EXPECT_DOUBLE_EQ(plan.steps[0].flops, plain.steps[0].flops + plain.steps[1].flops);
  EXPECT_DOUBLE_EQ(plan.steps[0].bytes, 3 * 12 * 4) << "x, the operand and y; the value in between is never moved";
}

std::vector<Format> step_formats(const Plan& plan) {
  std::vector<Format> out;
  for (const Step& step : plan.steps) out.push_back(step.format);
  return out;
}

std::size_t conversions(const Plan& plan) {
  return static_cast<std::size_t>(
      std::count_if(plan.steps.begin(), plan.steps.end(), [](const Step& s) { return s.layer->type_name() == "Reformat"; }));
}

TEST(FormatsTest, ConversionsStandOnlyAtTheBorders) {
  const TimesOptions nhwc{.formats = prefers_nhwc()};
  const Lambda model([&](Value x) { return times(silu(times(x, nhwc)), nhwc); });
  const Plan plan = optimize(trace(model, {{"x", {1, 3, 4, 4}}}));
  EXPECT_EQ(conversions(plan), 2U);
  EXPECT_EQ(plan.steps.front().layer->type_name(), "Reformat");
  EXPECT_EQ(plan.steps.back().layer->type_name(), "Reformat");
  EXPECT_EQ(plan.steps[2].format, Format::nhwc) << "a layer without preference follows its input";
  EXPECT_EQ(plan.spec(plan.input("x")).format, Format::nchw);
  EXPECT_EQ(plan.spec(plan.output("y")).format, Format::nchw);
  expect_same_function(model, {{"x", {2, 3, 4, 5}}});
}

TEST(FormatsTest, PortsKeepTheFormatOfTheCaller) {
  const Lambda model([](Value x) { return times(x, {.formats = prefers_nhwc()}); });
  const Plan plan = optimize(trace(model, {{"x", {1, 3, 4, 4}, DType::f32, Format::nhwc}}));
  EXPECT_EQ(conversions(plan), 0U);
  EXPECT_EQ(plan.spec(plan.input("x")).format, Format::nhwc);
  EXPECT_EQ(plan.spec(plan.output("y")).format, Format::nhwc);
  expect_same_function(model, {{"x", {2, 3, 4, 5}, DType::f32, Format::nhwc}});
}

TEST(FormatsTest, WithoutFormatsEverythingRunsInNchwThatCan) {
  const TimesOptions likes{.formats = prefers_nhwc()}, needs{.formats = nhwc_only()};
  const Lambda model([&](Value x) { return times(times(x, likes), needs); });
  const Plan plan = optimize(trace(model, {{"x", {1, 3, 4, 4}}}), {.fuse = false, .formats = false});
  EXPECT_EQ(step_formats(plan), (std::vector<Format>{Format::nchw, Format::nhwc, Format::nhwc, Format::nchw}));
  EXPECT_EQ(conversions(plan), 2U);
}

TEST(FormatsTest, AValueIsConvertedOnceForAllItsUsers) {
  const TimesOptions nhwc{.formats = nhwc_only()};
  const Lambda model([&](Value x) { return times(x, nhwc) + times(x, nhwc); });
  const Plan plan = optimize(trace(model, {{"x", {1, 3, 4, 4}}}), {.fuse = false});
  EXPECT_EQ(conversions(plan), 2U) << "x once, y once";
  expect_same_function(model, {{"x", {1, 3, 4, 4}}});
}

TEST(FormatsTest, LayersThatDisagreeAreEachGivenTheirOwn) {
  const Lambda model([](Value x) {
    const Value a = times(x, {.formats = nhwc_only()});
    return times(a, {.formats = nchw_only()}) + a;
  });
  const Plan plan = optimize(trace(model, {{"x", {2, 3, 4, 5}}}));
  for (const Step& step : plan.steps) {
    if (step.layer->type_name() == "Reformat") continue;
    for (const int id : step.inputs) EXPECT_EQ(plan.spec(id).format, step.format) << step.path;
    EXPECT_EQ(plan.spec(step.output()).format, step.format) << step.path;
  }
  expect_same_function(model, {{"x", {2, 3, 4, 5}}});
}

TEST(FormatsTest, ALayoutThatBothFormatsShareNeedsNoConversion) {
  const Lambda model([](Value x) { return times(x, {.formats = nhwc_only()}); });
  for (const Shape& shape : {Shape{2, 1, 5, 4}, Shape{2, 7, 1, 1}, Shape{3, 5}}) {
    const Plan plan = optimize(trace(model, {{"x", shape}}));
    EXPECT_EQ(conversions(plan), 0U) << shape;
    expect_same_function(model, {{"x", shape}});
  }
}

TEST(FormatsTest, AnOutputThatIsAnInputOrAnotherOutputIsACopy) {
  const Lambda model([](const std::vector<NamedValue>& in) {
    const Value y = relu(in[0].value);
    return std::vector<NamedValue>{{"same", in[0].value}, {"y", y}, {"again", y}};
  });
  const Plan plan = optimize(trace(model, {{"x", {1, 3, 2, 2}}}));
  std::vector<int> ports = {plan.input("x"), plan.output("same"), plan.output("y"), plan.output("again")};
  std::sort(ports.begin(), ports.end());
  EXPECT_EQ(std::unique(ports.begin(), ports.end()), ports.end()) << "every port has memory of its own";
  expect_same_function(model, {{"x", {1, 3, 2, 2}}});
}

TEST(ReferenceStepTest, RoundsTheChainOnceAtItsEnd) {
  // 1 + 2^-9 is not a bf16; times 2 and minus 2 gives 2^-8, which a chain that rounded in between would lose.
  const Lambda model([](const std::vector<NamedValue>& in) {
    return std::vector<NamedValue>{{"y", times(in[0].value, {.factor = 1 + 0x1p-9F, .absorbs = 1}) + in[1].value}};
  });
  const Plan plan = optimize(trace(model, {{"x", {1}, DType::bf16}, {"z", {1}, DType::bf16}}));
  ASSERT_EQ(plan.steps.size(), 1U);
  const float x = 2, z = -2;
  const HostTensor in[] = {HostTensor(plan.spec(plan.input("x")), {&x, 1}), HostTensor(plan.spec(plan.input("z")), {&z, 1})};
  const TensorView views[] = {in[0].view(), in[1].view()};
  HostTensor out(plan.spec(plan.output("y")));
  const TensorView made[] = {out.view()};
  const double scale = reference_step(plan.steps[0], views, made, DType::bf16);
  EXPECT_EQ(out.floats()[0], 0x1p-8F);
  EXPECT_NEAR(scale, 2, 0.01) << "the sum cancels; its error comes from the values before";
}

TEST(ReferenceStepTest, TheScaleGrowsWithEveryMultiplication) {
  Step step;
  step.layer = std::make_shared<Times>();
  step.path = "t";
  step.inputs = {0, 1};
  step.outputs = {2};
  step.epilogue = {{{EpilogueOp::Kind::activation, Activation::relu}, std::make_shared<ReLU>(), "relu"},
                   {{EpilogueOp::Kind::mul, Activation::none}, std::make_shared<Mul>(), "mul"}};
  const TensorSpec spec{{3}, DType::f32};
  const float x[] = {-4, 1, 0}, gate[] = {0, -0.5F, 8};
  const HostTensor in[] = {HostTensor(spec, x), HostTensor(spec, gate)};
  const TensorView views[] = {in[0].view(), in[1].view()};
  HostTensor out(spec);
  const TensorView made[] = {out.view()};
  EXPECT_DOUBLE_EQ(reference_step(step, views, made, DType::f32), 8.0 * 8.0);
  EXPECT_EQ(out.floats(), (std::vector<float>{0, -1, 0}));
  EXPECT_THROW(reference_step(step, std::span(views, 1), made, DType::f32), Error);
  EXPECT_THROW(reference_step(step, views, {}, DType::f32), Error);
}

}  // namespace
}  // namespace frieze::test
