// The step that the format pass inserts: exact in every bit, whichever kernel moves it.
#include <frieze/graph/reformat.h>

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <memory>
#include <string>

#include <frieze/graph/session.h>
#include "support/parity_grid.h"

namespace frieze {
namespace {

Plan one_reformat(const Shape& shape, DType dtype, Format from) {
  Plan plan;
  plan.values.push_back({{shape, dtype, from}, "x", -1});
  plan.values.push_back({{shape, dtype, from == Format::nchw ? Format::nhwc : Format::nchw}, "y", 0});
  Step step;
  step.layer = std::make_shared<Reformat>();
  step.path = "reformat";
  step.inputs = {0};
  step.outputs = {1};
  plan.steps.push_back(step);
  plan.inputs.push_back({"x", 0});
  plan.outputs.push_back({"y", 1});
  return plan;
}

void expect_same(const std::vector<float>& got, const std::vector<float>& expected, const char* what) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_TRUE(got[i] == expected[i] || (std::isnan(got[i]) && std::isnan(expected[i])))
        << what << ": " << got[i] << " instead of " << expected[i] << " at " << i;
  }
}

// Both formats hold the same values, in another order; `path` is what the receipt must say.
void run(const Shape& shape, DType dtype, test::Fill fill, const std::string& path, const Device& device = Device::cuda()) {
  for (const Format from : test::kFormats) {
    SCOPED_TRACE(testing::Message() << shape << " " << dtype << " from " << from);
    Session net = compile(one_reformat(shape, dtype, from), device);
    EXPECT_EQ(net.receipt().steps.at(0).algorithm, path);
    for (const std::uint64_t seed : {1, 2}) {
      const auto x = test::random_values(static_cast<std::size_t>(shape.elements()), seed, fill, dtype, shape.c());
      net.input().copy_from(x);
      net.poison();
      net.run();
      expect_same(net.output().floats(), x, "replay");
      net.poison();
      net.run_eager();
      expect_same(net.output().floats(), x, "eager");
    }
  }
}

TEST(Reformat, OnTheCpu) {
  for (const DType t : test::kTypes) {
    for (const test::Fill fill : {test::Fill::normal, test::Fill::special}) run({2, 3, 5, 7}, t, fill, "reference", Device::reference());
  }
}

TEST(ReformatGpu, ThreadPerPixel) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    for (const std::int64_t channels : {2, 3, 8}) {
      for (const auto& [n, h, w] : {std::array<std::int64_t, 3>{1, 1, 2}, {7, 5, 3}, {1, 16, 16}, {2, 33, 31}}) {
        run({n, channels, h, w}, t, test::Fill::normal, "thread per pixel");
      }
    }
  }
}

TEST(ReformatGpu, TilesThroughSharedMemory) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    for (const std::int64_t channels : {9, 31, 32, 33, 64, 96, 384, 1025}) {
      for (const auto& [n, h, w] : {std::array<std::int64_t, 3>{1, 1, 2}, {7, 3, 5}, {1, 4, 8}, {2, 9, 11}}) {
        run({n, channels, h, w}, t, test::Fill::normal, "32x32 tiles through shared memory");
      }
    }
  }
}

TEST(ReformatGpu, SpecialValues) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    for (const test::Fill fill : test::kFills) {
      run({2, 3, 5, 7}, t, fill, "thread per pixel");
      run({2, 40, 5, 7}, t, fill, "32x32 tiles through shared memory");
    }
  }
}

TEST(ReformatGpu, FormatsThatAreOneLayoutAreCopied) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    run({2, 1, 5, 7}, t, test::Fill::normal, "device copy");
    run({7, 33, 1, 1}, t, test::Fill::normal, "device copy");
  }
}

}  // namespace
}  // namespace frieze
