// The example model on the GPU: every layer within its budget, every replay the same.
#include <frieze/models/quickstart.h>

#include <gtest/gtest.h>

#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>
#include "support/parity_grid.h"

namespace frieze {
namespace {

void expect_verified(const Shape& image, DType dtype, const CompileOptions& options, bool random_weights) {
  SCOPED_TRACE(testing::Message() << image << " " << dtype << (random_weights ? ", random weights" : ""));
  Quickstart model;
  sharpen(model);
  if (random_weights) init_random(model, 1);
  const Session net = compile(model, {{"x", image, dtype}}, Device::cuda(), options);
  const VerifyReport report = verify(net);
  EXPECT_TRUE(report.ok()) << report;
  EXPECT_TRUE(report.first_unequal.empty()) << report.first_unequal;
  EXPECT_LE(report.worst_share, 1);
  EXPECT_EQ(net.receipt().launches_per_run, 1);
}

TEST(QuickstartGpu, IsVerifiedInEveryType) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    for (const bool random_weights : {false, true}) {
      expect_verified({1, 3, 48, 64}, t, {}, random_weights);
      expect_verified({7, 3, 5, 7}, t, {}, random_weights);
      expect_verified({1, 3, 1, 1}, t, {}, random_weights);
    }
  }
}

TEST(QuickstartGpu, IsVerifiedWithoutPassesAndTuning) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    expect_verified({2, 3, 33, 31}, t, {.passes = {.fuse = false, .formats = false}, .tune = false}, true);
    expect_verified({2, 3, 33, 31}, t, {.passes = {.fuse = true, .formats = false}, .tune = false}, true);
    expect_verified({2, 3, 33, 31}, t, {.passes = {.fuse = false, .formats = true}, .tune = false}, true);
  }
}

}  // namespace
}  // namespace frieze
