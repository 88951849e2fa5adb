// Each rewrite proven on its own: right ones pass with their budget, planted wrong ones are named.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/batch_norm2d/batch_norm2d.h>
#include <frieze/layers/channel_shortcut/channel_shortcut.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/upsample/upsample.h>

#include "graph/test_layers.h"
#include "support/registered_rewrite.h"

namespace frieze::test {
namespace {

// Every rewrite of the library, and a second turn of one: two norms behind one convolution.
struct AllRewrites final : Module {
  Conv2d conv{4, 8, 3, {.padding = 1, .bias = false}}, up{8, 4, 3, {.padding = 1}};
  BatchNorm2d norm{8}, again{8};
  AllRewrites() {
    add("conv", conv), add("norm", norm), add("again", again), add("up", up);
    init_random(*this, 3);
  }
  Value forward(Value x) const override {
    const Value v = relu(again(norm(conv(x))));
    return up(upsample(v, 2)) + duplicating_shortcut(v, 4, 2);
  }
};

const std::vector<InputSpec> kImage{{"x", {2, 4, 5, 3}}};

TEST(VerifyRewritesTest, TheLibrarysAreRight) {
  for (const DType t : {DType::f32, DType::bf16}) {
    for (const Format f : {Format::nchw, Format::nhwc}) {
      const AllRewrites model;
      const std::vector<VerifyRewrite> found = verify_rewrites(trace(model, {{"x", {2, 4, 5, 3}, t, f}}));
      ASSERT_EQ(found.size(), 3U);
      EXPECT_EQ(found[0].name, "batch norm into weights");
      EXPECT_EQ(found[0].times, 2);
      EXPECT_EQ(found[1].name, "shortcut where it is added");
      EXPECT_EQ(found[2].name, "nearest x2 before 3x3 as phases");
      EXPECT_EQ(found[2].path, "up");
      for (const VerifyRewrite& r : found) {
        EXPECT_TRUE(r.ok()) << r.name << ": share " << r.worst.share;
        EXPECT_GT(r.worst.budget, 0) << r.name;
        EXPECT_LT(r.worst.max_rel, 1e-6) << r.name << ": in f32, whatever the run's type";
      }
      EXPECT_GT(found[0].worst.share, 0) << "or nothing was compared";
    }
  }
  EXPECT_TRUE(verify_rewrites(trace(AllRewrites(), kImage), {.rewrite = false}).empty());
  EXPECT_EQ(verify_rewrites(trace(AllRewrites(), kImage), {.without = {"batch norm into weights"}}).size(), 2U);
}

TEST(VerifyRewritesTest, CancellationIsWithinTheBudget) {
  // The convolution gives about 3000, of which the norm takes all but a thousandth away and enlarges the rest.
  struct Cancelling final : Module {
    Conv2d conv{1, 1, 3, {.padding = 1}};
    BatchNorm2d norm{1, 0};
    Cancelling() {
      add("conv", conv), add("norm", norm);
      init_random(*this, 3);
      conv.Module::parameters()[1]->values = {3000};
      norm.Module::parameters()[2]->values = {3000};
      norm.Module::parameters()[3]->values = {1e-4F};
    }
    Value forward(Value x) const override { return norm(conv(x)); }
  };
  const std::vector<VerifyRewrite> found = verify_rewrites(trace(Cancelling(), {{"x", {1, 1, 16, 16}}}));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_TRUE(found[0].ok()) << found[0].worst.share;
  EXPECT_GT(found[0].worst.max_abs, 1e-3) << "the f32 value of the convolution is that coarse";
}

std::shared_ptr<const Layer> times_by(float factor, std::size_t absorbs = 0) {
  return std::make_shared<Times>(TimesOptions{.factor = factor, .absorbs = absorbs});
}

// y = 0 * by3(by2(x)): wrong values in between reach no output.
Value hidden_by_zero(Value x) { return times(times(x), {.factor = 3}) * 0.0F; }

struct Planted {
  const char* what;
  std::function<NewStep(const StepView& shown)> give;  // in the place of by 3
};

TEST(VerifyRewritesTest, AWrongOneIsCaughtByItsName) {
  const auto nan = std::numeric_limits<float>::quiet_NaN();
  const Planted cases[] = {
      {"a factor that is off by a millionth",
       [](const StepView& s) {
         return NewStep{times_by(3.000003F), {s.input(0)}};
       }},
      {"another sign",
       [](const StepView& s) {
         return NewStep{times_by(-3), {s.input(0)}};
       }},
      {"NaN",
       [&](const StepView& s) {
         return NewStep{times_by(nan), {s.input(0)}};
       }},
      {"another input",
       [](const StepView& s) {
         return NewStep{times_by(3), {s.maker(0)->input(0)}};
       }},
      {"nothing at all",
       [](const StepView& s) {
         return NewStep{times_by(0), {s.input(0)}};
       }},
  };
  for (const Planted& planted : cases) {
    const RegisteredRewrite wrong("planted", [&](const StepView& shown) -> std::optional<Replacement> {
      const auto* layer = shown.as<Times>();
      // What it gives has a factor of 3 in one case, where it takes the model's input: it is not replaced again.
      if (layer == nullptr || layer->options().factor != 3 || !shown.maker(0)) return std::nullopt;
      return Replacement{{planted.give(shown)}};
    });
    const RegisteredRewrite right("right beside it", [](const StepView& shown) -> std::optional<Replacement> {
      const auto* layer = shown.as<Times>();
      if (layer == nullptr || layer->options().factor != 2) return std::nullopt;
      return Replacement{{{times_by(4), {shown.input(0)}}, {times_by(0.5F), {ValueRef::made_by(0)}}}};
    });
    const std::vector<VerifyRewrite> found = verify_rewrites(trace(Lambda(hidden_by_zero), kImage));
    ASSERT_EQ(found.size(), 2U) << planted.what;
    EXPECT_EQ(found[0].name, "planted");
    EXPECT_FALSE(found[0].ok()) << planted.what << ": share " << found[0].worst.share;
    EXPECT_EQ(found[0].path, "times_1");
    EXPECT_TRUE(found[1].ok()) << planted.what;

    Session net = compile(Lambda(hidden_by_zero), kImage, Device::reference());
    VerifyReport report = verify(net);
    report.layers.clear(), report.first_non_finite.clear();  // NaN is found there too
    EXPECT_TRUE(report.ok());
    report.rewrites = found;
    EXPECT_FALSE(report.ok());
    EXPECT_TRUE(contains(report.text(), "wrong rewrite: 'planted' at times_1"));
    EXPECT_TRUE(contains(report.text(), "rewrites within their budget: 1 of 2"));
    const auto json = nlohmann::json::parse(report.json());
    EXPECT_EQ(json["rewrites"][0]["name"], "planted");
    EXPECT_EQ(json["rewrites"][0]["ok"], false);
    EXPECT_EQ(json["rewrites"][1]["ok"], true);
    EXPECT_EQ(json["ok"], false);
  }
}

TEST(VerifyRewritesTest, AWrongOneAfterFusionToo) {
  const Lambda model([](Value x) { return relu(times(x, {.factor = 3, .absorbs = 1})); });
  for (const bool keeps : {true, false}) {
    const RegisteredRewrite own(
        "keeps the chain, or not",
        [&](const StepView& shown) -> std::optional<Replacement> {
          const auto* layer = dynamic_cast<const Times*>(&shown.layer());
          if (layer == nullptr || layer->options().factor != 3) return std::nullopt;
          std::vector<FusedOp> chain(shown.epilogue().begin(), shown.epilogue().end());
          if (!keeps) chain.clear();
          return Replacement{{{times_by(1.5F), {shown.input(0)}}, {times_by(2, 1), {ValueRef::made_by(0)}, chain}}};
        },
        RewriteStage::after_fusion);
    const std::vector<VerifyRewrite> found = verify_rewrites(trace(model, kImage));
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].ok(), keeps) << found[0].worst.share;
    EXPECT_EQ(verify_rewrites(trace(model, kImage), {.fuse = false}).at(0).ok(), true) << "there is no chain then";
  }
}

TEST(VerifyRewritesTest, OneThatForgetsTheBorderIsCaught) {
  // A 3x3 convolution whose taps but for the middle and the last are zero, as one of the middle alone: wrong by a small weight.
  struct Corner final : Module {
    Conv2d conv{1, 1, 3, {.padding = 1, .bias = false}};
    Corner() {
      add("conv", conv);
      conv.Module::parameters()[0]->values = {0, 0, 0, 0, 1, 0, 0, 0, 1e-5F};
    }
    Value forward(Value x) const override { return conv(x); }
  };
  const RegisteredRewrite own("middle tap", [](const StepView& shown) -> std::optional<Replacement> {
    const auto* conv = shown.as<Conv2d>();
    if (conv == nullptr || conv->kernel() == Size2d(1)) return std::nullopt;
    auto made = std::make_shared<Conv2d>(1, 1, 1, Conv2dOptions{.bias = false});
    made->Module::parameters()[0]->values = {1};
    return Replacement{{{made, {shown.input(0)}}}};
  });
  const std::vector<VerifyRewrite> found = verify_rewrites(trace(Corner(), {{"x", {1, 1, 6, 6}}}));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_FALSE(found[0].ok()) << found[0].worst.share;
}

TEST(VerifyRewritesTest, TakesTheCallersInputsAndRefusesWhatDoesNotFit) {
  const AllRewrites model;
  VerifyOptions options;
  options.inputs.emplace_back(TensorSpec{{2, 4, 5, 3}, DType::f32}, ramp(120));
  for (const VerifyRewrite& r : verify_rewrites(trace(model, kImage), {}, options)) EXPECT_TRUE(r.ok()) << r.name;
  options.inputs.emplace_back(TensorSpec{{2, 4, 5, 3}, DType::f32}, ramp(120));
  EXPECT_THROW((void)verify_rewrites(trace(model, kImage), {}, options), OptionError);
  options.inputs.clear();
  options.inputs.emplace_back(TensorSpec{{2, 4, 5, 2}, DType::f32}, ramp(80));
  EXPECT_THROW((void)verify_rewrites(trace(model, kImage), {}, options), ShapeError);
  EXPECT_THROW((void)verify_rewrites(trace(model, kImage), {.without = {"no such"}}), OptionError);
  const Conv2d unfilled(4, 4, 1);
  EXPECT_THROW((void)verify_rewrites(trace(unfilled, kImage)), WeightsError);
}

}  // namespace
}  // namespace frieze::test
