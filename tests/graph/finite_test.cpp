// NaN and Inf: where they come from, and that nobody takes them for results.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include <frieze/graph/finite.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/linear/linear.h>

#include "graph/test_layers.h"
#include "support/temp_folder.h"

namespace frieze::test {
namespace {

constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN(), kInfinite = std::numeric_limits<float>::infinity();

// x * 300, then again: past 65504 in f16 for any |x| above 0.73.
struct Growing : Module {
  Conv2d first{1, 1, 1, {.bias = false}}, second{1, 1, 1, {.bias = false}}, third{1, 1, 1, {.bias = false}};
  Growing() {
    add("first", first), add("second", second), add("third", third);
    for (Conv2d* conv : {&first, &second, &third}) conv->parameters()[0]->values = {300};
  }
  Value forward(Value x) const override { return third(relu(second(first(x)))) * 0.5F; }
};

Session growing(DType t, std::int64_t width = 4) { return compile(Growing(), {{"x", {1, 1, 1, width}, t}}, Device::reference()); }

TEST(VerifyFinite, OverflowFailsAndNamesTheFirstLayer) {
  const VerifyReport report = verify(growing(DType::f16, 100));
  EXPECT_FALSE(report.ok());
  EXPECT_EQ(report.first_non_finite, "second+relu");
  EXPECT_EQ(report.inputs_non_finite, 0);
  EXPECT_EQ(report.layers[0].nan + report.layers[0].inf, 0);
  EXPECT_GT(report.layers[1].inf, 0);
  EXPECT_TRUE(contains(report.text(), "first NaN or Inf: second+relu makes it from finite inputs\n"));
  EXPECT_TRUE(contains(report.text(), concat_text("0 NaN, ", report.layers[1].inf, " Inf")));
  EXPECT_TRUE(contains(report.text(), "verify: FAILED"));
  const auto json = nlohmann::json::parse(report.json());
  EXPECT_EQ(json["first_non_finite"], "second+relu");
  EXPECT_EQ(json["inputs_non_finite"], 0);
  EXPECT_EQ(json["layers"][1]["inf"], report.layers[1].inf);
  for (const DType t : {DType::bf16, DType::f32}) EXPECT_TRUE(verify(growing(t)).ok()) << t;
}

TEST(VerifyFinite, AWeightThatIsNaNFails) {
  for (const float bad : {kNotANumber, kInfinite}) {
    Growing model;
    model.second.parameters()[0]->values = {bad};
    const VerifyReport report = verify(compile(model, {{"x", {1, 1, 1, 4}}}, Device::reference(), {.passes = {.fuse = false}}));
    EXPECT_FALSE(report.ok()) << bad;
    EXPECT_EQ(report.first_non_finite, "second");
  }
}

TEST(VerifyFinite, WhatTheInputsHoldPassesThrough) {
  const Session net = growing(DType::f32);
  for (const float bad : {kNotANumber, kInfinite, -kInfinite}) {
    VerifyOptions options;
    options.inputs.emplace_back(TensorSpec{{1, 1, 1, 4}}, std::vector<float>{1, bad, 2, 3});
    const VerifyReport report = verify(net, options);
    EXPECT_TRUE(report.ok()) << bad;
    EXPECT_EQ(report.inputs_non_finite, 1);
    EXPECT_TRUE(contains(report.text(), ", of inputs that hold 1\n"));
  }
  // 1e5 is Inf already when f16 takes it in.
  VerifyOptions options;
  options.inputs.emplace_back(TensorSpec{{1, 1, 1, 4}}, std::vector<float>{0.1F, 1e5F, 0.1F, 0.1F});
  EXPECT_EQ(verify(growing(DType::f16), options).inputs_non_finite, 1);
}

TEST(VerifyFinite, ABudgetThatIsNoNumberExcusesNothing) {
  const std::vector<float> got{2}, ref{1}, inf{kInfinite};
  for (const double terms : {std::nan(""), HUGE_VAL}) {
    EXPECT_FALSE(difference(inf, ref, DType::f32, {.roundings = 1, .terms = terms}).share <= 1) << terms;
  }
  EXPECT_FALSE(difference(got, ref, DType::f32, {.roundings = std::nan(""), .terms = 1}).share <= 1);
  EXPECT_FALSE(difference(got, ref, DType::f32, {.roundings = 1, .terms = 1}, std::nan("")).share <= 1);
  EXPECT_FALSE(difference(std::vector<float>{kNotANumber}, ref, DType::f32, {}).share <= 1);
  EXPECT_FALSE(difference(ref, std::vector<float>{kNotANumber}, DType::f32, {}).share <= 1);
  EXPECT_EQ(difference(ref, ref, DType::f32, {.roundings = std::nan(""), .terms = 1}).share, 0);
}

TEST(CheckFinite, NamesTheFirstStepAndAWayOut) {
  Session net = growing(DType::f16);
  net.input().copy_from(std::vector<float>{0.1F, 1, -1, 0.2F});
  net.run();
  const std::string message = message_of<NonFiniteError>([&] { (void)check_finite(net, net.output().floats()); });
  EXPECT_EQ(message,
            "the model's output holds 0 NaN and 3 Inf among 4 values: second+relu (Conv2d 1->1 1x1 no bias) is the first to make some: 0 "
            "NaN and 1 Inf among 4 values in f16; bf16 or f32 hold larger values");
}

TEST(CheckFinite, FiniteOutputsAreLeftAlone) {
  Session net = growing(DType::f16);
  net.input().copy_from(std::vector<float>{0.1F, 0.2F, 0, -9});
  net.run();
  EXPECT_EQ(check_finite(net, std::vector<float>{1, 2}), "");
}

TEST(CheckFinite, WhatTheInputHoldsIsNotTheModelsFault) {
  Session net = growing(DType::f32);
  net.input().copy_from(std::vector<float>{1, kNotANumber, 1, 1});
  net.run();
  EXPECT_EQ(check_finite(net, net.output().floats()),
            "the input holds 1 NaN and 0 Inf, which the model passes on: 1 NaN and 0 Inf among 4 values in its output");
}

TEST(CheckFinite, TheTapsThatThereWereAreSetAgain) {
  Session net = growing(DType::f16);
  (void)net.tap("third");
  net.input().copy_from(std::vector<float>{1, 1, 1, 1});
  net.run();
  EXPECT_THROW((void)check_finite(net, net.output().floats()), NonFiniteError);
  EXPECT_EQ(net.tapped_names().size(), 1U);
  net.run();
  EXPECT_TRUE(std::isinf(net.tapped("third").floats()[0]));
}

class LoadFinite : public ::testing::Test {
 protected:
  Weights with(std::vector<float> values, DType t = DType::f32) {
    std::map<std::string, HostTensor> tensors;
    tensors.emplace("weight", HostTensor({{2, 2}, t}, values));
    save_safetensors(folder_.file("w.safetensors"), tensors);
    return Weights::open(folder_.file("w.safetensors"));
  }
  TempFolder folder_;
};

TEST_F(LoadFinite, WeightsThatAreNoNumbersAreRefused) {
  Linear linear(2, 2, {.bias = false});
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    EXPECT_TRUE(contains(message_of<WeightsError>([&] {
                           load(linear, with({1, kNotANumber, kInfinite, 2}, t));
                         }),
                         "tensor 'weight': 2 of 4 values are NaN or Inf in f32"));
    EXPECT_TRUE(contains(message_of<WeightsError>([&] { load(linear, with({1, 3, -kInfinite, 2}, t)); }), "1 of 4 values"));
  }
  EXPECT_FALSE(linear.weight().values.filled()) << "the model is as it was";
  load(linear, with({1, 2, 3, 4}));
  EXPECT_THROW(load(linear, with({1, kNotANumber, 3, 4})), WeightsError);
  EXPECT_EQ(linear.weight().values, (std::vector<float>{1, 2, 3, 4}));
}

TEST_F(LoadFinite, AllowedOnRequest) {
  Linear linear(2, 2, {.bias = false});
  load(linear, with({1, kInfinite, 3, 4}), {.allow_non_finite = true});
  EXPECT_EQ(linear.weight().values[1], kInfinite);
  EXPECT_FALSE(verify(compile(linear, {{"x", {1, 2}}}, Device::reference())).ok()) << "but nothing that it makes is right";
}

}  // namespace
}  // namespace frieze::test
