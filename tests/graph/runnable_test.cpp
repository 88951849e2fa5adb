// A model without values, or with layers that it never registered, can be inspected but not run.
#include <gtest/gtest.h>

#include <limits>

#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/rms_norm2d/rms_norm2d.h>
#include <frieze/layers/upsample/upsample.h>

#include "graph/test_layers.h"

namespace frieze::test {
namespace {

const std::vector<InputSpec> kRunInputs{{"x", {1, 2, 4, 5}}};

struct RunBlock : Module {
  Conv2d conv1{2, 2, 1}, conv2{2, 2, 1};
  RMSNorm2d norm{2};
  bool second;
  explicit RunBlock(bool second = true) : second(second) {
    add("conv1", conv1), add("norm", norm);
    if (second) add("conv2", conv2);
  }
  Value forward(Value x) const override { return conv2(norm(conv1(x))); }
};

struct RunNet : Module {
  RunBlock block;
  Conv2d unused{64, 64, 1};
  explicit RunNet(bool second = true) : block(second) { add("block", block), add("unused", unused); }
  Value forward(Value x) const override { return block(x); }
};

template <class E>
std::string refusal(const Module& model, const std::vector<InputSpec>& inputs = kRunInputs) {
  const std::string of_session = message_of<E>([&] { (void)compile(model, inputs, Device::reference()); });
  EXPECT_EQ(message_of<E>([&] { (void)Engine(model, Device::reference()).session(inputs); }), of_session);
  EXPECT_EQ(message_of<E>([&] { (void)compile(optimize(trace(model, inputs)), Device::reference()); }), of_session);
  EXPECT_EQ(message_of<E>([&] { (void)compile(trace(model, inputs), Device::reference(), {.capture = false}); }), of_session);
  return of_session;
}

TEST(Runnable, AModelThatWasNeverLoadedIsRefusedByKey) {
  RunNet model;
  EXPECT_EQ(refusal<WeightsError>(model),
            "block.conv1.weight, block.conv1.bias, block.norm.weight and 2 more have no values: call load() or init_random() before "
            "compiling");
  const Conv2d conv(2, 2, 1, {.bias = false});
  EXPECT_EQ(refusal<WeightsError>(conv), "weight has no values: call load() or init_random() before compiling");
}

TEST(Runnable, InspectingNeedsNoValues) {
  const RunNet model;
  const Plan plan = optimize(trace(model, kRunInputs));
  EXPECT_TRUE(contains(plan_text(plan), "block.conv1"));
  EXPECT_FALSE(plan_dot(plan).empty());
  EXPECT_FALSE(plan_json(plan).empty());
  EXPECT_GT(plan_memory(plan, {}).arena_bytes, 0);
}

TEST(Runnable, ValuesFromAnywhereCount) {
  RunNet loaded, set;
  init_random(loaded, 1);
  set.visit_parameters([](const std::string&, Parameter& p) { p.values = std::vector<float>(p.values.size(), 0.5F); });
  set.block.conv1.parameters()[0]->values = {1, 2, 3, 4};
  for (float& v : set.block.conv2.parameters()[1]->values) v = 1;
  EXPECT_NO_THROW((void)compile(loaded, kRunInputs, Device::reference()));
  EXPECT_NO_THROW((void)compile(set, kRunInputs, Device::reference()));
  RunNet used;  // what forward does not use needs no values
  init_random(used.block, 1);
  EXPECT_FALSE(used.unused.parameters()[0]->values.filled());
  EXPECT_NO_THROW((void)compile(used, kRunInputs, Device::reference()));
}

TEST(Runnable, ALoadThatFailedFillsNothing) {
  RunNet model;
  EXPECT_THROW(load(model, Weights::view({}, "nothing")), WeightsError);
  EXPECT_TRUE(contains(refusal<WeightsError>(model), "block.conv1.weight, "));
}

TEST(Runnable, AParameterThatIsFilledInPartIsNamed) {
  RunNet model;
  init_random(model, 1);
  model.block.conv2.parameters()[0]->values = {1, 2, 3};
  EXPECT_EQ(refusal<WeightsError>(model), "block.conv2.weight has 3 values, its shape [2,2,1,1] takes 4");
  init_random(model, 1);
  EXPECT_NO_THROW((void)compile(model, kRunInputs, Device::reference()));

  RunNet part;
  init_random(part.block.conv1, 1), init_random(part.block.norm, 1);
  part.block.conv2.parameters()[0]->values[1] = 2;
  part.block.conv2.parameters()[1]->values = {0, 0};
  EXPECT_EQ(refusal<WeightsError>(part), "block.conv2.weight: 3 of 4 values are NaN or were never set");
}

TEST(Runnable, ALayerThatWasNeverAddedIsNamed) {
  RunNet model(false);
  init_random(model, 1);
  EXPECT_EQ(refusal<OptionError>(model), "Conv2d used in RunBlock::forward was never add()ed");
  init_random(model.block.conv2, 1);
  EXPECT_EQ(refusal<OptionError>(model), "Conv2d used in RunBlock::forward was never add()ed") << "no checkpoint would reach it";
  EXPECT_TRUE(contains(plan_text(trace(model, kRunInputs)), "Conv2d")) << "inspecting works";
}

TEST(Runnable, ABlockThatWasNeverAddedIsNamed) {
  struct Forgetful : Module {
    RunBlock block;
    Value forward(Value x) const override { return block(x); }
  };
  Forgetful model;
  init_random(model.block, 1);
  EXPECT_EQ(refusal<OptionError>(model), "RunBlock used in Forgetful::forward was never add()ed");
}

TEST(Runnable, AModuleListThatWasNeverAddedIsNamed) {
  struct Listing : Module {
    ModuleList<Conv2d> list;
    bool whole;
    explicit Listing(bool whole) : whole(whole) { list.emplace_back(2, 2, 1); }
    Value forward(Value x) const override { return whole ? list(x) : list[0](x); }
  };
  for (const bool whole : {true, false}) {
    Listing model(whole);
    init_random(model.list, 1);
    EXPECT_EQ(refusal<OptionError>(model), "ModuleList used in Listing::forward was never add()ed") << whole;
  }
}

TEST(Runnable, ALayerWithoutParametersNeedsNoName) {
  struct Up : Module {
    Upsample up{2};
    Value forward(Value x) const override { return up(x); }
  };
  EXPECT_NO_THROW((void)compile(Up{}, kRunInputs, Device::reference()));
}

TEST(Runnable, AFunctionsOwnLayerNeedsValuesToo) {
  const auto layer = std::make_shared<Conv2d>(2, 2, 1);
  const Lambda model([&](Value x) {
    const Value one[] = {x};
    return apply(layer, "mix", one);
  });
  EXPECT_EQ(refusal<WeightsError>(model), "mix.weight, mix.bias have no values: call load() or init_random() before compiling");
  init_random(*layer, 1);
  Session net = compile(model, kRunInputs, Device::reference());
  net.input().copy_from(ramp(40));
  net.run();
  const std::vector<float> before = net.output().floats();
  init_random(*layer, 2);
  net.run();
  EXPECT_EQ(net.output().floats(), before);
}

TEST(Runnable, OneLayerHasOneName) {
  struct Twice : Module {
    Conv2d conv{2, 2, 1};
    Twice() { add("a", conv), add("b", conv); }
  };
  EXPECT_TRUE(contains(message_of<OptionError>([] { (void)Twice(); }), "'b' already belongs to a module, as 'a'"));
  // Used twice under one name is fine: shared weights.
  struct Shared : Module {
    Conv2d conv{2, 2, 1};
    Shared() { add("conv", conv), init_random(*this, 1); }
    Value forward(Value x) const override { return conv(conv(x)); }
  };
  const Plan plan = trace(Shared{}, kRunInputs);
  EXPECT_EQ(plan.steps[0].layer, plan.steps[1].layer);
  EXPECT_NO_THROW((void)compile(plan, Device::reference()));
}

TEST(Runnable, APartOfAModelRunsAlone) {
  RunNet model;
  init_random(model.block, 1);
  EXPECT_EQ(trace(model.block, kRunInputs).steps[0].path, "block.conv1");
  EXPECT_NO_THROW((void)compile(model.block, kRunInputs, Device::reference()));
}

TEST(Runnable, WeightsBeyondTheRangeOfTheRunAreNamed) {
  Conv2d conv(1, 2, 1);
  conv.parameters()[0]->values = {1e5F, 3};
  conv.parameters()[1]->values = {65504, -65519};
  EXPECT_EQ(refusal<WeightsError>(conv, {{"x", {1, 1, 1, 1}, DType::f16}}),
            "Conv2d.weight: 1 of 2 values are too large for f16, the largest is 100000: run in bf16 or f32");
  EXPECT_NO_THROW((void)compile(conv, {{"x", {1, 1, 1, 1}, DType::bf16}}, Device::reference()));
  EXPECT_NO_THROW((void)compile(conv, {{"x", {1, 1, 1, 1}, DType::f32}}, Device::reference()));
  conv.parameters()[0]->values = {65504, 3};
  EXPECT_NO_THROW((void)compile(conv, {{"x", {1, 1, 1, 1}, DType::f16}}, Device::reference()));
  conv.parameters()[0]->values = {std::numeric_limits<float>::max(), 3};
  EXPECT_TRUE(contains(refusal<WeightsError>(conv, {{"x", {1, 1, 1, 1}, DType::bf16}}), "too large for bf16"));
}

}  // namespace
}  // namespace frieze::test
