#include <gtest/gtest.h>

#include <frieze/core/error.h>
#include <frieze/graph/session.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/interpolate/interpolate.h>
#include "support/reference.h"

namespace frieze {
namespace {

using test::inferred_shape;
using test::message_of;
using test::run_reference;
using Floats = std::vector<float>;
constexpr InterpolateMode kExact = InterpolateMode::nearest_exact, kLinear = InterpolateMode::bilinear, kCubic = InterpolateMode::bicubic;

Floats resized_row(const InterpolateOptions& o, const Floats& x) {
  return run_reference(Interpolate(o), {{{1, 1, 1, static_cast<std::int64_t>(x.size())}, x}});
}

TEST(InterpolateTest, RowsByHand) {
  EXPECT_EQ(resized_row({.size = {1, 4}, .mode = kLinear}, {1, 2}), (Floats{1, 1.25F, 1.75F, 2}));
  EXPECT_EQ(resized_row({.size = {1, 5}, .mode = kLinear, .align_corners = true}, {1, 2}), (Floats{1, 1.25F, 1.5F, 1.75F, 2}));
  EXPECT_EQ(resized_row({.size = {1, 5}}, {1, 2, 3}), (Floats{1, 1, 2, 2, 3}));
  EXPECT_EQ(resized_row({.size = {1, 2}}, {1, 2, 3, 4, 5}), (Floats{1, 3}));
  EXPECT_EQ(resized_row({.size = {1, 2}, .mode = kExact}, {1, 2, 3, 4, 5}), (Floats{2, 4}));
  // The antialiased mean of pairs sees half of a neighbour on either side.
  EXPECT_EQ(resized_row({.size = {1, 2}, .mode = kLinear, .antialias = true}, {0, 0, 8, 8}), (Floats{8.0F / 7, 48.0F / 7}));
  EXPECT_EQ(resized_row({.size = {1, 1}, .mode = kCubic}, {3}), (Floats{3}));
}

// Of a constant image every mode makes the constant; bicubic keeps a ramp inside.
TEST(InterpolateTest, WeightsSumToOne) {
  for (const InterpolateMode mode : {kLinear, kCubic}) {
    for (const bool align : {false, true}) {
      for (const bool antialias : {false, true}) {
        for (const Size2d size : {Size2d(1, 1), Size2d(3, 17), Size2d(9, 2), Size2d(5, 7)}) {
          for (const float v : run_reference(Interpolate({.size = size, .mode = mode, .align_corners = align, .antialias = antialias}),
                                             {{{1, 1, 5, 7}, Floats(35, 2)}})) {
            EXPECT_NEAR(v, 2, 1e-6);
          }
        }
      }
    }
  }
}

// PyTorch steps by 1 / scale_factor, which is not the ratio of the extents where the output was cut.
TEST(InterpolateTest, ScaleFactorsAreTheStep) {
  const Floats x = test::iota(10);
  EXPECT_NE(resized_row({.scale_factor = {1, 1.55}, .mode = kLinear}, x), resized_row({.size = {1, 15}, .mode = kLinear}, x));
  EXPECT_EQ(resized_row({.scale_factor = {1, 1.55}, .mode = kLinear, .recompute_scale_factor = true}, x),
            resized_row({.size = {1, 15}, .mode = kLinear}, x));
  EXPECT_EQ(inferred_shape(Interpolate({.scale_factor = {0.5, 1.55}}), {{2, 3, 5, 10}}), (Shape{2, 3, 2, 15}));
}

TEST(InterpolateTest, ShapesAndRefusals) {
  EXPECT_EQ(inferred_shape(Interpolate({.size = {4, 9}}), {{2, 3, 5, 10}}), (Shape{2, 3, 4, 9}));
  EXPECT_EQ(message_of<OptionError>([] { Interpolate none({}); }), "Interpolate expects a size or a scale_factor, got neither");
  EXPECT_EQ(message_of<OptionError>([] { Interpolate two({.size = 4, .scale_factor = 2}); }),
            "Interpolate expects a size or a scale_factor, got both");
  EXPECT_THROW(Interpolate({.size = {4, 0}}), OptionError);
  EXPECT_THROW(Interpolate({.scale_factor = -1}), OptionError);
  EXPECT_THROW(Interpolate({.scale_factor = INFINITY}), OptionError);
  EXPECT_THROW(Interpolate({.scale_factor = NAN}), OptionError);
  EXPECT_THROW(Interpolate({.size = 4, .align_corners = true}), OptionError) << "nearest";
  EXPECT_THROW(Interpolate({.size = 4, .mode = kExact, .antialias = true}), OptionError);
  EXPECT_THROW(Interpolate({.size = 4, .mode = kLinear, .recompute_scale_factor = true}), OptionError);
  EXPECT_THROW(inferred_shape(Interpolate({.size = 4}), {{3, 4, 5}}), ShapeError);
  EXPECT_THROW(inferred_shape(Interpolate({.scale_factor = 0.1}), {{1, 1, 9, 20}}), ShapeError) << "no rows left";
  EXPECT_THROW(inferred_shape(Interpolate({.scale_factor = 1e30}), {{1, 1, 9, 20}}), ShapeError);
  EXPECT_THROW(parse_interpolate_mode("lanczos"), OptionError);
  EXPECT_EQ(parse_interpolate_mode("nearest-exact"), kExact);
}

std::string made_step(const Shape& x, const InterpolateOptions& o) {
  const Plan plan = test::trace_function({x}, [&](const std::vector<Value>& v) { return std::vector<Value>{interpolate(v[0], o)}; });
  return std::string(plan.steps.at(0).layer->type_name());
}

TEST(InterpolateTest, WholeFactorsAreAnUpsample) {
  EXPECT_EQ(made_step({1, 2, 5, 6}, {.scale_factor = 2}), "Upsample");
  EXPECT_EQ(made_step({1, 2, 5, 6}, {.size = {15, 18}, .mode = kExact}), "Upsample");
  EXPECT_EQ(made_step({1, 2, 5, 6}, {.scale_factor = {2, 3}}), "Interpolate");
  EXPECT_EQ(made_step({1, 2, 5, 6}, {.scale_factor = 2.5}), "Interpolate");
  EXPECT_EQ(made_step({1, 2, 5, 6}, {.scale_factor = 2, .mode = kLinear}), "Interpolate");
  EXPECT_EQ(made_step({1, 2, 4, 6}, {.scale_factor = 0.5}), "Interpolate");
  EXPECT_EQ(made_step({1, 2, 40, 40}, {.scale_factor = 2.01}), "Upsample") << "cut to twice the extent, where PyTorch doubles";
}

// The factors that f32 rounds down repeat some pixels once too often in PyTorch, and here.
TEST(InterpolateTest, AFactorThatF32RoundsIsNoUpsample) {
  EXPECT_EQ(made_step({1, 1, 5, 5}, {.scale_factor = 41}), "Interpolate");
  const Floats y = resized_row({.scale_factor = {1, 41}}, {0, 1, 2, 3, 4});
  EXPECT_EQ(y[41], 0.0F) << "PyTorch 2.15: F.interpolate(torch.arange(5.)[None, None, None], scale_factor=(1, 41))[..., 41]";
}

// The convolution behind absorbs it, as behind upsample().
TEST(InterpolateTest, ConvolutionsAbsorbTheDoubledImage) {
  struct Model final : Module {
    Conv2d conv{8, 8, 3, {.padding = 1}};
    Model() { add("conv", conv); }
    Value forward(Value x) const override { return conv(interpolate(x, {.scale_factor = 2})); }
  } model;
  init_random(model, 1);
  const Session net = compile(model, {{"x", {1, 8, 6, 5}}}, Device::reference());
  bool merged = false;
  for (const Step& step : net.plan().steps) merged = merged || step.layer->type_name() == "MergePhases";
  EXPECT_TRUE(merged);
}

}  // namespace
}  // namespace frieze
