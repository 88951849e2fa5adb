/// Taps: which values a pattern means, and that looking changes nothing.
#include <gtest/gtest.h>

#include <cmath>

#include <frieze/graph/session.h>
#include <frieze/graph/taps.h>
#include <frieze/layers/batch_norm2d/batch_norm2d.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/upsample/upsample.h>

#include "graph/test_layers.h"

namespace frieze::test {
namespace {

struct TappedBlock : Module {
  Times first{{.factor = 2, .absorbs = 2}}, second{{.factor = 3}};
  TappedBlock() {
    add("first", first);
    add("second", second);
  }
  Value forward(Value x) const override { return second(relu(first(x))); }
};

struct TappedNet : Module {
  TappedBlock stage1, stage2;
  Times shared{{.factor = 5}};  // one module, used twice: two steps of one path
  TappedNet() {
    add("shared", shared);
    add("stage1", stage1);
    add("stage2", stage2);
  }
  Value forward(Value x) const override { return shared(shared(stage2(stage1(x)))); }
};

Session net_session(const TappedNet& net, CompileOptions options = {}) {
  return compile(net, {{"x", {1, 1, 1, 2}}}, Device::reference(), options);
}

TEST(TapPatternTest, NamesAreUnique) {
  const TappedNet net;
  const Session session = net_session(net);
  std::vector<std::string> names;
  for (const TapPoint& point : tap_points(session.plan())) names.push_back(point.name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"stage1.first+relu", "stage1.second", "stage2.first+relu", "stage2.second", "shared", "shared#2"}));
}

TEST(TapTest, AValueInTheMiddleIsSeen) {
  const TappedNet net;
  Session session = net_session(net);
  EXPECT_EQ(session.tap("stage1.first"), (std::vector<std::string>{"stage1.first+relu"}));
  session.input().copy_from(std::vector<float>{1, -1});
  EXPECT_TRUE(std::isnan(session.tapped("stage1.first").floats()[0])) << "nothing ran yet";
  session.run();
  EXPECT_EQ(session.tapped("stage1.first").floats(), (std::vector<float>{2, 0}));
  EXPECT_EQ(session.tapped("stage1.first+relu").floats(), (std::vector<float>{2, 0}));
  EXPECT_EQ(session.tap("stage2.*"), (std::vector<std::string>{"stage2.first+relu", "stage2.second"}));
  session.run();
  EXPECT_EQ(session.tapped("stage2.second").floats(), (std::vector<float>{36, 0}));
  EXPECT_EQ(session.tapped_names().size(), 3U) << "the first tap is still there";
  session.poison();
  EXPECT_TRUE(std::isnan(session.tapped("stage2.second").floats()[0]));
}

TEST(TapTest, AContainersPathMeansItsSteps) {
  const TappedNet net;
  Session session = net_session(net);
  EXPECT_EQ(session.tap("stage1"), (std::vector<std::string>{"stage1.first+relu", "stage1.second"}));
  session.untap();
  EXPECT_EQ(session.tap("stage?").size(), 4U);
  session.untap();
  EXPECT_EQ(session.tap("*2"), (std::vector<std::string>{"stage2.first+relu", "stage2.second", "shared#2"}));
  session.untap();
  EXPECT_THROW((void)session.tap("stage"), OptionError) << "the beginning of a name is no path";
  EXPECT_THROW((void)session.tap("stage1."), OptionError);
  (void)session.tap("stage2.second");
  session.input().copy_from(std::vector<float>{1, -1});
  session.run();
  EXPECT_EQ(session.tapped("stage2").floats(), session.tapped("stage2.second").floats()) << "one tapped step alone lies below it";
  (void)session.tap("stage2");
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)session.tapped("stage2"); }),
                       "'stage2' stands for several tapped values: name one of stage2.first+relu, stage2.second"));
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)session.tapped("stage1"); }), "'stage1' is not tapped"));
}

struct Folding : Module {
  struct Part : Module {
    Conv2d conv{1, 1, 3, {.padding = 1}};
    BatchNorm2d norm{1};
    Part() { add("conv", conv), add("norm", norm); }
    Value forward(Value x) const override { return relu(norm(conv(x))); }
  };
  ModuleList<Part> layer;
  Upsample upsample{2};
  Conv2d up{1, 1, 3, {.padding = 1}};
  Folding() {
    layer.emplace_back(), layer.emplace_back();
    add("layer", layer), add("upsample", upsample), add("up", up);
    init_random(*this, 5);
  }
  Value forward(Value x) const override { return up(upsample(layer(x))); }
};

TEST(TapTest, ALayerThatWasFoldedAwayMeansTheStepThatComputesIt) {
  const std::vector<InputSpec> inputs{{"x", {1, 1, 3, 4}}};
  Session folded = compile(Folding(), inputs, Device::reference());
  Session plain = compile(Folding(), inputs, Device::reference(), {.passes = {false, false, false}});
  for (Session* net : {&folded, &plain}) net->input().copy_from(ramp(12, 0.1F));
  EXPECT_EQ(folded.tap("layer.0"), (std::vector<std::string>{"layer.0.conv+relu"}));
  EXPECT_EQ(folded.tap("layer.1.norm"), (std::vector<std::string>{"layer.1.conv+relu"}));
  EXPECT_EQ(folded.tap("up"), (std::vector<std::string>{"up"}));
  (void)plain.tap("*");
  folded.run(), plain.run();
  const auto expect_near = [&](const std::string& at, const std::string& as) {
    const std::vector<float> got = folded.tapped(at).floats(), expected = plain.tapped(as).floats();
    ASSERT_EQ(got.size(), expected.size()) << at;
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-5) << at;
  };
  expect_near("layer.0.norm", "layer.0.relu");
  expect_near("layer.0", "layer.0.relu");
  expect_near("layer.1.norm", "layer.1.relu");
  expect_near("up", "up");
  const std::string message = message_of<OptionError>([&] { (void)folded.tap("upsample"); });
  EXPECT_TRUE(contains(message, "'upsample' has no value of its own: a rewrite made it part of 'up'")) << message;
}

TEST(TapTest, AllOfThemEqualWhatASessionKeepsThatReusesNoMemory) {
  const TappedNet net;
  Session tapped = net_session(net), kept = net_session(net, {.keep_values = true});
  EXPECT_LT(tapped.memory_plan().arena_bytes, kept.memory_plan().arena_bytes) << "or this proves nothing about reused memory";
  const std::int64_t arena = tapped.memory_plan().arena_bytes;
  const std::vector<std::string> names = tapped.tap();
  ASSERT_EQ(names.size(), tapped.plan().steps.size());
  EXPECT_EQ(tapped.memory_plan().arena_bytes, arena);
  for (Session* session : {&tapped, &kept}) {
    session->input().copy_from(std::vector<float>{3, -4});
    session->run();
  }
  for (std::size_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(tapped.tapped(names[i]).floats(), kept.value(kept.plan().steps[i].output()).floats()) << names[i];
  }
  tapped.untap();
  EXPECT_TRUE(tapped.tapped_names().empty());
  tapped.run();
  EXPECT_EQ(tapped.output().floats(), kept.output().floats());
}

TEST(TapTest, AnAbsorbedOperationMeansTheWholeStep) {
  const TappedNet net;
  Session session = net_session(net);
  EXPECT_EQ(session.tap("stage1.relu"), (std::vector<std::string>{"stage1.first+relu"}));
}

TEST(TapTest, WhatIsNotThereIsRefusedWithNames) {
  const TappedNet net;
  Session session = net_session(net);
  EXPECT_TRUE(contains(message_of<OptionError>([&] { session.tap("stage3.*"); }), "the model has stage1.first+relu, stage1.second"));
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)session.tapped("stage1.first"); }), "nothing is"));
  session.tap("shared");
  EXPECT_EQ(session.tapped_names(), (std::vector<std::string>{"shared", "shared#2"})) << "both have this module path";
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)session.tapped("stage1.first"); }), "these are: shared, shared#2"));
}

}  // namespace
}  // namespace frieze::test
