#include <gtest/gtest.h>

#include <frieze/core/error.h>
#include <frieze/core/load.h>
#include <frieze/graph/session.h>
#include <frieze/layers/conv1d/conv1d.h>
#include <frieze/layers/conv2d/conv2d.h>
#include "support/reference.h"

namespace frieze {
namespace {

using test::message_of;

struct Sound final : Module {
  Conv1d conv{3, 4, 3, {.padding = 1}};
  ConvTranspose1d up{4, 2, 2, {.stride = 2, .bias = false}};
  Sound() { add("conv", conv), add("up", up); }
  Value forward(Value x) const override { return up(conv(x)); }
};

TEST(Conv1dTest, ParametersHaveTheNamesAndShapesOfPyTorch) {
  Sound model;
  std::vector<std::string> keys;
  model.visit_parameters([&](const std::string& key, Parameter& p) { keys.push_back(concat_text(key, ' ', p.shape)); });
  EXPECT_EQ(keys, (std::vector<std::string>{"conv.weight [4,3,3]", "conv.bias [4]", "up.weight [4,2,2]"}));
}

TEST(Conv1dTest, StepsHaveTheModulesPathAndReshapesAreViews) {
  Sound model;
  init_random(model, 1);
  const Session net = compile(model, {{"x", {2, 3, 8}}}, Device::reference());
  std::vector<std::string> steps;
  for (const Step& step : net.plan().steps) {
    if (step.layer->type_name().find("Conv") != std::string_view::npos) steps.push_back(step.path + ' ' + step.layer->describe());
  }
  EXPECT_EQ(steps, (std::vector<std::string>{"conv 3->4 1x3 padding 0x1", "up 4->2 1x2 stride 1x2 no bias"}));
  EXPECT_EQ(net.output().spec().shape, (Shape{2, 2, 16}));
}

TEST(Conv1dTest, AModelMayDieBeforeItsSession) {
  std::optional<Session> net;
  std::vector<float> kept;
  {
    Sound model;
    init_random(model, 1);
    net.emplace(compile(model, {{"x", {1, 3, 8}}}, Device::reference()));
    net->input().copy_from(test::iota(24));
    net->run();
    kept = net->output().floats();
    for (Parameter* p : model.conv.parameters()) p->values.assign(p->values.size(), 0.0F);
  }
  net->run();
  EXPECT_EQ(net->output().floats(), kept);
}

TEST(Conv1dTest, Refusals) {
  Sound model;
  const std::string unfilled = message_of<WeightsError>([&] { (void)compile(model, {{"x", {1, 3, 8}}}, Device::reference()); });
  EXPECT_NE(unfilled.find("conv.weight"), std::string::npos) << unfilled;
  init_random(model, 1);
  const std::string flat = message_of<ShapeError>([&] { (void)compile(model, {{"x", {1, 3, 8, 8}}}, Device::reference()); });
  EXPECT_EQ(flat, "conv (Conv1d) expects rank 3 as [N,C,L], got [1,3,8,8] of rank 4");
  const std::string channels = message_of<ShapeError>([&] { (void)compile(model, {{"x", {1, 5, 8}}}, Device::reference()); });
  EXPECT_EQ(channels.find("conv: Conv2d expects 3 input channels, got 5"), 0U) << channels;
  EXPECT_THROW(Conv1d(3, 4, 0), OptionError);
  EXPECT_THROW(Conv1d(3, 4, 3, {.padding = -2}), OptionError);
  EXPECT_THROW(ConvTranspose1d(3, 4, 3, {.output_padding = 1}), OptionError);
}

}  // namespace
}  // namespace frieze
