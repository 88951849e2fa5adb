// How close the kernels of RMSNorm2d come to the exact result on normal data, in units of the last place, and that every
// configuration gives the same answer.
#include <gtest/gtest.h>

#if FRIEZE_WITH_CUDA
#include <cstdio>
#include <cstring>
#include <memory>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/kernel.h>
#include "layers/rms_norm2d_device.h"

namespace frieze {
namespace {

using test::DeviceTensor;
using test::DirectCase;
using test::kNchw;
using test::kNhwc;
using test::Layout;

struct Accuracy {
  double ulp = 0;      // largest error, in ulp at the largest summand
  double steps = 0;    // largest distance from the correctly rounded result, in ulp of the two or, of sums, at the largest summand
  double correct = 1;  // share of elements that are correctly rounded
};

std::vector<float> run(const DirectCase& c, const Layout& layout) {
  const cuda::Stream stream = cuda::make_stream();
  DeviceTensor x(c.shape, c.dtype, layout), y(c.shape, c.dtype, layout), residual(c.shape, c.dtype, layout);
  x.fill(c.x);
  RMSNorm2dCall call = c.call;
  if (!c.residual.empty()) residual.fill(c.residual);
  call.residual = residual.view();
  rms_norm2d(x.view(), y.view(), call, stream.get());
  CUDA_CHECK(cudaStreamSynchronize(stream.get()));
  return y.floats();
}

// Without an addition the result's own ulp counts. Where a bias or residual is added the summands may cancel: what is left of one
// unit in the last place of f32, relative to t = x * r * w, is then more than any number of ulp of the result, for every kernel that has
// not the whole result in more than f32. There the ulp is that of the largest summand, as it is for f32. The share of correctly rounded
// results has no such measure and counts in all cases.
Accuracy measure(std::span<const float> got, std::span<const test::NormResult> truth, DType t, bool sums) {
  Accuracy a;
  std::size_t correct = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const auto exact = static_cast<double>(truth[i].y), value = static_cast<double>(got[i]);
    const double best = round_to(t, exact);
    a.ulp = std::max(a.ulp, std::abs(value - exact) / test::ulp_at(t, static_cast<double>(truth[i].largest)));
    const double scale = sums ? static_cast<double>(truth[i].largest) : std::max(std::abs(value), std::abs(best));
    a.steps = std::max(a.steps, std::abs(value - best) / test::ulp_at(t, scale));
    correct += value == best ? 1 : 0;
    if (std::isnan(value) != std::isnan(exact)) a.ulp = a.steps = HUGE_VAL;
  }
  a.correct = static_cast<double>(correct) / static_cast<double>(got.size());
  return a;
}

struct Limit {
  const char* what;
  RMSNorm2dOptions options;
  double ulp;  // in f32
};

std::vector<Limit> limits() {
  RMSNorm2dOptions plain, weight, both, silu, after, before;
  plain.weight = false;
  both.bias = silu.bias = true;
  silu.activation = Activation::silu;
  after.residual = ResidualMode::after;
  before.weight = false;
  before.residual = ResidualMode::before;
  return {{"no affine", plain, 2},
          {"weight", weight, 4},
          {"weight and bias", both, 4},
          {"SiLU", silu, 8},
          {"weight, residual after", after, 4},
          {"residual before", before, 2}};
}

const Shape kShapes[] = {{2, 3, 64, 65}, {1, 64, 32, 32}, {1, 512, 16, 16}, {1, 1024, 9, 7}, {1, 4096, 4, 4}, {1, 65536, 1, 2}};

class RMSNorm2dAccuracy : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, RMSNorm2dAccuracy, testing::Values(DType::f32, DType::f16, DType::bf16),
                         [](const auto& info) { return std::string(name(info.param)); });

TEST_P(RMSNorm2dAccuracy, OnNormalData) {
  FRIEZE_NEEDS_GPU();
  const DType t = GetParam();
  for (const Limit& limit : limits()) {
    Accuracy worst;
    for (const Shape& shape : kShapes) {
      DirectCase c{limit.options, shape, t};
      c.prepare();
      const std::vector<test::NormResult> truth = c.truth();
      for (const Layout& layout : {kNchw, kNhwc}) {
        const bool sums = limit.options.bias || limit.options.residual == ResidualMode::after;
        const Accuracy a = measure(run(c, layout), truth, t, sums);
        if (t == DType::f32) {
          EXPECT_LE(a.ulp, limit.ulp) << limit.what << ' ' << shape << ' ' << layout.name;
        } else {
          EXPECT_GE(a.correct, 0.999) << limit.what << ' ' << shape << ' ' << t << ' ' << layout.name;
          EXPECT_LE(a.steps, 1) << limit.what << ' ' << shape << ' ' << t << ' ' << layout.name;
        }
        worst = {std::max(worst.ulp, a.ulp), std::max(worst.steps, a.steps), std::min(worst.correct, a.correct)};
      }
    }
    std::printf("rms_norm2d %s, %s: at most %.3f ulp of the largest summand, correctly rounded in at least %.4f %%\n",
                std::string(name(t)).c_str(), limit.what, worst.ulp, 100 * worst.correct);
  }
}

// With roundings in between the last one is right as often, but one that fell to the other side is multiplied on.
TEST_P(RMSNorm2dAccuracy, RoundingPointsAreThoseOfTheReference) {
  FRIEZE_NEEDS_GPU();
  const DType t = GetParam();
  if (t == DType::f32) GTEST_SKIP() << "f32 has no rounding points";
  for (const Rounding rounding : {Rounding::diffusers, Rounding::wan}) {
    for (const Shape& shape : kShapes) {
      DirectCase c{{}, shape, t};
      c.options.bias = true;
      c.options.rounding = rounding;
      c.prepare();
      const std::vector<test::NormResult> truth = c.truth();
      for (const Layout& layout : {kNchw, kNhwc}) {
        const Accuracy a = measure(run(c, layout), truth, t, true);
        EXPECT_GE(a.correct, 0.999) << name(rounding) << ' ' << shape << ' ' << layout.name;
      }
    }
  }
}

// x*r*w + b with the direct call, which runs the default configuration, and as a layer with the default and the tuned one.
TEST_P(RMSNorm2dAccuracy, DefaultTunedAndDirectGiveTheSameAnswer) {
  FRIEZE_NEEDS_GPU();
  const DType t = GetParam();
  const cuda::Stream stream = cuda::make_stream();
  int index = 0;
  CUDA_CHECK(cudaGetDevice(&index));
  const cuda::DeviceInfo device = cuda::device_info(index);
  for (const Shape& shape : {Shape{1, 64, 96, 96}, Shape{2, 384, 17, 23}, Shape{1, 1024, 16, 16}, Shape{1, 4096, 3, 8}}) {
    for (const Layout& layout : {kNchw, kNhwc}) {
      DirectCase c{{}, shape, t};
      c.options.bias = true;
      c.prepare();
      const std::vector<float> direct = run(c, layout);
      RMSNorm2d layer(shape.c(), c.options);
      init_random(layer, 11);  // as DirectCase does
      for (const bool tune : {false, true}) {
        const TensorSpec spec{shape, t, std::strcmp(layout.name, "nhwc") == 0 ? Format::nhwc : Format::nchw};
        cuda::PrepareArgs args{{&spec, 1}, {&spec, 1}, {}, &device, stream.get()};
        args.tune = tune;
        const std::unique_ptr<cuda::Kernel> kernel = cuda::kernel_registry().prepare(layer, args);
        DeviceTensor x(shape, t, layout), y(shape, t, layout);
        x.fill(c.x);
        const cuda::DeviceBuffer workspace(kernel->workspace_bytes());
        const TensorView in = x.view(), out = y.view();
        kernel->launch({{&in, 1}, {&out, 1}, workspace.data()}, stream.get());
        CUDA_CHECK(cudaStreamSynchronize(stream.get()));
        const std::vector<float> got = y.floats();
        // The sums may be added in another order, which can move the last place of f32 and, in 16 bits, a rare rounding.
        std::size_t different = 0;
        double steps = 0;
        for (std::size_t i = 0; i < got.size(); ++i) {
          different += got[i] != direct[i] ? 1 : 0;
          steps = std::max(steps, std::abs(static_cast<double>(got[i]) - static_cast<double>(direct[i])) / test::ulp_at(t, 4));
        }
        const std::string what = concat_text(shape, ' ', t, ' ', layout.name, tune ? " tuned: " : " default: ", kernel->describe());
        EXPECT_LE(steps, 1) << what;
        const double allowed = !tune ? 0 : t == DType::f32 ? 1 : 1e-3;
        EXPECT_LE(static_cast<double>(different), allowed * static_cast<double>(got.size())) << what;
      }
    }
  }
}

}  // namespace
}  // namespace frieze
#endif
