#include <gtest/gtest.h>

#include <frieze/core/error.h>
#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/batch_norm2d/batch_norm2d.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/pad/pad.h>
#include <frieze/layers/upsample/upsample.h>
#include "support/reference.h"

namespace frieze {
namespace {

using test::inferred_shape;
using test::message_of;
using test::run_reference;
using Floats = std::vector<float>;

Floats padded_row(PadMode mode, int left, int right, double value = 0) {
  return run_reference(Pad({left, right, 0, 0}, mode, value), {{{4}, {1, 2, 3, 4}}});
}

TEST(PadTest, ModesAlongARow) {
  EXPECT_EQ(padded_row(PadMode::zeros, 2, 1), (Floats{0, 0, 1, 2, 3, 4, 0}));
  EXPECT_EQ(padded_row(PadMode::zeros, 1, 0, -7.5), (Floats{-7.5, 1, 2, 3, 4}));
  EXPECT_EQ(padded_row(PadMode::reflect, 3, 2), (Floats{4, 3, 2, 1, 2, 3, 4, 3, 2}));
  EXPECT_EQ(padded_row(PadMode::replicate, 2, 5), (Floats{1, 1, 1, 2, 3, 4, 4, 4, 4, 4, 4}));
  EXPECT_EQ(padded_row(PadMode::circular, 4, 2), (Floats{1, 2, 3, 4, 1, 2, 3, 4, 1, 2}));
}

TEST(PadTest, EachSideItsOwnInBothFormats) {
  for (const Format format : {Format::nchw, Format::nhwc}) {
    EXPECT_EQ(run_reference(Pad({1, 0, 0, 2}), {{{1, 2, 1, 2}, {1, 2, 3, 4}}}, DType::f16, format),
              (Floats{0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3, 4, 0, 0, 0, 0, 0, 0}))
        << format;
    EXPECT_EQ(run_reference(Pad({0, 1, 1, 0}, PadMode::reflect), {{{1, 1, 2, 2}, {1, 2, 3, 4}}}, DType::bf16, format),
              (Floats{3, 4, 3, 1, 2, 1, 3, 4, 3}))
        << format;
  }
}

TEST(PadTest, ShapesAndRefusals) {
  EXPECT_EQ(inferred_shape(Pad({1, 2, 3, 4}), {{7, 31, 5, 1}}), (Shape{7, 31, 12, 4}));
  EXPECT_EQ(inferred_shape(Pad({1, 2, 3, 4}), {{5, 6}}), (Shape{12, 9}));
  EXPECT_EQ(inferred_shape(Pad({1, 2, 0, 0}), {{5}}), (Shape{8}));
  EXPECT_EQ(Padding2d(1, 2), Padding2d(2, 2, 1, 1)) << "rows, then columns";
  EXPECT_EQ(message_of<OptionError>([] { Pad negative({0, -1, 0, 0}); }), "Pad expects no negative padding, got 0,-1,0,0");
  EXPECT_EQ(message_of<OptionError>([] { Pad valued(1, PadMode::reflect, 2); }),
            "Pad takes a value for mode zeros only, got 2 for reflect");
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(Pad(3, PadMode::reflect), {{1, 2, 3, 8}});
            }),
            "Pad by reflection expects less than the extent on each side, got 3 and 3 for 3 (x [1,2,3,8], axis 2)");
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(Pad({0, 9, 0, 0}, PadMode::circular), {{1, 2, 3, 8}});
            }),
            "Pad in a circle expects at most the extent on each side, got 0 and 9 for 8 (x [1,2,3,8], axis 3)");
  EXPECT_NO_THROW(inferred_shape(Pad({8, 8, 3, 3}, PadMode::circular), {{1, 2, 3, 8}}));
  EXPECT_THROW(inferred_shape(Pad(1), {{5}}), ShapeError) << "no rows";
  EXPECT_THROW(inferred_shape(Pad(1), {{}}), ShapeError);
  EXPECT_THROW(inferred_shape(Pad(1 << 30), {{1 << 20, 1 << 20, 1, 1}}), ShapeError) << "past 2^63 bytes";
  EXPECT_THROW(parse_pad_mode("mirror"), OptionError);
  EXPECT_EQ(parse_pad_mode("constant"), PadMode::zeros);
}

TEST(PadTest, FreeFunction) {
  const Plan plan = test::trace_function({{1, 8, 3, 5}}, [](const std::vector<Value>& x) {
    return std::vector<Value>{pad(x[0], {1, 2, 0, 3}, PadMode::replicate)};
  });
  EXPECT_EQ(plan.spec(plan.output("y0")).shape, (Shape{1, 8, 6, 8}));
}

// A convolution with padding of its own is one without behind a Pad.
TEST(PadTest, ConvolutionsPadAlike) {
  const Padding2d sides(2, 0, 1, 3);
  for (const PadMode mode : {PadMode::zeros, PadMode::reflect, PadMode::replicate, PadMode::circular}) {
    for (const int groups : {1, 3}) {
      Conv2d own(3, 6, {3, 2}, {.stride = {2, 1}, .padding = sides, .groups = groups, .padding_mode = mode});
      Conv2d plain(3, 6, {3, 2}, {.stride = {2, 1}, .groups = groups});
      init_random(own, 5);
      init_random(plain, 5);
      const test::Input x{{2, 3, 5, 4}, test::iota(120)};
      const Shape wide = inferred_shape(Pad(sides, mode), {x.shape});
      EXPECT_EQ(run_reference(own, {x}), run_reference(plain, {{wide, run_reference(Pad(sides, mode), {x})}})) << name(mode);
    }
  }
  const Conv2d reflecting(3, 6, 3, {.padding = 1, .padding_mode = PadMode::reflect});
  EXPECT_EQ(message_of<ShapeError>([&] {
              inferred_shape(reflecting, {{1, 3, 1, 8}});
            }),
            "Conv2d by reflection expects less than the extent on each side, got 1 and 1 for 1 (x [1,3,1,8], axis 2)");
  EXPECT_EQ(reflecting.describe(), "3->6 3x3 padding 1 reflect");
  EXPECT_EQ(Conv2d(3, 6, 3, {.padding = {0, 1, 0, 1}}).describe(), "3->6 3x3 padding 0,1,0,1");
  EXPECT_EQ(Conv2d(3, 6, {3, 5}, {.padding = -1}).padding(), Padding2d(2, 2, 1, 1));
  EXPECT_EQ(message_of<OptionError>([] {
              Conv2d half_same(3, 6, 3, {.padding = {-1, 1, 0, 0}});
            }),
            "Conv2d: padding \"same\" is -1 on both sides of an axis, got -1 and 1");
}

// Rewrites that make another convolution of one know how it is padded.
TEST(PadTest, RewritesKeepThePadding) {
  struct Model final : Module {
    Conv2d conv;
    BatchNorm2d norm{4};
    explicit Model(const Conv2dOptions& o) : conv(4, 4, 3, o) { add("conv", conv), add("norm", norm); }
    Value forward(Value x) const override { return norm(conv(upsample(x, 2))); }
  };
  const std::pair<Conv2dOptions, const char*> cases[] = {
      {{.padding = 1, .padding_mode = PadMode::reflect}, "Upsample|4->4 3x3 padding 1 reflect|"},
      {{.padding = {0, 1, 2, 1}}, "Upsample|4->4 3x3 padding 0,1,2,1|"},
      {{.padding = 1}, "4->16 2x2 padding 1|MergePhases|BatchNorm2d|"},
  };
  for (const auto& [options, expected] : cases) {
    Model model(options);
    init_random(model, 1);
    const std::vector<InputSpec> inputs = {{"x", {1, 4, 5, 6}}};
    const Session net = compile(model, inputs, Device::reference(), {.passes = {.formats = false}});
    std::string steps;
    for (const Step& step : net.plan().steps) {
      const bool conv = step.layer->type_name() == "Conv2d";
      steps += (conv ? step.layer->describe() : std::string(step.layer->type_name())) + '|';
    }
    EXPECT_EQ(steps, expected);
    for (const VerifyRewrite& rewrite : verify_rewrites(trace(model, inputs))) EXPECT_TRUE(rewrite.ok()) << rewrite.name;
  }
}

}  // namespace
}  // namespace frieze
