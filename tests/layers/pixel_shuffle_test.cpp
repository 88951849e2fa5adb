#include <gtest/gtest.h>

#include <frieze/core/error.h>
#include <frieze/layers/pixel_shuffle/pixel_shuffle.h>
#include "support/reference.h"

namespace frieze {
namespace {

using test::inferred_shape;
using test::message_of;
using test::run_reference;
using Floats = std::vector<float>;

// torch.nn.PixelShuffle(2)(torch.arange(16.).view(1, 8, 1, 2)).flatten(), worked out by hand from its formula.
const Floats kShuffled{0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15};

TEST(PixelShuffleTest, ChannelsBecomePatches) {
  for (const Format format : {Format::nchw, Format::nhwc}) {
    EXPECT_EQ(run_reference(PixelShuffle(2), {{{1, 8, 1, 2}, test::iota(16)}}, DType::f32, format), kShuffled) << format;
  }
}

TEST(PixelShuffleTest, EveryElementGoesWhereTheFormulaSays) {
  const std::int64_t n = 2, c = 3, h = 2, w = 5, r = 3;
  const Floats x = test::iota(static_cast<std::size_t>(n * c * r * r * h * w));
  const Floats y = run_reference(PixelShuffle(r), {{{n, c * r * r, h, w}, x}});
  for (std::int64_t at = 0; at < static_cast<std::int64_t>(y.size()); ++at) {
    const std::int64_t xx = at % (w * r), yy = at / (w * r) % (h * r), cc = at / (w * r * h * r) % c, nn = at / (w * r * h * r * c);
    const std::int64_t channel = cc * r * r + yy % r * r + xx % r;
    EXPECT_EQ(y[static_cast<std::size_t>(at)], static_cast<float>(((nn * c * r * r + channel) * h + yy / r) * w + xx / r));
  }
}

TEST(PixelUnshuffleTest, IsTheInverse) {
  for (const Format format : {Format::nchw, Format::nhwc}) {
    EXPECT_EQ(run_reference(PixelUnshuffle(2), {{{1, 2, 2, 4}, kShuffled}}, DType::f32, format), test::iota(16)) << format;
  }
  EXPECT_EQ(run_reference(PixelUnshuffle(1), {{{1, 2, 2, 4}, kShuffled}}), kShuffled);
}

TEST(PixelShuffleTest, ShapesAndRefusals) {
  EXPECT_EQ(inferred_shape(PixelShuffle(4), {{7, 48, 1, 1}}), (Shape{7, 3, 4, 4}));
  EXPECT_EQ(inferred_shape(PixelUnshuffle(4), {{7, 3, 8, 4}}), (Shape{7, 48, 2, 1}));
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(PixelShuffle(2), {{1, 6, 2, 2}});
            }),
            "PixelShuffle by 2 expects channels that 4 divides, got 6 (x [1,6,2,2])");
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(PixelUnshuffle(2), {{1, 6, 2, 3}});
            }),
            "PixelUnshuffle expects height and width that 2 divides, got 2x3 (x [1,6,2,3])");
  EXPECT_EQ(message_of<OptionError>([] { PixelShuffle zero(0); }), "PixelShuffle expects a factor from 1 to 32768, got 0");
  EXPECT_THROW(PixelUnshuffle(-2), OptionError);
  EXPECT_THROW(inferred_shape(PixelShuffle(2), {{4, 4}}), ShapeError);
}

TEST(PixelShuffleTest, FreeFunctionsUndoEachOther) {
  const Plan plan = test::trace_function(
      {{1, 8, 3, 5}}, [](const std::vector<Value>& x) { return std::vector<Value>{pixel_unshuffle(pixel_shuffle(x[0], 2), 2)}; });
  ASSERT_EQ(plan.steps.size(), 2U);
  EXPECT_EQ(plan.spec(plan.steps[0].output()).shape, (Shape{1, 2, 6, 10}));
  EXPECT_EQ(plan.spec(plan.output("y0")).shape, (Shape{1, 8, 3, 5}));
}

}  // namespace
}  // namespace frieze
