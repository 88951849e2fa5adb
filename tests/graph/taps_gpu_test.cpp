/// Taps on a GPU: the production graph's kernels, bits and time are those of a session that was never tapped.
#include <gtest/gtest.h>

#include "support/parity.h"

#if FRIEZE_WITH_CUDA
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/graph/cuda/taps.h>
#include <frieze/graph/session.h>
#include <frieze/models/quickstart.h>

#include "graph/device_layers.h"

namespace frieze::test {
namespace {

struct Mixed : Module {
  Times stem{{.factor = 0.5F, .absorbs = 2}}, scratch{{.factor = 1.5F, .workspace = true}}, tail{{.factor = -3}};
  Mixed() {
    add("stem", stem);
    add("scratch", scratch);
    add("tail", tail);
  }
  Value forward(Value x) const override { return tail(scratch(silu(stem(x)))); }
};

class TapsGpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FRIEZE_NEEDS_GPU();
    register_test_kernels();
  }
};

std::vector<float> some(std::size_t count, std::uint64_t seed) { return random_values(count, seed, Fill::normal, DType::f32, 1); }

bool same_bits(const HostTensor& a, const HostTensor& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.data(), b.data(), a.bytes()) == 0;
}

TEST_F(TapsGpuTest, EveryTapEqualsWhatASessionKeepsThatReusesNoMemory) {
  const Mixed model;
  const Shape shape{2, 3, 5, 7};
  Session tapped = compile(model, {{"x", shape}}, Device::cuda());
  Session kept = compile(model, {{"x", shape}}, Device::cuda(), {.keep_values = true});
  const std::vector<std::string> names = tapped.tap();
  ASSERT_EQ(names.size(), tapped.plan().steps.size());
  const cuda::DeviceBuffer y(static_cast<std::size_t>(tapped.output().spec().bytes()));
  for (const bool rebound : {false, true}) {
    if (rebound) tapped.bind(tapped.output().name(), y.data());
    for (const bool eager : {false, true}) {
      for (Session* session : {&tapped, &kept}) {
        session->input().copy_from(some(static_cast<std::size_t>(shape.elements()), 3));
        session->poison();
        eager ? session->run_eager() : session->run();
      }
      for (std::size_t i = 0; i < names.size(); ++i) {
        EXPECT_TRUE(same_bits(tapped.tapped(names[i]), kept.value(kept.plan().steps[i].output()))) << names[i] << rebound << eager;
      }
    }
  }
}

TEST_F(TapsGpuTest, ProductionIsTheSameBeforeDuringAndAfter) {
  Quickstart model;
  init_random(model, 1);
  const InputSpec input{"image", {1, 3, 64, 64}, DType::f16};
  Session net = compile(model, {input}, Device::cuda(), {.tune = false});
  const std::string receipt = net.receipt().json();
  net.input().copy_from(some(3 * 64 * 64, 5));
  net.run();
  const HostTensor before = net.output().to_host();
  net.tap();
  net.poison();
  net.run();
  EXPECT_TRUE(same_bits(net.output().to_host(), before)) << "with taps";
  net.untap();
  net.poison();
  net.run();
  EXPECT_TRUE(same_bits(net.output().to_host(), before)) << "without again";
  EXPECT_EQ(net.receipt().json(), receipt);
}

// A chain of kernels, captured without, with and with switched-off copies behind each: the driver's view of the nodes, and time.
TEST_F(TapsGpuTest, TheSiblingDiffersByCopiesAloneAndDisabledCopiesWouldCostProduction) {
  constexpr std::size_t kSteps = 40, kBytes = 64 << 10;
  const cuda::Stream stream = cuda::make_stream();
  const cuda::DeviceBuffer value(kBytes);
  const cuda::CaptureSource source{kSteps, [](std::size_t, cudaStream_t s) { launch_empty(s); },
                                   [](std::size_t i) { return std::to_string(i); }};
  const cuda::CapturedGraph plain = cuda::capture_steps(stream.get(), source);
  const cuda::GraphExec production = cuda::instantiate(plain, stream.get(), source).exec;
  const TensorSpec spec{Shape{kBytes / sizeof(float)}, DType::f32};
  std::vector<cuda::Taps::Tapped> all;
  for (std::size_t i = 0; i < kSteps; ++i) all.push_back({{.value = static_cast<int>(i)}, i, TensorView(value.data(), spec), spec});
  cuda::Taps taps(all, stream.get());
  taps.capture(source, stream.get());
  cuda::check_only_copies_added(plain, taps, source);
  std::size_t nodes = 0;
  CUDA_CHECK(cudaGraphGetNodes(taps.graph().graph.get(), nullptr, &nodes));
  EXPECT_EQ(nodes, 2 * kSteps);
  for (std::size_t i = 0; i < kSteps; ++i) {
    const cuda::KernelFacts a = cuda::kernel_facts(plain.nodes[i][0]), b = cuda::kernel_facts(taps.graph().nodes[i][0]);
    EXPECT_TRUE(a.same_launch(b));
    EXPECT_EQ(a.parameters, b.parameters);
    EXPECT_EQ(a.grid[0], 1U);
  }
  const auto us = [&](cudaGraphExec_t exec) {
    const cuda::Event begin = cuda::make_event(true), end = cuda::make_event(true);
    constexpr int kReplays = 200;
    CUDA_CHECK(cudaEventRecord(begin.get(), stream.get()));
    for (int i = 0; i < kReplays; ++i) CUDA_CHECK(cudaGraphLaunch(exec, stream.get()));
    CUDA_CHECK(cudaEventRecord(end.get(), stream.get()));
    CUDA_CHECK(cudaStreamSynchronize(stream.get()));
    float ms = 0;
    CUDA_CHECK(cudaEventElapsedTime(&ms, begin.get(), end.get()));
    return 1000.0 * static_cast<double>(ms) / kReplays;
  };
  cudaGraphExec_t raw = nullptr;
  CUDA_CHECK(cudaGraphInstantiate(&raw, taps.graph().graph.get(), 0));
  const cuda::GraphExec disabled(raw);
  for (const auto& step : taps.graph().nodes) CUDA_CHECK(cudaGraphNodeSetEnabled(disabled.get(), step.back(), 0));
  double best[3] = {1e9, 1e9, 1e9};
  for (int round = 0; round < 8; ++round) {
    const cudaGraphExec_t execs[] = {production.get(), disabled.get(), taps.exec()};
    for (int k = 0; k < 3; ++k) best[k] = std::min(best[k], us(execs[k]));
  }
  std::printf("%zu kernels: %.2f us; with disabled copies %.2f us (%.2f us each); with copies of 64 KiB %.2f us (%.2f us each)\n", kSteps,
              best[0], best[1], (best[1] - best[0]) / kSteps, best[2], (best[2] - best[0]) / kSteps);
  EXPECT_LT(best[0], best[2]) << "copies cost time, or they were not made";
}

TEST_F(TapsGpuTest, AGraphWithOtherKernelsIsRefused) {
  const cuda::Stream stream = cuda::make_stream();
  const auto path = [](std::size_t i) { return "step" + std::to_string(i); };
  const cuda::CaptureSource one{2, [](std::size_t, cudaStream_t s) { launch_empty(s); }, path};
  const cuda::CaptureSource other{2, [](std::size_t i, cudaStream_t s) { i == 1 ? launch_busy(s, 1) : launch_empty(s); }, path};
  const cuda::CapturedGraph production = cuda::capture_steps(stream.get(), one);
  cuda::Taps taps({}, stream.get());
  taps.capture(other, stream.get());
  EXPECT_TRUE(contains(message_of<CaptureError>([&] { cuda::check_only_copies_added(production, taps, one); }), "step1: node 0"));
}

// A session that was tapped once runs the graph that it ran before, in the time that it took before: in units of another session's, beside
// which it is timed, as a GPU's clock moves. Two sessions alone are not the same: their memory lies elsewhere, which makes 1 % and more.
TEST_F(TapsGpuTest, AfterUntapAReplayCostsWhatItCostBefore) {
  Quickstart model;
  init_random(model, 1);
  const InputSpec input{"image", {1, 3, 256, 256}, DType::f16};
  Session never = compile(model, {input}, Device::cuda(), {.tune = false}), once = compile(model, {input}, Device::cuda(), {.tune = false});
  const cuda::Stream stream = cuda::make_stream();
  const auto us = [&](Session& net) {
    constexpr int kReplays = 50;
    const cuda::Event begin = cuda::make_event(true), end = cuda::make_event(true);
    CUDA_CHECK(cudaEventRecord(begin.get(), stream.get()));
    for (int i = 0; i < kReplays; ++i) net.launch(stream.get());
    CUDA_CHECK(cudaEventRecord(end.get(), stream.get()));
    CUDA_CHECK(cudaStreamSynchronize(stream.get()));
    float ms = 0;
    CUDA_CHECK(cudaEventElapsedTime(&ms, begin.get(), end.get()));
    return 1000 * static_cast<double>(ms) / kReplays;
  };
  const auto relative = [&](int rounds) {
    double best_never = 1e9, best_once = 1e9;
    for (int round = 0; round < rounds; ++round) {
      best_never = std::min(best_never, us(never));
      best_once = std::min(best_once, us(once));
    }
    return best_once / best_never;
  };
  relative(10);  // the clock rises
  const double before = relative(30);
  once.tap();
  once.run();
  once.untap();
  const double after = relative(30);
  std::printf("a replay, in units of another session's: %.4f before it was tapped, %.4f after\n", before, after);
  EXPECT_LT(after, 1.01 * before);
}

}  // namespace
}  // namespace frieze::test

#else  // without CUDA

TEST(TapsGpuTest, NeedsCuda) { FRIEZE_NEEDS_GPU(); }

#endif
