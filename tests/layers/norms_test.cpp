// Layer, group, instance and RMS normalisation on the CPU: the formula by hand, refusals, free functions.
#include <gtest/gtest.h>

#include <cmath>

#include <frieze/core/error.h>
#include <frieze/layers/group_norm/group_norm.h>
#include <frieze/layers/layer_norm/layer_norm.h>
#include <frieze/layers/rms_norm/rms_norm.h>
#include <frieze/layers/shared/normalisation.h>
#include "support/reference.h"

namespace frieze {
namespace {

using test::inferred_shape;
using test::message_of;
using test::run_reference;
using Values = std::vector<float>;

const float kRoot5 = std::sqrt(5.0F);

// 1, 2, 3, 4: mean 2.5, variance 1.25, so deviations of -3, -1, 1 and 3 halves over sqrt(5)/2.
TEST(NormsTest, LayerNormByHand) {
  const LayerNorm norm(4, {.eps = 0, .affine = false});
  const Values y = run_reference(norm, {{{2, 4}, {1, 2, 3, 4, 40, 30, 20, 10}}});
  const Values expected{-3 / kRoot5, -1 / kRoot5, 1 / kRoot5, 3 / kRoot5};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(y[i], expected[i]);
    EXPECT_FLOAT_EQ(y[7 - i], expected[i]);
  }
}

TEST(NormsTest, WeightAndBiasOfEachElement) {
  LayerNorm norm(Shape{2, 2}, {.eps = 0});
  norm.Module::parameters()[0]->values = {1, 10, 100, 1000};
  norm.Module::parameters()[1]->values = {0, 1, 2, 3};
  const Values y = run_reference(norm, {{{1, 2, 2}, {1, 2, 3, 4}}});
  EXPECT_FLOAT_EQ(y[0], -3 / kRoot5);
  EXPECT_FLOAT_EQ(y[1], -10 / kRoot5 + 1);
  EXPECT_FLOAT_EQ(y[2], 100 / kRoot5 + 2);
  EXPECT_FLOAT_EQ(y[3], 3000 / kRoot5 + 3);
}

// Two groups of two channels with two pixels each, in both formats.
TEST(NormsTest, GroupNormByHand) {
  GroupNorm norm(2, 4, {.eps = 0});
  norm.Module::parameters()[0]->values = {1, 2, 3, 4};
  norm.Module::parameters()[1]->values = {0, 0, 0, 1};
  for (const Format format : {Format::nchw, Format::nhwc}) {
    const Values y = run_reference(norm, {{{1, 4, 1, 2}, {1, 2, 3, 4, 40, 30, 20, 10}}}, DType::f32, format);
    const float third = 1 / kRoot5;
    const Values expected{-3 * third, -third, 2 * third, 6 * third, 9 * third, 3 * third, -4 * third + 1, -12 * third + 1};
    for (std::size_t i = 0; i < 8; ++i) EXPECT_FLOAT_EQ(y[i], expected[i]) << format << ' ' << i;
  }
}

TEST(NormsTest, InstanceNormIsGroupNormOfOneChannel) {
  const Values x{1, 2, 3, 4, 8, 6, 7, 5, 0, 0, 1, 1, 9, 9, 9, 9};
  EXPECT_EQ(run_reference(InstanceNorm2d(2), {{{2, 2, 2, 2}, x}}), run_reference(GroupNorm(2, 2, {.affine = false}), {{{2, 2, 2, 2}, x}}));
}

TEST(NormsTest, LayerNorm2dIsOverChannels) {
  const Values y = run_reference(LayerNorm2d(4, {.eps = 0, .affine = false}), {{{1, 4, 1, 2}, {1, 40, 2, 30, 3, 20, 4, 10}}});
  EXPECT_FLOAT_EQ(y[0], -3 / kRoot5);
  EXPECT_FLOAT_EQ(y[1], 3 / kRoot5);
  EXPECT_FLOAT_EQ(y[7], -3 / kRoot5);
}

TEST(NormsTest, EqualValuesGiveBiasAndNanStaysInItsGroup) {
  const Values same = run_reference(LayerNorm(3, {.affine = false}), {{{1, 3}, {0.3F, 0.3F, 0.3F}}});
  for (const float v : same) EXPECT_NEAR(v, 0, 1e-12);
  const Values y = run_reference(GroupNorm(2, 4, {.affine = false}), {{{1, 4}, {1, NAN, 1, 2}}});
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_TRUE(std::isnan(y[1]));
  EXPECT_FALSE(std::isnan(y[2]));
}

TEST(NormsTest, RmsNormByHandAndDefaultEps) {
  EXPECT_EQ(run_reference(RMSNorm(2, {.eps = 0, .weight = false}), {{{2, 1, 2}, {1, 7, -3, 0}}}),
            (Values{0.2F, 1.4F, -std::sqrt(2.0F), 0}));
  const RMSNorm plain(3);
  EXPECT_EQ(plain.options().eps, 0x1p-23);
  EXPECT_EQ(plain.as_pixels()->options().eps, 0x1p-23);
}

TEST(NormsTest, BudgetsGrowWithTheRoot) {
  const auto terms = [](const Layer& layer, const Shape& x) {
    const TensorSpec in{x};
    return layer.budget({&in, 1}).terms;
  };
  EXPECT_DOUBLE_EQ(terms(LayerNorm(64), {5, 64}), standardise_terms(64));
  EXPECT_DOUBLE_EQ(terms(GroupNorm(4, 8), {3, 8, 16, 2}), standardise_terms(64));
  EXPECT_DOUBLE_EQ(terms(InstanceNorm2d(8), {3, 8, 16, 4}), standardise_terms(64));
  EXPECT_DOUBLE_EQ(standardise_terms(1 << 20) - standardise_terms(1 << 18), 2 * (1024 - 512) / 8.0);
}

TEST(NormsTest, Refusals) {
  EXPECT_EQ(message_of<OptionError>([] { GroupNorm(3, 8); }),
            "GroupNorm expects channels that the groups divide, got 8 channels and 3 groups");
  EXPECT_THROW(GroupNorm(0, 8), OptionError);
  EXPECT_THROW(GroupNorm(-1, 8), OptionError);
  EXPECT_THROW(GroupNorm(1, 8, {.eps = -1}), OptionError);
  EXPECT_THROW(LayerNorm(8, {.eps = NAN}), OptionError);
  EXPECT_THROW(LayerNorm(Shape{}), OptionError);
  EXPECT_THROW(LayerNorm(0), OptionError);
  EXPECT_THROW(LayerNorm2d(0), OptionError);
  EXPECT_THROW(InstanceNorm2d(0), OptionError);
  EXPECT_THROW(RMSNorm(0), OptionError);
  EXPECT_THROW(RMSNorm(4, {.eps = HUGE_VAL}), OptionError);
  EXPECT_NE(message_of<OptionError>([] { InstanceNorm2d(8, {.track_running_stats = true}); }).find("BatchNorm2d"), std::string::npos);
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(LayerNorm(Shape{5, 7}), {{2, 5, 8}});
            }),
            "LayerNorm expects an input that ends with the axes [5,7], got [2,5,8]");
  EXPECT_THROW(inferred_shape(LayerNorm(Shape{5, 7}), {{7}}), ShapeError);
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(GroupNorm(2, 4), {{2, 6, 3, 3}});
            }),
            "GroupNorm expects 4 channels, got 6 (x [2,6,3,3] as [N,C,...])");
  EXPECT_THROW(inferred_shape(GroupNorm(2, 4), {{4}}), ShapeError);
  EXPECT_THROW(inferred_shape(InstanceNorm2d(4), {{2, 4, 3}}), ShapeError);
  EXPECT_THROW(inferred_shape(LayerNorm2d(4), {{2, 5, 3, 3}}), ShapeError);
  EXPECT_EQ(message_of<ShapeError>([] { inferred_shape(RMSNorm(4), {{2, 5}}); }), "RMSNorm expects a last axis of 4, got [2,5]");
  EXPECT_THROW(inferred_shape(RMSNorm(4), {{2, 4}, {2, 4}}), ShapeError);
}

TEST(NormsTest, FreeFunctions) {
  const Plan plan = test::trace_function({{2, 8, 3, 5}}, [](const std::vector<Value>& x) {
    return std::vector<Value>{layer_norm(x[0], {3, 5}), group_norm(x[0], 4), instance_norm(x[0]), rms_norm(x[0])};
  });
  for (const char* y : {"y0", "y1", "y2", "y3"}) EXPECT_EQ(plan.spec(plan.output(y)).shape, (Shape{2, 8, 3, 5}));
  const auto refused = [](auto function) {
    return message_of<Error>(
        [&] { test::trace_function({{7}}, [&](const std::vector<Value>& x) { return std::vector<Value>{function(x[0])}; }); });
  };
  EXPECT_NE(refused([](const Value& x) { return group_norm(x, 4); }).find("rank 2 or more"), std::string::npos);
  EXPECT_NE(refused([](const Value& x) { return instance_norm(x); }).find("rank 4"), std::string::npos);
  EXPECT_NE(refused([](const Value& x) { return layer_norm(x, {8}); }).find("norms_test.cpp"), std::string::npos);
}

// An activation behind a normalisation is its epilogue.
TEST(NormsTest, AbsorbsUpToFourOperations) {
  const TensorSpec in{{2, 8, 3, 5}};
  const std::vector<EpilogueOp> chain(5, {EpilogueOp::Kind::activation, Activation::silu});
  EXPECT_EQ(GroupNorm(2, 8).absorbs({&in, 1}, chain), 4U);
  EXPECT_EQ(LayerNorm(5).absorbs({&in, 1}, std::span(chain).first(1)), 1U);
  EXPECT_EQ(RMSNorm(5).absorbs({&in, 1}, std::span(chain).first(1)), 1U);
}

}  // namespace
}  // namespace frieze
