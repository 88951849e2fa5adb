// The rewriting pass on real layers: it must compute the same function, and leave alone what others use.
#include <gtest/gtest.h>

#include <cmath>

#include <frieze/graph/session.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/batch_norm2d/batch_norm2d.h>
#include <frieze/layers/channel_shortcut/channel_shortcut.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/elementwise/elementwise.h>
#include <frieze/layers/upsample/upsample.h>

#include "graph/test_layers.h"
#include "support/parity.h"

namespace frieze::test {
namespace {

struct NormThenUpsample final : Module {
  Conv2d conv{4, 6, 3, {.padding = 1, .bias = false}}, up{6, 5, 3, {.padding = 1}};
  BatchNorm2d norm{6};
  bool output_between = false;
  NormThenUpsample() {
    add("conv", conv), add("norm", norm), add("up", up);
    init_random(*this, 3);
  }
  std::vector<NamedValue> forward_named(const std::vector<NamedValue>& in) const override {
    const Value convolved = conv(in[0].value), upsampled = upsample(relu(norm(convolved)), 2);
    std::vector<NamedValue> out{{"y", up(upsampled) * 0.5F}};
    if (output_between) out.push_back({"convolved", convolved}), out.push_back({"upsampled", upsampled});
    return out;
  }
};

std::vector<std::string> kinds(const Plan& plan) {
  std::vector<std::string> names;
  for (const Step& step : plan.steps) names.push_back(step.path + " " + std::string(step.layer->type_name()));
  return names;
}

const std::vector<InputSpec> kInput{{"x", {2, 4, 5, 3}}};

TEST(RewriteTest, NeighboursBecomeOneLayerAndThePhases) {
  const NormThenUpsample model;
  const Plan plan = optimize(trace(model, kInput), {.fuse = false, .formats = false});
  EXPECT_EQ(kinds(plan), (std::vector<std::string>{"conv Conv2d", "relu relu", "up:Conv2d Conv2d", "up MergePhases", "scale Scale"}));
  EXPECT_EQ(plan.spec(plan.steps[2].output()).shape, (Shape{2, 20, 6, 4}));
  EXPECT_EQ(plan.spec(plan.steps[3].output()).shape, (Shape{2, 5, 10, 6}));
  EXPECT_GT(plan.steps[2].flops, 0);
  const Plan exact = optimize(trace(model, kInput), {.rewrite = false, .fuse = false, .formats = false});
  EXPECT_EQ(kinds(exact),
            (std::vector<std::string>{"conv Conv2d", "norm BatchNorm2d", "relu relu", "upsample Upsample", "up Conv2d", "scale Scale"}));
  const auto total = [](const Plan& p) {
    double flops = 0;
    for (const Step& step : p.steps) flops += step.flops;
    return flops;
  };
  EXPECT_LT(total(plan), 0.8 * total(exact));
}

TEST(RewriteTest, ComputesTheSameFunction) {
  NormThenUpsample model;
  for (const bool between : {false, true}) {
    model.output_between = between;
    Session exact = compile(model, kInput, Device::reference(), {.passes = {.rewrite = false}});
    Session rewritten = compile(model, kInput, Device::reference());
    const std::vector<float> x = random_values(2 * 4 * 5 * 3, 7, Fill::normal, DType::f32, 4);
    for (Session* net : {&exact, &rewritten}) {
      net->input().copy_from(x);
      net->poison();
      net->run();
    }
    for (const PlanPort& port : exact.plan().outputs) {
      const std::vector<float> a = exact.output(port.name).floats(), b = rewritten.output(port.name).floats();
      ASSERT_EQ(a.size(), b.size());
      for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 2e-6) << port.name << " at " << i;
    }
  }
}

TEST(RewriteTest, AnOutputOfTheModelStays) {
  NormThenUpsample model;
  model.output_between = true;
  const Plan plan = optimize(trace(model, kInput), {.fuse = false, .formats = false});
  EXPECT_EQ(kinds(plan),
            (std::vector<std::string>{"conv Conv2d", "norm BatchNorm2d", "relu relu", "upsample Upsample", "up Conv2d", "scale Scale"}));
}

// An up-block: the shortcut is made where it is added, unless somebody else wants it too.
struct UpModel final : Module {
  Conv2d up{8, 4, 3, {.padding = 1}};
  bool shared = false;
  UpModel() {
    add("up", up);
    init_random(*this, 3);
  }
  std::vector<NamedValue> forward_named(const std::vector<NamedValue>& in) const override {
    const Value shortcut = duplicating_shortcut(in[0].value, 4, 2);
    std::vector<NamedValue> out{{"y", up(upsample(in[0].value, 2)) + shortcut}};
    if (shared) out.push_back({"shortcut", shortcut});
    return out;
  }
};

TEST(RewriteTest, ShortcutsAreMadeWhereTheyAreAdded) {
  UpModel model;
  const std::vector<InputSpec> input{{"x", {2, 8, 5, 3}}};
  const Plan plan = optimize(trace(model, input), {.formats = false});
  ASSERT_EQ(kinds(plan), (std::vector<std::string>{"up:Conv2d Conv2d", "up MergePhases"}));
  EXPECT_EQ(plan.steps[1].inputs.size(), 2U);
  EXPECT_EQ(plan.steps[1].inputs[1], plan.inputs[0].value);
  Session net = compile(model, input, Device::reference()),
          exact = compile(model, input, Device::reference(), {.passes = {.rewrite = false}});
  const std::vector<float> x = random_values(2 * 8 * 5 * 3, 7, Fill::normal, DType::f32, 8);
  for (Session* one : {&net, &exact}) {
    one->input().copy_from(x);
    one->poison();
    one->run();
  }
  const std::vector<float> a = net.output().floats(), b = exact.output().floats();
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 3e-6) << i;

  model.shared = true;
  const Plan kept = optimize(trace(model, input), {.formats = false});
  EXPECT_EQ(kinds(kept).size(), 3U);
  EXPECT_EQ(kept.steps.back().epilogue.size(), 1U);
}

TEST(RewriteTest, AFoldedConvolutionKeepsItsOptionsAndBias) {
  Conv2d conv(4, 8, {3, 5}, {.stride = {2, 1}, .padding = {1, 4}, .dilation = {1, 2}, .groups = 4});
  init_random(conv, 1);
  BatchNorm2d norm(8, 0);
  for (Parameter* p : norm.Module::parameters()) p->values.assign(8, p->name == "running_var" ? 1.0F : 0.0F);
  norm.Module::parameters()[0]->values = {2, 2, 2, 2, 2, 2, 2, -1};
  norm.Module::parameters()[1]->values = {0, 0, 0, 0, 0, 0, 0, 3};
  const Plan plan = optimize(trace(Lambda([&](Value x) { return norm(conv(x)); }), {{"x", {1, 4, 9, 9}}}), {.formats = false});
  ASSERT_EQ(plan.rewrites, (std::vector<AppliedRewrite>{{"batch norm into weights", 1}}));
  const auto folded = std::dynamic_pointer_cast<const Conv2d>(plan.steps[0].layer);
  ASSERT_NE(folded, nullptr);
  EXPECT_EQ(folded->describe(), conv.describe());
  EXPECT_EQ(folded->weight().values[0], 2 * conv.weight().values[0]);
  EXPECT_EQ(folded->weight().values.back(), -conv.weight().values.back());
  EXPECT_EQ(folded->bias().values[0], 2 * conv.bias().values[0]);
  EXPECT_EQ(folded->bias().values[7], 3 - conv.bias().values[7]);
}

}  // namespace
}  // namespace frieze::test
