#include <gtest/gtest.h>

#include <frieze/core/error.h>
#include <frieze/layers/channel_shortcut/channel_shortcut.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/elementwise/elementwise.h>
#include <frieze/layers/merge_phases/merge_phases.h>
#include <frieze/layers/upsample/upsample.h>
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

TEST(MergePhasesTest, EachPhaseComesFromItsCorner) {
  // Phases 0 to 3 of one channel at 2x2 corners: pixel (i,j) of the patch is corner (i,j) of phase 2i + j.
  const Floats corners{1, 2, 3, 4, 10, 20, 30, 40, 100, 200, 300, 400, 1000, 2000, 3000, 4000};
  for (const Format format : {Format::nchw, Format::nhwc}) {
    EXPECT_EQ(run_reference(MergePhases(), {{{1, 4, 2, 2}, corners}}, DType::f32, format), (Floats{1, 20, 300, 4000}));
  }
}

TEST(MergePhasesTest, PhasesAreOuterChannels) {
  Floats x(8 * 4);
  for (std::size_t c = 0; c < 8; ++c) std::fill_n(x.begin() + static_cast<std::ptrdiff_t>(4 * c), 4, static_cast<float>(c));
  EXPECT_EQ(run_reference(MergePhases(), {{{1, 8, 2, 2}, x}}), (Floats{0, 2, 4, 6, 1, 3, 5, 7}));
}

TEST(MergePhasesTest, ShapesAndRefusals) {
  EXPECT_EQ(inferred_shape(MergePhases(), {{2, 12, 4, 6}}), (Shape{2, 3, 6, 10}));
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(MergePhases(), {{1, 6, 3, 3}});
            }),
            "MergePhases expects channels that 4 divides, got 6 (x [1,6,3,3])");
  EXPECT_THROW(inferred_shape(MergePhases(), {{1, 4, 1, 3}}), ShapeError);
}

// conv(upsample(x)), optimised; nothing is fused.
Plan upsampled(const Conv2d& conv, std::int64_t factor, const Shape& x) {
  const auto model = [&](const std::vector<Value>& in) { return std::vector<Value>{conv(upsample(in[0], factor))}; };
  return optimize(test::trace_function({x}, model), {.fuse = false, .formats = false});
}

// Upsampling, then convolving, against what the rewrite makes of both: every border, odd sizes, several images and channels.
TEST(MergePhasesTest, ConvolutionAfterUpsamplingIsTheSameFunction) {
  for (const bool bias : {true, false}) {
    Conv2d conv(3, 5, 3, {.padding = 1, .bias = bias});
    init_random(conv, 4);
    for (const Shape& x : {Shape{1, 3, 1, 1}, Shape{2, 3, 4, 7}, Shape{1, 3, 1, 5}}) {
      const Plan plan = upsampled(conv, 2, x);
      ASSERT_EQ(plan.steps.size(), 2U);
      const Layer &phases = *plan.steps[0].layer, &merge = *plan.steps[1].layer;
      const Floats values = test::random_values(static_cast<std::size_t>(x.elements()), 5, Fill::normal, DType::f32, 3);
      const Shape fine = x.with(2, 2 * x.h()).with(3, 2 * x.w());
      const Floats expected = run_reference(conv, {{fine, run_reference(Upsample(2), {{x, values}})}});
      const Shape corners = inferred_shape(phases, {x});
      EXPECT_EQ(corners, (Shape{x.n(), 20, x.h() + 1, x.w() + 1}));
      const Floats got = run_reference(merge, {{corners, run_reference(phases, {{x, values}})}});
      ASSERT_EQ(got.size(), expected.size());
      for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 2e-6) << x << " at " << i;
    }
  }
}

TEST(MergePhasesTest, OtherConvolutionsStay) {
  const auto rewritten = [](const Conv2d& conv, std::int64_t factor = 2) {
    return !upsampled(conv, factor, {1, 4, 6, 6}).rewrites.empty();
  };
  EXPECT_TRUE(rewritten(Conv2d(4, 4, 3, {.padding = 1})));
  EXPECT_FALSE(rewritten(Conv2d(4, 4, 3, {.padding = 1}), 3));
  EXPECT_FALSE(rewritten(Conv2d(4, 4, 5, {.padding = 2})));
  EXPECT_FALSE(rewritten(Conv2d(4, 4, 3, {.stride = 2, .padding = 1})));
  EXPECT_FALSE(rewritten(Conv2d(4, 4, 3, {.padding = 0})));
  EXPECT_FALSE(rewritten(Conv2d(4, 4, 3, {.padding = 2, .dilation = 2})));
  EXPECT_FALSE(rewritten(Conv2d(4, 4, 3, {.padding = 1, .groups = 2})));
}

TEST(MergePhasesGpu, CopiesAndSums) {
  FRIEZE_NEEDS_GPU();
  const EpilogueOp add{EpilogueOp::Kind::add, Activation::none};
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    for (const Format f : {Format::nchw, Format::nhwc}) {
      for (const Shape& x : {Shape{1, 4, 2, 2}, Shape{2, 12, 4, 6}, Shape{1, 128, 9, 5}, Shape{1, 4100, 3, 3}}) {
        expect_parity(MergePhases(), {.inputs = {x}, .dtype = t, .format = f});
        expect_parity(MergePhases(), {.inputs = {x}, .dtype = t, .format = f, .epilogue = {add}});
      }
      expect_parity(MergePhases(), {.inputs = {{1, 64, 5, 5}}, .dtype = t, .format = f, .fill = Fill::special, .misalign = 1});
    }
  }
}

// merge(x) + other(s), or the other way round, optimised; nothing is fused.
Plan added(const std::shared_ptr<const Layer>& other, const Shape& x, const Shape& s, bool swapped = false) {
  const auto model = [&](const std::vector<Value>& in) {
    const Value merged = apply(std::make_shared<MergePhases>(), "merge", {&in[0], 1}), more = apply(other, "other", {&in[1], 1});
    return std::vector<Value>{swapped ? more + merged : merged + more};
  };
  return optimize(test::trace_function({x, s}, model), {.fuse = false, .formats = false});
}

// Against the sum of what its two parts make.
TEST(MergePhasesTest, ShortcutIsTheDuplicatingOne) {
  for (const std::int64_t channels : {1, 2, 6, 12, 24}) {
    const Shape x{2, 24, 4, 3}, s{2, channels, 3, 2};
    const Floats corners = test::random_values(static_cast<std::size_t>(x.elements()), 5, Fill::normal, DType::f32, 1);
    const Floats small = test::random_values(static_cast<std::size_t>(s.elements()), 6, Fill::normal, DType::f32, 1);
    const auto shortcut = std::make_shared<DuplicatingShortcut>(6, 2);
    const Plan plan = added(shortcut, x, s, channels == 2);
    ASSERT_EQ(plan.steps.size(), 1U);
    EXPECT_EQ(plan.steps[0].inputs, (std::vector<int>{plan.inputs[0].value, plan.inputs[1].value}));
    for (const Format format : {Format::nchw, Format::nhwc}) {
      const Floats merged = run_reference(MergePhases(), {{x, corners}}, DType::f32, format);
      const Floats alone = run_reference(*shortcut, {{s, small}}, DType::f32, format);
      const Floats got = run_reference(*plan.steps[0].layer, {{x, corners}, {s, small}}, DType::f32, format);
      ASSERT_EQ(got.size(), merged.size());
      for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], merged[i] + alone[i]) << channels << " at " << i;
    }
  }
  EXPECT_EQ(added(std::make_shared<DuplicatingShortcut>(6, 1), {2, 24, 4, 3}, {2, 6, 6, 4}).steps.size(), 3U);
  EXPECT_EQ(added(std::make_shared<DuplicatingShortcut>(6, 2), {2, 24, 4, 3}, {1, 6, 3, 2}).steps.size(), 3U) << "broadcasts";
  EXPECT_EQ(added(std::make_shared<MergePhases>(), {2, 24, 4, 3}, {2, 24, 4, 3}).steps.size(), 3U);
}

TEST(MergePhasesTest, ShortcutsThatDoNotFit) {
  EXPECT_THROW(MergePhases(0), OptionError);
  EXPECT_THROW(inferred_shape(MergePhases(4), {{1, 16, 3, 3}}), ShapeError);
  EXPECT_THROW(inferred_shape(MergePhases(4), {{1, 16, 3, 3}, {1, 4, 3, 3}}), ShapeError);
  EXPECT_THROW(inferred_shape(MergePhases(3), {{1, 16, 3, 3}, {1, 3, 2, 2}}), ShapeError);
  EXPECT_EQ(inferred_shape(MergePhases(8), {{1, 16, 3, 4}, {1, 8, 2, 3}}), (Shape{1, 4, 4, 6}));
}

TEST(MergePhasesGpu, Shortcuts) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    for (const Format f : {Format::nchw, Format::nhwc}) {
      for (const std::int64_t repeat : {1, 2, 4, 8, 16}) {
        for (const Shape& x : {Shape{1, 64, 2, 2}, Shape{2, 128, 4, 6}, Shape{1, 48, 9, 5}}) {
          const Shape s{x.n(), x.c() / repeat, x.h() - 1, x.w() - 1};
          const bool packs = f == Format::nhwc && repeat <= 4 && x.c() / 4 % static_cast<std::int64_t>(16 / size_of(t)) == 0;
          test::ParityCase c{.inputs = {x, s}, .dtype = t, .format = f};
          EXPECT_NE(expect_parity(MergePhases(s.c()), c).describe.find(packs ? "pack of channels" : "element a thread"), std::string::npos);
          c.misalign = 1;
          expect_parity(MergePhases(s.c()), c);
          c.misalign = 0;
          c.fill = Fill::special;
          expect_parity(MergePhases(s.c()), c);
        }
      }
    }
  }
}

}  // namespace
}  // namespace frieze
