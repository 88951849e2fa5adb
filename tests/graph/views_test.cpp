// Values as views of storages: what is a view, what is copied and why, what lives where.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "graph/test_layers.h"
#include "support/parity.h"

#include <frieze/graph/memory_plan.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/cast/cast.h>
#include <frieze/layers/concat/concat.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/permute/permute.h>
#include <frieze/layers/reshape/reshape.h>
#include <frieze/layers/slice/slice.h>
#include <frieze/layers/split/split.h>

namespace frieze {
namespace {

using test::contains;
using test::FunctionModel;
using test::message_of;
using test::times;
using Values = std::vector<Value>;
using Floats = std::vector<float>;

Plan plan_of(const Shape& shape, FunctionModel::Function f, const PassOptions& passes = {}, Format format = Format::nchw) {
  const FunctionModel model(std::move(f));
  return optimize(trace(model, {{"x", shape, DType::f32, format}}), passes);
}

std::vector<std::string> paths(const Plan& plan) {
  std::vector<std::string> names;
  for (const Step& step : plan.steps) names.push_back(step.path);
  return names;
}

std::string note_of(const Plan& plan, const std::string& path) {
  for (const Step& step : plan.steps) {
    if (step.path == path) return step.note;
  }
  return "no step " + path;
}

// Twice on poisoned memory, against the plan as it was traced, where every value has memory of its own; then verified.
void expect_same_as_traced(const FunctionModel& model, const std::vector<InputSpec>& inputs) {
  std::vector<Floats> expected;
  for (const bool views : {false, true}) {
    for (const bool keep : {false, true}) {
      const PassOptions none{.rewrite = false, .fuse = false, .formats = false, .views = false};
      Session net = compile(optimize(trace(model, inputs), views ? PassOptions{} : none), Device::reference(), {.keep_values = keep});
      for (std::size_t i = 0; i < inputs.size(); ++i) net.input(inputs[i].name).copy_from(test::ramp(inputs[i].shape.elements(), 1.0F));
      for (int run = 0; run < 2; ++run) {
        net.poison();
        net.run();
        for (std::size_t i = 0; i < net.plan().outputs.size(); ++i) {
          const Floats y = net.output(net.plan().outputs[i].name).floats();
          if (expected.size() <= i) expected.push_back(y);
          EXPECT_EQ(y, expected[i]) << net.plan().outputs[i].name << " views " << views << " keep " << keep << "\n"
                                    << plan_text(net.plan());
        }
      }
      if (views && !keep) {
        const VerifyReport report = verify(net);
        EXPECT_TRUE(report.ok()) << report.text();
      }
    }
  }
}

TEST(ViewsTest, ASplitCostsNoStep) {
  const auto f = [](const Values& x) {
    const Values parts = split(times(x[0]), {1, 2, 1});
    return Values{relu(parts[0]), relu(parts[1]) + relu(parts[1]), relu(parts[2])};
  };
  const Plan plan = plan_of({2, 4, 2, 2}, f);
  ASSERT_EQ(plan.views.size(), 1U);
  for (const Step& step : plan.steps) EXPECT_NE(step.layer->type_name(), "Split");
  const PlanValue& second = plan.values[static_cast<std::size_t>(plan.views[0].step.outputs[1])];
  EXPECT_EQ(second.offset, 4);
  EXPECT_EQ(second.strides[0], 16);
  EXPECT_EQ(second.producer, 0) << "behind which it is there";
  EXPECT_TRUE(contains(plan_text(plan), "split.1")) << plan_text(plan);
  EXPECT_TRUE(contains(plan_dot(plan), "a view"));
  EXPECT_TRUE(contains(plan_json(plan), "\"storages\""));
  expect_same_as_traced(FunctionModel(f), {{"x", {2, 4, 2, 2}}});
}

TEST(ViewsTest, AConcatenationIsWrittenInParts) {
  const auto f = [](const Values& x) { return Values{times(concat({relu(x[0]), x[0] * 3.0F, relu(x[0])}))}; };
  for (const Format format : {Format::nchw, Format::nhwc}) {
    const Plan plan = plan_of({2, 3, 2, 2}, f, {}, format);
    ASSERT_EQ(plan.views.size(), 1U) << plan_text(plan);
    EXPECT_EQ(plan.views[0].step.path, "concat");
    std::set<int> storages;
    for (const int id : plan.views[0].step.inputs) storages.insert(plan.values[static_cast<std::size_t>(id)].storage);
    EXPECT_EQ(storages.size(), 1U);
    EXPECT_EQ(paths(plan), (std::vector<std::string>{"relu", "scale", "relu_1", "times"}));
    const MemoryPlan memory = plan_memory(plan, {});
    EXPECT_EQ(memory.placements.size(), 1U) << "one for all parts";
    EXPECT_EQ(memory.placements[0].first_step, 0);
    EXPECT_EQ(memory.placements[0].last_step, 3);
  }
  expect_same_as_traced(FunctionModel(f), {{"x", {2, 3, 2, 2}}});
}

TEST(ViewsTest, PartsThatCannotLieInAConcatenationAreCopied) {
  const auto f = [](const Values& x) {
    const Value a = relu(x[0]), whole = times(x[0]), read = relu(x[0]);
    return Values{relu(concat({a, a, whole, read, x[0], slice(a, 0, 1)})), times(read)};
  };
  const Plan plan = plan_of({2, 3, 2, 2}, f);
  EXPECT_EQ(note_of(plan, "concat:part1"), "copied, as 'relu' lies in another place already");
  EXPECT_EQ(note_of(plan, "concat:part2"), "copied, as 'times' writes it whole");
  EXPECT_EQ(note_of(plan, "concat:part3"), "copied, as 'times_1' reads it whole");
  EXPECT_EQ(note_of(plan, "concat:part4"), "copied, as 'x' is an input");
  EXPECT_EQ(note_of(plan, "concat:part5"), "copied, as 'slice' is a view of another value");
  EXPECT_EQ(note_of(plan, "concat:part0"), "no step concat:part0");
  EXPECT_TRUE(contains(plan_text(plan), "copied, as 'x' is an input"));
  expect_same_as_traced(FunctionModel(f), {{"x", {2, 3, 2, 2}}});
}

TEST(ViewsTest, WhatReadsContiguousMemoryGetsACopyOnce) {
  const auto f = [](const Values& x) {
    const Value part = slice(relu(x[0]), 1, 3);
    return Values{times(part), times(part), relu(part)};
  };
  const Plan plan = plan_of({2, 4, 2, 2}, f);
  EXPECT_EQ(paths(plan), (std::vector<std::string>{"relu", "slice:contiguous", "times", "times_1", "relu_1"}));
  EXPECT_EQ(note_of(plan, "slice:contiguous"), "copied, as 'times' reads it whole");
  expect_same_as_traced(FunctionModel(f), {{"x", {2, 4, 2, 2}}});
  // Of one image, a range of channels in nchw is contiguous; where it begins at a multiple of 16 bytes nothing is copied.
  EXPECT_EQ(paths(plan_of({1, 4, 2, 2}, f)), (std::vector<std::string>{"relu", "times", "times_1", "relu_1"}));
  EXPECT_EQ(paths(plan_of({1, 4, 1, 1}, f)).size(), 5U) << "at 4 bytes";
}

TEST(ViewsTest, OutputsHaveMemoryOfTheirOwn) {
  const auto f = [](const Values& x) {
    const Value y = relu(x[0]);
    return Values{slice(x[0], 0, 2), slice(y, 0, 2), y, y, reshape(y, {-1}), x[0], concat({y, x[0]})};
  };
  const Plan plan = plan_of({2, 4, 2, 2}, f);
  std::set<int> storages;
  for (const PlanPort& port : plan.outputs) {
    const PlanValue& value = plan.values[static_cast<std::size_t>(port.value)];
    EXPECT_TRUE(storages.insert(value.storage).second) << port.name;
    EXPECT_EQ(value.offset, 0) << port.name;
    EXPECT_EQ(plan.storages[static_cast<std::size_t>(value.storage)].where, Storage::Where::port) << port.name;
  }
  EXPECT_EQ(note_of(plan, "slice"), "copied, as 'y0' is an output");
  EXPECT_EQ(note_of(plan, "reshape"), "copied, as 'y2' is an output");
  expect_same_as_traced(FunctionModel(f), {{"x", {2, 4, 2, 2}}});
}

// What makes the last value writes into the output's memory, through a reshape or a permutation, and as parts.
TEST(ViewsTest, AnOutputIsWrittenThroughWhatLooksAtIt) {
  EXPECT_EQ(paths(plan_of({2, 4, 2, 2},
                          [](const Values& x) {
                            return Values{reshape(relu(x[0]), {2, 16})};
                          })),
            (std::vector<std::string>{"relu"}));
  EXPECT_EQ(paths(plan_of({2, 4, 6}, [](const Values& x) { return Values{transpose(relu(x[0]), 1, 2)}; })),
            (std::vector<std::string>{"relu"}));
  EXPECT_EQ(paths(plan_of({2, 4, 2, 2},
                          [](const Values& x) {
                            return Values{concat({relu(x[0]), x[0] * 2.0F})};
                          })),
            (std::vector<std::string>{"relu", "scale"}));
  const auto nested = [](const Values& x) {
    return Values{flatten(concat({concat({relu(x[0]), x[0] * 2.0F}), reshape(concat({x[0] * 3.0F, x[0]}, 3), {2, 8, 2, 2})}))};
  };
  expect_same_as_traced(FunctionModel(nested), {{"x", {2, 4, 2, 2}}});
}

TEST(ViewsTest, AnInputOfTheCallersIsLookedAtWhereverItLies) {
  const FunctionModel model([](const Values& x) {
    const Values halves = chunk(x[0], 2);
    return Values{halves[0] + halves[1], relu(permute(x[0], {0, 2, 3, 1}))};
  });
  Session net = compile(model, {{"x", {1, 2, 1, 2}}}, Device::reference());
  ASSERT_EQ(net.plan().steps.size(), 2U) << plan_text(net.plan());
  net.input().copy_from(Floats{1, 2, 3, 4});
  net.run();
  EXPECT_EQ(net.output("y0").floats(), (Floats{4, 6}));
  alignas(64) float mine[] = {10, 20, -30, 40}, out[4] = {};
  net.bind("x", mine);
  net.bind("y1", out);
  net.poison();
  net.run();
  EXPECT_EQ(net.output("y0").floats(), (Floats{-20, 60}));
  EXPECT_EQ(Floats(out, out + 4), (Floats{10, 0, 20, 40}));
  EXPECT_EQ(mine[2], -30) << "inputs are never written";
  net.bind("x", nullptr);
  net.run();
  EXPECT_EQ(net.output("y0").floats(), (Floats{4, 6}));
}

TEST(ViewsTest, AreTapped) {
  const FunctionModel model([](const Values& x) {
    const Value a = slice(relu(x[0]), 1, 3), b = concat({a * 2.0F, a});
    return Values{relu(b), relu(slice(x[0], 0, 1))};
  });
  Session net = compile(model, {{"x", {2, 4, 1, 1}}}, Device::reference());
  EXPECT_EQ(net.tap("slice"), (std::vector<std::string>{"slice"}));
  (void)net.tap("concat");
  (void)net.tap("slice_1");
  net.input().copy_from(Floats{1, 2, 3, 4, 5, 6, 7, 8});
  for (int run = 0; run < 2; ++run) {
    net.poison();
    net.run();
    EXPECT_EQ(net.tapped("slice").floats(), (Floats{2, 3, 6, 7}));
    EXPECT_EQ(net.tapped("concat").floats(), (Floats{4, 6, 2, 3, 12, 14, 6, 7}));
    EXPECT_EQ(net.tapped("slice_1").floats(), (Floats{1, 5})) << "a view of an input";
  }
  EXPECT_EQ(net.tap("*").size(), 8U);
  EXPECT_TRUE(contains(net.receipt().text(), "of the memory of")) << net.receipt().text();
  EXPECT_TRUE(contains(net.receipt().json(), "\"views\""));
}

TEST(ViewsTest, SurviveAnotherBatchAndEveryFormat) {
  const FunctionModel model([](const Values& x) {
    const Value y = times(x[0], {.formats = test::nhwc_only()});
    const Values parts = split(y, 2);
    return Values{relu(concat({parts[1], relu(parts[0])})), times(permute(y, {0, 3, 1, 2}), {.formats = test::nchw_only()})};
  });
  for (const Format format : {Format::nchw, Format::nhwc}) expect_same_as_traced(model, {{"x", {2, 4, 3, 2}, DType::f32, format}});
}

TEST(ViewsTest, CanBeLeftOut) {
  const auto f = [](const Values& x) { return Values{relu(concat({relu(x[0]), chunk(relu(x[0]), 2)[1]}))}; };
  const Plan plan = plan_of({2, 4, 2, 2}, f, {.views = false});
  EXPECT_TRUE(plan.views.empty());
  EXPECT_TRUE(plan.placed());
  EXPECT_EQ(plan.steps.size(), 5U);
  const Plan viewed = plan_of({2, 4, 2, 2}, f);
  const Plan again = without_views(viewed);
  EXPECT_TRUE(again.views.empty());
  again.validate();
  EXPECT_EQ(again.steps.size(), viewed.steps.size() + viewed.views.size());
}

TEST(ViewsTest, APlanThatLeavesItsStorageIsRefused) {
  Plan plan = plan_of({2, 4, 2, 2}, [](const Values& x) { return Values{relu(slice(x[0], 1, 3))}; });
  const Plan right = plan;
  PlanValue& view = plan.values[static_cast<std::size_t>(plan.views.at(0).step.outputs[0])];
  view.offset += 16;
  EXPECT_TRUE(contains(message_of<Error>([&] { plan.validate(); }), "plan: value 'slice' leaves its storage of 128 bytes"));
  view.offset = -1;
  EXPECT_THROW(plan.validate(), Error);
  plan = right;
  plan.views[0].before = 5;
  EXPECT_THROW(plan.validate(), Error) << "the view comes behind its reader";
  plan = right;
  plan.values.back().storage = 99;
  EXPECT_THROW(plan.validate(), Error);
}

// What linear attention over several scales is made of.
struct Scales : Module {
  Conv2d qkv{8, 96, 1, {.bias = false}}, depth{96, 96, 5, {.padding = 2, .groups = 96, .bias = false}},
      mix{96, 96, 1, {.groups = 3, .bias = false}};
  Scales() {
    add("qkv", qkv), add("depth", depth), add("mix", mix);
    init_random(*this, 5);
  }
  Value forward(Value x) const override {
    const Value y = qkv(x);
    return relu(concat({y, mix(depth(y))}));
  }
};

// In nhwc a convolution of one pixel writes its channels of a wider tensor, and a depthwise one reads them there.
TEST(ViewsTest, ConvolutionsWriteAndReadRangesOfChannels) {
  const Scales net;
  for (const DType t : {DType::f32, DType::bf16}) {
    Session session = compile(net, {{"x", {2, 8, 6, 5}, t, Format::nhwc}}, Device::reference());
    EXPECT_EQ(paths(session.plan()), (std::vector<std::string>{"qkv", "depth", "mix", "relu"})) << plan_text(session.plan());
    const VerifyReport report = verify(session);
    EXPECT_TRUE(report.ok()) << report.text();
  }
  // Channels that do not begin at a multiple of 16 bytes are copied.
  struct Odd : Module {
    Conv2d a{8, 3, 1}, b{8, 5, 1};
    Odd() { add("a", a), add("b", b); }
    Value forward(Value x) const override { return relu(concat({a(x), b(x)})); }
  } odd;
  init_random(odd, 5);
  const Plan plan = optimize(trace(odd, {{"x", {1, 8, 4, 4}, DType::bf16, Format::nhwc}}));
  EXPECT_EQ(paths(plan), (std::vector<std::string>{"a", "b", "concat:part1", "relu"}));
  EXPECT_EQ(note_of(plan, "concat:part1"), "copied, as 'b' writes it whole");
}

TEST(ViewsTest, ConvolutionsWriteAndReadRangesOfChannelsOnAGpu) {
  FRIEZE_NEEDS_GPU();
  const Scales net;
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    for (const bool tune : {false, true}) {
      for (const Shape& x : {Shape{2, 8, 6, 5}, Shape{1, 8, 64, 48}}) {
        Session session = compile(net, {{"x", x, t, Format::nhwc}}, Device::cuda(), {.tune = tune});
        EXPECT_EQ(paths(session.plan()), (std::vector<std::string>{"qkv", "depth", "mix", "relu"}));
        const VerifyReport report = verify(session);
        EXPECT_TRUE(report.ok()) << report.text();
      }
    }
  }
}

}  // namespace
}  // namespace frieze
