#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include <frieze/core/error.h>
#include <frieze/graph/verify.h>

#include "support/constants.h"

namespace frieze {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
using test::kInf;
constexpr ErrorBudget kOneStore{.roundings = 1, .terms = 0};

Difference compare(std::vector<float> got, std::vector<float> ref, DType t = DType::f32, ErrorBudget budget = kOneStore, double scale = 0) {
  return difference(got, ref, t, budget, scale);
}

TEST(DifferenceTest, EqualTensorsDifferByNothing) {
  const Difference d = compare({1, -2, 0, kNan, kInf, -kInf}, {1, -2, -0.0F, kNan, kInf, -kInf});
  EXPECT_EQ(d.max_abs, 0);
  EXPECT_EQ(d.max_rel, 0);
  EXPECT_EQ(d.max_ulp, 0);
  EXPECT_EQ(d.nmse, 0);
  EXPECT_EQ(d.share, 0);
}

TEST(DifferenceTest, EveryMeasureIsWhatItsNameSays) {
  // Spacing of bf16 in [2, 4) is 2^-6, in [1, 2) 2^-7.
  const Difference d = compare({2 + 0x1p-6F, 1, -4}, {2, 1, -4}, DType::bf16);
  EXPECT_DOUBLE_EQ(d.max_abs, 0x1p-6);
  EXPECT_DOUBLE_EQ(d.max_rel, 0x1p-6 / 4);
  EXPECT_DOUBLE_EQ(d.max_ulp, 1);
  EXPECT_DOUBLE_EQ(d.nmse, 0x1p-12 / 21);
  EXPECT_NEAR(d.share, 2, 1e-9) << "one unit in the last place is two roundings";
  EXPECT_EQ(d.worst_index, 0);
}

TEST(DifferenceTest, TheWorstElementIsTheOneFurthestPastItsBudgetNotTheLargestError) {
  const Difference d = compare({1000.5F, 1.25F, 3}, {1000, 1, 3});
  EXPECT_EQ(d.worst_index, 1);
  EXPECT_DOUBLE_EQ(d.max_abs, 0.5);
}

TEST(DifferenceTest, TermsAreMeasuredAgainstTheLargestValueOrTheScale) {
  const ErrorBudget terms{.roundings = 0, .terms = 8};
  EXPECT_NEAR(compare({64, 8 * 64 * 0x1p-24F}, {64, 0}, DType::f32, terms).share, 1, 1e-9);
  EXPECT_NEAR(compare({64, 8 * 64 * 0x1p-24F}, {64, 0}, DType::f32, terms, 128).share, 0.5, 1e-9);
  EXPECT_NEAR(compare({64, 8 * 64 * 0x1p-24F}, {64, 0}, DType::f32, terms, 1).share, 1, 1e-9) << "a scale below max|ref| has no effect";
}

TEST(DifferenceTest, SubnormalsAreOneSmallestNumberApart) {
  const Difference d = compare({0x1p-24F, 0x1p-20F}, {0, 0x1p-20F + 0x1p-24F}, DType::f16);
  EXPECT_DOUBLE_EQ(d.max_ulp, 1);
  EXPECT_LE(d.share, 1);
}

TEST(DifferenceTest, OneRoundingNeverExceedsABudgetOfOneRounding) {
  for (const DType t : {DType::f16, DType::bf16}) {
    double worst = 0;
    for (int i = 1; i < 20000; ++i) {
      const double exact = std::exp(i * 0.001 - 11) * (i % 2 == 0 ? 1 : -1);
      const double tie = 1 + unit_roundoff(t) * (2 * (i % 64) + 1);
      for (const double v : {exact, tie, tie * 0x1p-14}) {
        worst = std::max(worst, compare({round_to(t, v)}, {static_cast<float>(v)}, t).share);
      }
    }
    EXPECT_LE(worst, 1) << t;
    EXPECT_GT(worst, 0.99) << t << ": ties use the whole budget";
  }
}

TEST(DifferenceTest, TheExcessLeavesTheStoreOut) {
  // Everything that is rounded to nearest, ties too, is without excess.
  for (const DType t : {DType::f16, DType::bf16}) {
    for (int i = 1; i < 5000; ++i) {
      const double tie = 1 + unit_roundoff(t) * (2 * (i % 64) + 1), v = i % 2 == 0 ? tie : std::exp(i * 0.003 - 8);
      EXPECT_EQ(compare({round_to(t, v)}, {static_cast<float>(v)}, t).excess, 0) << t << ' ' << v;
    }
  }
  // One unit off, of a reference that bf16 holds: half a unit is the store's, half a unit is too much, and one rounding leaves
  // room for the reference's own rounding to f32 only.
  EXPECT_GT(compare({1 + 0x1p-7F}, {1}, DType::bf16).excess, 1000);
  // With one rounding more in the budget, that is 2^-8, half a unit is all of it but for the f32 part.
  EXPECT_NEAR(compare({1 + 0x1p-7F}, {1}, DType::bf16, {.roundings = 2, .terms = 0}).excess, 1, 1e-3);
  // f32 sums: 9 units of 2^-23 at 1 are 17 of the 2^-24 that terms count in, past the store, of 100 + 1.
  EXPECT_NEAR(compare({1 + 9 * 0x1p-23F}, {1}, DType::f32, {.roundings = 1, .terms = 100}).excess, 17.0 / 101, 1e-6);
  // Layers that store nothing of their own have no store to leave out.
  EXPECT_NEAR(compare({64, 8 * 64 * 0x1p-24F}, {64, 0}, DType::f32, {.roundings = 0, .terms = 8}).excess, 1, 1e-9);
  EXPECT_EQ(compare({kNan}, {1}).excess, kInf);
}

TEST(DifferenceTest, TheBudgetIsThatOfTheWorstElement) {
  EXPECT_NEAR(compare({1, 4.5F, 2}, {1, 4, 2}, DType::bf16).budget, 4 * 0x1p-8, 1e-9);
  EXPECT_NEAR(compare({1, 4, 2}, {1, 4, 2}, DType::bf16).budget, 4 * 0x1p-8, 1e-9) << "the largest anywhere, if nothing differs";
}

TEST(DifferenceTest, NonFiniteValuesMatchOnlyThemselves) {
  EXPECT_EQ(compare({kNan}, {1}).share, kInf);
  EXPECT_EQ(compare({1}, {kNan}).share, kInf);
  EXPECT_EQ(compare({kInf}, {1}).share, kInf);
  EXPECT_EQ(compare({1}, {kInf}).share, kInf);
  EXPECT_EQ(compare({-kInf}, {kInf}).share, kInf);
  EXPECT_EQ(compare({kNan}, {kInf}).share, kInf);
  EXPECT_EQ(compare({1, 2, kNan}, {1, 2, 3}).worst_index, 2);
}

TEST(DifferenceTest, InfinityIsRightWhereTheReferenceOverflowsTheType) {
  EXPECT_EQ(compare({kInf, -kInf}, {70000, -70000}, DType::f16).share, 0);
  EXPECT_EQ(compare({-kInf}, {70000}, DType::f16).share, kInf);
  EXPECT_EQ(compare({kInf}, {70000}, DType::bf16).share, kInf) << "70000 is an ordinary number of bf16";
  EXPECT_EQ(compare({kInf}, {60000}, DType::f16).share, kInf);
  EXPECT_EQ(compare({kInf}, {65519}, DType::f16).share, 0) << "within its budget of the number that rounds to infinity";
}

TEST(DifferenceTest, AnAllZeroReferenceGivesNoNan) {
  EXPECT_EQ(compare({0, 0}, {0, 0}).nmse, 0);
  const Difference d = compare({1, 0}, {0, 0});
  EXPECT_EQ(d.nmse, kInf);
  EXPECT_EQ(d.max_rel, kInf);
  EXPECT_GT(d.share, 1);
}

TEST(DifferenceTest, RefusesTensorsOfDifferentSizes) { EXPECT_THROW(compare({1, 2}, {1}), ShapeError); }

}  // namespace
}  // namespace frieze
