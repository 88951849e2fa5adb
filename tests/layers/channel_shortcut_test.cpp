#include <gtest/gtest.h>

#include <frieze/core/error.h>
#include <frieze/layers/channel_shortcut/channel_shortcut.h>
#include <frieze/layers/pixel_shuffle/pixel_shuffle.h>
#include "support/parity.h"
#include "support/reference.h"

namespace frieze {
namespace {

using test::expect_parity;
using test::Fill;
using test::inferred_shape;
using test::message_of;
using test::run_reference;
using Floats = std::vector<float>;

TEST(ChannelShortcutTest, TwiceTheChannelsAverageRowsOfThePatch) {
  // One channel 2x4 -> two channels 1x2: the even one averages the top row of each patch, the odd one the bottom row.
  for (const Format format : {Format::nchw, Format::nhwc}) {
    EXPECT_EQ(run_reference(AveragingShortcut(2, 2), {{{1, 1, 2, 4}, {1, 3, 5, 7, 10, 30, 50, 70}}}, DType::f32, format),
              (Floats{2, 6, 20, 60}));
  }
}

TEST(ChannelShortcutTest, AsManyChannelsAverageThePatch) {
  EXPECT_EQ(run_reference(AveragingShortcut(2, 2), {{{1, 2, 2, 2}, {1, 2, 3, 6, 10, 20, 30, 60}}}), (Floats{3, 30}));
}

TEST(ChannelShortcutTest, WithoutResamplingChannelsAlone) {
  EXPECT_EQ(run_reference(AveragingShortcut(2, 1), {{{1, 4, 1, 2}, {1, 2, 3, 4, 5, 6, 7, 8}}}), (Floats{2, 3, 6, 7}));
  EXPECT_EQ(run_reference(DuplicatingShortcut(4, 1), {{{1, 2, 1, 2}, {1, 2, 3, 4}}}), (Floats{1, 2, 1, 2, 3, 4, 3, 4}));
}

TEST(ChannelShortcutTest, HalfTheChannelsBecomeRowsOfThePatch) {
  // Four channels 1x1 -> two channels 2x2: even output rows take channel 2o, odd ones 2o + 1.
  for (const Format format : {Format::nchw, Format::nhwc}) {
    EXPECT_EQ(run_reference(DuplicatingShortcut(2, 2), {{{1, 4, 1, 1}, {1, 2, 3, 4}}}, DType::f32, format),
              (Floats{1, 1, 2, 2, 3, 3, 4, 4}));
  }
}

TEST(ChannelShortcutTest, AsManyChannelsAreNearestUpsampling) {
  EXPECT_EQ(run_reference(DuplicatingShortcut(1, 2), {{{1, 1, 1, 2}, {1, 2}}}), (Floats{1, 1, 2, 2, 1, 1, 2, 2}));
}

// Averaging the duplicates gives the input back, whatever the ratios are.
TEST(ChannelShortcutTest, AveragingUndoesDuplicating) {
  struct Case {
    std::int64_t from, to, factor;
  };
  for (const Case& c :
       {Case{6, 6, 2}, Case{8, 4, 2}, Case{8, 2, 2}, Case{4, 3, 2}, Case{3, 6, 2}, Case{3, 9, 1}, Case{5, 5, 3}, Case{9, 2, 3}}) {
    const Shape x{2, c.from, 3, 5};
    const Floats values = test::iota(static_cast<std::size_t>(x.elements()));
    const Floats fine = run_reference(DuplicatingShortcut(c.to, c.factor), {{x, values}});
    const Shape fine_shape{2, c.to, 3 * c.factor, 5 * c.factor};
    EXPECT_EQ(inferred_shape(DuplicatingShortcut(c.to, c.factor), {x}), fine_shape);
    EXPECT_EQ(run_reference(AveragingShortcut(c.from, c.factor), {{fine_shape, fine}}), values) << c.from << "->" << c.to;
  }
}

TEST(ChannelShortcutTest, WholeGroupsAreThoseOfPixelUnshuffle) {
  const Shape x{2, 3, 4, 6};
  const Floats values = test::iota(static_cast<std::size_t>(x.elements()));
  EXPECT_EQ(run_reference(AveragingShortcut(12, 2), {{x, values}}), run_reference(PixelUnshuffle(2), {{x, values}}));
}

TEST(ChannelShortcutTest, ShapesAndRefusals) {
  EXPECT_EQ(inferred_shape(AveragingShortcut(6, 2), {{2, 3, 4, 6}}), (Shape{2, 6, 2, 3}));
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(AveragingShortcut(5, 2), {{1, 3, 4, 4}});
            }),
            "AveragingShortcut to 5 channels expects a divisor of 4 * 3 input channels (x [1,3,4,4])");
  EXPECT_THROW(inferred_shape(AveragingShortcut(3, 2), {{1, 3, 5, 4}}), ShapeError);
  EXPECT_THROW(inferred_shape(DuplicatingShortcut(2, 2), {{1, 3, 4, 4}}), ShapeError);
  EXPECT_THROW(inferred_shape(DuplicatingShortcut(2, 2), {{4, 4}}), ShapeError);
  EXPECT_THROW(AveragingShortcut(0, 2), OptionError);
  EXPECT_THROW(DuplicatingShortcut(1, 0), OptionError);
  const Plan plan = test::trace_function({{1, 8, 4, 4}}, [](const std::vector<Value>& x) {
    return std::vector<Value>{duplicating_shortcut(averaging_shortcut(x[0], 16, 2), 8, 2)};
  });
  EXPECT_EQ(plan.spec(plan.output("y0")).shape, (Shape{1, 8, 4, 4}));
}

TEST(ChannelShortcutGpu, EveryRatioInBothFormats) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    for (const Format f : {Format::nchw, Format::nhwc}) {
      for (const Shape& x : {Shape{2, 8, 6, 10}, Shape{1, 64, 4, 4}, Shape{1, 96, 14, 2}}) {
        for (const std::int64_t out : {x.c() / 2, x.c(), 2 * x.c(), 4 * x.c()}) {
          expect_parity(AveragingShortcut(out, 2), {.inputs = {x}, .dtype = t, .format = f});
          expect_parity(DuplicatingShortcut(out, 2), {.inputs = {x}, .dtype = t, .format = f});
        }
        expect_parity(AveragingShortcut(x.c() / 4, 1), {.inputs = {x}, .dtype = t, .format = f, .fill = Fill::mixed});
        expect_parity(DuplicatingShortcut(4 * x.c(), 1), {.inputs = {x}, .dtype = t, .format = f, .fill = Fill::special});
      }
      expect_parity(AveragingShortcut(4, 2), {.inputs = {{1, 3, 6, 2}}, .dtype = t, .format = f});
      expect_parity(DuplicatingShortcut(3, 2), {.inputs = {{1, 4, 3, 1}}, .dtype = t, .format = f});
      expect_parity(AveragingShortcut(9, 3), {.inputs = {{1, 3, 6, 9}}, .dtype = t, .format = f, .misalign = 1});
      expect_parity(DuplicatingShortcut(8, 2), {.inputs = {{1, 16, 3, 5}}, .dtype = t, .format = f, .misalign = 1});
    }
  }
}

}  // namespace
}  // namespace frieze
