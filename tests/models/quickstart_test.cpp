// The README's example: it traces, runs on the CPU, really sharpens, and stays short.
#include <frieze/models/quickstart.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>

#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>

#include "support/parity.h"
#include "support/reference.h"

namespace frieze::test {
namespace {

// A soft picture in [0.2, 0.8]: edges and texture blurred over a few pixels, with another phase in each colour.
std::vector<float> soft_picture(int height, int width) {
  std::vector<float> values;
  for (int c = 0; c < 3; ++c) {
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        const double edge = std::tanh((x - width / 2.0) / 2.5), texture = std::sin(0.7 * x + c) * std::sin(0.6 * y + 0.4 * c);
        values.push_back(static_cast<float>(0.5 + 0.2 * edge + 0.1 * texture));
      }
    }
  }
  return values;
}

// The receptive field reaches 7 pixels: 2 of the stem, 1 of each of 5 convolutions. So far from the edges, zero padding is not seen.
constexpr int kMargin = 7;

// The usual measure of sharpness: the variance of the Laplacian, over the inner pixels of every colour plane.
double sharpness(std::span<const float> planes, int height, int width) {
  double sum = 0, squares = 0, count = 0;
  for (int c = 0; c < 3; ++c) {
    const auto at = [&](int y, int x) { return static_cast<double>(planes[static_cast<std::size_t>((c * height + y) * width + x)]); };
    for (int y = kMargin; y < height - kMargin; ++y) {
      for (int x = kMargin; x < width - kMargin; ++x) {
        const double laplacian = at(y - 1, x) + at(y + 1, x) + at(y, x - 1) + at(y, x + 1) - 4 * at(y, x);
        sum += laplacian, squares += laplacian * laplacian, count += 1;
      }
    }
  }
  return squares / count - (sum / count) * (sum / count);
}

// after - before of the inner pixels.
std::vector<double> inner_differences(std::span<const float> before, std::span<const float> after, int height, int width) {
  std::vector<double> differences;
  for (int row = 0; row < 3 * height; ++row) {
    if (row % height < kMargin || row % height >= height - kMargin) continue;
    for (int x = kMargin; x < width - kMargin; ++x) {
      const auto i = static_cast<std::size_t>(row * width + x);
      differences.push_back(double{after[i]} - before[i]);
    }
  }
  return differences;
}

double largest(std::span<const double> values) {
  double most = 0;
  for (const double v : values) most = std::max(most, std::abs(v));
  return most;
}

Session compiled(const Quickstart& model, int height, int width, DType dtype = DType::f32, const Device& device = Device::reference()) {
  return compile(model, {{"x", {1, 3, height, width}, dtype}}, device);
}

std::vector<float> run(Session& net, std::span<const float> picture) {
  net.input().copy_from(picture);
  net.run();
  return net.output().floats();
}

TEST(Quickstart, TracesToOneStepALayerAndKeepsTheSize) {
  const Quickstart model;
  const Plan plan = trace(model, {{"x", {2, 3, 7, 9}}});
  ASSERT_EQ(plan.outputs.size(), 1U);
  EXPECT_EQ(plan.values[static_cast<std::size_t>(plan.outputs[0].value)].spec.shape, (Shape{2, 3, 7, 9}));
  std::vector<std::string> paths;
  for (const Step& step : plan.steps) paths.push_back(step.path);
  const std::vector<std::string> expected = {
      "stem",           "blocks.0.norm", "blocks.0.conv1", "blocks.0.silu", "blocks.0.conv2", "blocks.0.add", "blocks.1.norm",
      "blocks.1.conv1", "blocks.1.silu", "blocks.1.conv2", "blocks.1.add",  "head",           "add"};
  EXPECT_EQ(paths, expected);
}

TEST(Quickstart, RefusesAPictureOfFourChannels) {
  const Quickstart model;
  EXPECT_NE(message_of<ShapeError>([&] { trace(model, {{"x", {1, 4, 8, 8}}}); }).find("stem"), std::string::npos);
}

TEST(Quickstart, SharpensAPicture) {
  Quickstart model;
  sharpen(model);
  Session net = compiled(model, 48, 64);
  EXPECT_EQ(net.output().spec().shape, (Shape{1, 3, 48, 64}));
  const auto before = soft_picture(48, 64), after = run(net, before);
  EXPECT_GT(sharpness(after, 48, 64), 1.5 * sharpness(before, 48, 64));
  // It is still the same picture: brightness stays, no pixel moves by more than a quarter of the range.
  const auto moved = inner_differences(before, after, 48, 64);
  EXPECT_LT(std::abs(std::accumulate(moved.begin(), moved.end(), 0.0) / static_cast<double>(moved.size())), 0.02);
  EXPECT_LT(largest(moved), 0.25);
}

TEST(Quickstart, LeavesAFlatPictureFlat) {
  Quickstart model;
  sharpen(model);
  Session net = compiled(model, 17, 19);
  const std::vector<float> flat(3 * 17 * 19, 0.4F), after = run(net, flat);
  const auto moved = inner_differences(flat, after, 17, 19);
  ASSERT_EQ(moved.size(), 3U * 3 * 5);
  EXPECT_LT(largest(moved), 1e-5);
}

TEST(Quickstart, RunsOnAnySizeAndEveryStepIsWithinItsBudget) {
  Quickstart model;
  sharpen(model);
  for (const auto& [height, width] : {std::pair{1, 1}, {1, 6}, {5, 1}, {13, 17}, {31, 33}}) {
    const auto picture = soft_picture(height, width);
    for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
      const Session net = compiled(model, height, width, t);
      VerifyOptions options;
      options.inputs.emplace_back(TensorSpec{{1, 3, height, width}, t}, picture);
      const VerifyReport report = verify(net, options);
      EXPECT_TRUE(report.ok()) << height << 'x' << width << ' ' << name(t) << '\n' << report;
      EXPECT_FALSE(report.layers.empty());
    }
  }
}

TEST(Quickstart, HalfPrecisionShowsTheSamePicture) {
  Quickstart model;
  sharpen(model);
  const auto picture = soft_picture(24, 40);
  Session exact_net = compiled(model, 24, 40);
  const auto exact = run(exact_net, picture);
  for (const DType t : {DType::f16, DType::bf16}) {
    Session net = compiled(model, 24, 40, t);
    const auto got = run(net, picture);
    // Input and output are rounded once each to T, colours being below 1; what the branch adds (at most a quarter, above)
    // went through 8 rounded values and as many rounded weights.
    const double bound = unit_roundoff(t) * (2 + 0.25 * 16);
    const double worst = largest(inner_differences(exact, got, 24, 40));
    EXPECT_LT(worst, bound) << name(t);
    EXPECT_GT(worst, 0) << name(t);
  }
}

TEST(Quickstart, IsVerifiedOnTheGpu) {
  FRIEZE_NEEDS_GPU();
  Quickstart model;
  sharpen(model);
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    const Session net = compiled(model, 31, 33, t, Device::cuda());
    const VerifyReport report = verify(net);
    EXPECT_TRUE(report.ok()) << report;
  }
}

TEST(Quickstart, IsAtMostSixtyLines) {
  std::ifstream header(std::string(FRIEZE_SOURCE_DIR) + "/models/quickstart.h");
  ASSERT_TRUE(header);
  int lines = 0;
  for (std::string line; std::getline(header, line);) ++lines;
  EXPECT_GT(lines, 10);
  EXPECT_LE(lines, 60);
}

}  // namespace
}  // namespace frieze::test
