// What `frieze op` takes for a setting that is not given is what the layer in C++ takes for an option that is not given.
#include <gtest/gtest.h>

#include <frieze/core/error.h>
#include <frieze/layers/attention/attention.h>
#include <frieze/layers/batch_norm2d/batch_norm2d.h>
#include <frieze/layers/conv1d/conv1d.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/conv_transpose2d/conv_transpose2d.h>
#include <frieze/layers/group_norm/group_norm.h>
#include <frieze/layers/interpolate/interpolate.h>
#include <frieze/layers/layer_norm/layer_norm.h>
#include <frieze/layers/linear/linear.h>
#include <frieze/layers/linear_attention2d/linear_attention2d.h>
#include <frieze/layers/pad/pad.h>
#include <frieze/layers/pool2d/pool2d.h>
#include <frieze/layers/rms_norm/rms_norm.h>
#include <frieze/layers/rms_norm2d/rms_norm2d.h>
#include <frieze/layers/softmax/softmax.h>

#include "tools/frieze/layer_registry.h"

namespace frieze::test {
namespace {

std::shared_ptr<Layer> made(const char* name, const std::vector<std::pair<std::string, Shape>>& tensors,
                            const std::vector<std::string>& settings = {}) {
  tools::Tensors all;
  for (const auto& [key, shape] : tensors)
    all.emplace(key, HostTensor({shape}, std::vector<float>(static_cast<std::size_t>(shape.elements()), 1)));
  tools::Settings given(settings);
  return tools::find_layer(name).make(all, given);
}

std::string meaning(const char* layer, const std::string& key) {
  for (const tools::SettingHelp& help : tools::find_layer(layer).settings) {
    if (help.key == key) return std::string(help.meaning);
  }
  return "no such setting";
}

TEST(OpDefaults, Conv2dIsConv2d) {
  const Conv2d plain(3, 4, {3, 5});
  const auto layer = made("conv2d", {{"x", {1, 3, 9, 9}}, {"weight", {4, 3, 3, 5}}, {"bias", {4}}});
  const auto& conv = dynamic_cast<const Conv2d&>(*layer);
  EXPECT_EQ(conv.padding(), plain.padding());
  EXPECT_EQ(conv.stride(), plain.stride());
  EXPECT_EQ(conv.dilation(), plain.dilation());
  EXPECT_EQ(conv.groups(), plain.groups());
  EXPECT_EQ(conv.has_bias(), plain.has_bias());
  EXPECT_EQ(conv.describe(), plain.describe());
  EXPECT_EQ(meaning("conv2d", "padding").substr(0, 2), "0;");
  const auto same = made("conv2d", {{"weight", {4, 3, 3, 5}}}, {"padding=-1"});
  EXPECT_EQ(dynamic_cast<const Conv2d&>(*same).padding(), Size2d(1, 2));
}

TEST(OpDefaults, SpatialLayersAreThoseOfCpp) {
  const auto padded = made("conv2d", {{"weight", {4, 3, 3, 3}}}, {"padding=0,1,2,3", "padding_mode=reflect"});
  EXPECT_EQ(dynamic_cast<const Conv2d&>(*padded).padding(), Padding2d(0, 1, 2, 3));
  EXPECT_EQ(dynamic_cast<const Conv2d&>(*padded).padding_mode(), PadMode::reflect);
  EXPECT_THROW(made("pad", {}, {"padding=1,2,3"}), OptionError);
  EXPECT_THROW(made("pad", {}, {"padding=1,,2,3"}), OptionError);
  EXPECT_EQ(made("pad", {}, {"padding=1x2"})->describe(), Pad({1, 2}).describe());
  EXPECT_EQ(made("interpolate", {}, {"scale=2"})->describe(), Interpolate({.scale_factor = 2}).describe());
  EXPECT_EQ(made("interpolate", {}, {"size=3x4", "mode=bicubic", "antialias=true"})->describe(),
            Interpolate({.size = {3, 4}, .mode = InterpolateMode::bicubic, .antialias = true}).describe());
  const ConvTranspose2d transposed(6, 4, {3, 5}, {.groups = 2});
  EXPECT_EQ(made("conv_transpose2d", {{"weight", {6, 2, 3, 5}}, {"bias", {4}}}, {"groups=2"})->describe(), transposed.describe());
}

// These are modules of several steps.
TEST(OpDefaults, Conv1dIsConv1d) {
  tools::Tensors tensors;
  tensors.emplace("weight", HostTensor({{4, 3, 5}}, std::vector<float>(60)));
  tools::Settings none(std::vector<std::string>{});
  EXPECT_EQ(tools::find_layer("conv1d").make, nullptr);
  const auto layer = tools::find_layer("conv1d").make_module(tensors, none);
  EXPECT_EQ(dynamic_cast<const Conv1d&>(*layer).weight().shape, (Shape{4, 3, 5}));
  const auto transposed = tools::find_layer("conv_transpose1d").make_module(tensors, none);
  EXPECT_EQ(dynamic_cast<const ConvTranspose1d&>(*transposed).weight().shape, (Shape{4, 3, 5}));
}

TEST(OpDefaults, RmsNorm2dIsRmsNorm2dInEveryMode) {
  for (const EpsMode mode : {EpsMode::add_inside, EpsMode::clamp_norm, EpsMode::clamp_mean_square, EpsMode::add_to_rms, EpsMode::none}) {
    const RMSNorm2d plain(3, {.eps_mode = mode});
    const auto layer = made("rms_norm2d", {{"x", {1, 3, 2, 2}}, {"weight", {3}}}, {"eps_mode=" + std::string(name(mode))});
    const RMSNorm2dOptions &a = dynamic_cast<const RMSNorm2d&>(*layer).options(), &b = plain.options();
    EXPECT_EQ(*a.eps, *b.eps) << name(mode);
    EXPECT_EQ(*b.eps, mode == EpsMode::clamp_norm ? 1e-12 : 1e-5) << name(mode);
    EXPECT_EQ(a.rounding, b.rounding);
    EXPECT_EQ(a.activation, b.activation);
    EXPECT_EQ(a.residual, b.residual);
    EXPECT_EQ(layer->describe(), plain.describe());
  }
  EXPECT_EQ(*RMSNorm2d(3, {.eps = 1e-5, .eps_mode = EpsMode::clamp_norm}).options().eps, 1e-5) << "a value that is given stays";
}

TEST(OpDefaults, OthersAreTheirOwn) {
  EXPECT_EQ(made("batch_norm2d", {{"x", {1, 3, 2, 2}}})->describe(), BatchNorm2d(3).describe());
  const auto attention = made("linear_attention2d", {}, {"head_dim=8"});
  EXPECT_EQ(dynamic_cast<const LinearAttention2d&>(*attention).eps(), LinearAttention2d(8).eps());
  EXPECT_EQ(made("linear", {{"weight", {4, 3}}, {"bias", {4}}})->describe(), Linear(3, 4).describe());
}

TEST(OpDefaults, NormalisationsAreTheirOwn) {
  const std::vector<std::pair<std::string, Shape>> x{{"x", {2, 12, 3, 5}}};
  const auto with = [&](std::vector<std::pair<std::string, Shape>> more) {
    more.push_back(x[0]);
    return more;
  };
  EXPECT_EQ(made("layer_norm", with({{"weight", {5}}, {"bias", {5}}}))->describe(), LayerNorm(5).describe());
  EXPECT_EQ(made("layer_norm", with({{"weight", {3, 5}}}))->describe(), LayerNorm(Shape{3, 5}, {.bias = false}).describe());
  EXPECT_EQ(made("layer_norm", x, {"axes=3"})->describe(), LayerNorm(Shape{12, 3, 5}, {.affine = false}).describe());
  EXPECT_EQ(made("layer_norm2d", with({{"weight", {12}}, {"bias", {12}}}))->describe(), LayerNorm2d(12).describe());
  EXPECT_EQ(made("group_norm", with({{"weight", {12}}, {"bias", {12}}}), {"groups=3"})->describe(), GroupNorm(3, 12).describe());
  EXPECT_EQ(made("instance_norm2d", x)->describe(), InstanceNorm2d(12).describe());
  EXPECT_EQ(made("rms_norm", with({{"weight", {5}}}))->describe(), RMSNorm(5).describe());
  EXPECT_THROW((void)made("layer_norm", x, {"axes=5"}), OptionError);
  EXPECT_THROW((void)made("layer_norm", with({{"bias", {5}}})), OptionError);
  EXPECT_THROW((void)made("group_norm", x), OptionError);
  EXPECT_THROW((void)made("group_norm", {{"x", {12}}}, {"groups=3"}), ShapeError);
  EXPECT_THROW((void)made("rms_norm", {}), ShapeError);
}

TEST(OpDefaults, PoolingsAreTheirOwn) {
  EXPECT_EQ(made("max_pool2d", {}, {"kernel=3x2"})->describe(), MaxPool2d(Size2d(3, 2)).describe());
  EXPECT_EQ(made("max_pool2d", {}, {"kernel=3", "stride=2", "padding=1", "dilation=1", "ceil_mode=true"})->describe(),
            MaxPool2d(3, {.stride = 2, .padding = 1, .ceil_mode = true}).describe());
  EXPECT_EQ(made("avg_pool2d", {}, {"kernel=3"})->describe(), AvgPool2d(3).describe());
  EXPECT_EQ(made("avg_pool2d", {}, {"kernel=3", "count_include_pad=false"})->describe(),
            AvgPool2d(3, {.count_include_pad = false}).describe());
  EXPECT_EQ(made("avg_pool2d", {}, {"kernel=3", "divisor=5"})->describe(), AvgPool2d(3, {.divisor_override = 5}).describe());
  EXPECT_EQ(made("adaptive_avg_pool2d", {}, {"output=7x1"})->describe(), AdaptiveAvgPool2d({7, 1}).describe());
  EXPECT_EQ(made("adaptive_max_pool2d", {}, {"output=7"})->describe(), AdaptiveMaxPool2d(7).describe());
  for (const char* layer : {"max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"}) {
    EXPECT_THROW((void)made(layer, {}), OptionError) << layer;
  }
}

// What a constructor asks for, the command asks for.
TEST(OpDefaults, WhatHasNoDefaultIsAskedFor) {
  EXPECT_THROW((void)made("linear_attention2d", {}), OptionError);
  EXPECT_THROW((void)made("averaging_shortcut", {}, {"channels=4"}), OptionError);
  EXPECT_THROW((void)made("duplicating_shortcut", {}, {"channels=4"}), OptionError);
  for (const char* layer : {"upsample", "pixel_shuffle", "pixel_unshuffle", "scale"})
    EXPECT_THROW((void)made(layer, {}), OptionError) << layer;
}

TEST(OpDefaults, AttentionAndSoftmaxAreTheLayers) {
  const AttentionOptions plain,
      made_of = dynamic_cast<const ScaledDotProductAttention&>(*made("scaled_dot_product_attention", {})).options();
  EXPECT_EQ(made_of.is_causal, plain.is_causal);
  EXPECT_EQ(made_of.scale, plain.scale);
  EXPECT_EQ(made_of.enable_gqa, plain.enable_gqa);
  EXPECT_EQ(made("scaled_dot_product_attention", {}, {"is_causal=true", "scale=0.5", "enable_gqa=true"})->describe(),
            "causal, scale 0.5, grouped heads");
  EXPECT_EQ(dynamic_cast<const Softmax&>(*made("softmax", {})).axis(), Softmax().axis());
  EXPECT_EQ(meaning("softmax", "axis"), std::to_string(Softmax().axis()));
}

}  // namespace
}  // namespace frieze::test
