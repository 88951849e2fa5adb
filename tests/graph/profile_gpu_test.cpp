/// Times of the steps inside a replay, on a GPU: they add up, they find the slow step, they change nothing.
#include <gtest/gtest.h>

#include "support/parity.h"

#if FRIEZE_WITH_CUDA
#include <algorithm>
#include <cmath>
#include <iostream>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/graph/cuda/stamps.h>
#include <frieze/graph/profile.h>

#include "graph/device_layers.h"

namespace frieze::test {
namespace {

struct Chain : Module {
  ModuleList<Times> list;
  explicit Chain(int steps) {
    for (int i = 0; i < steps; ++i) list.emplace_back(TimesOptions{.factor = i % 2 == 0 ? 2.0F : 0.5F});
    add("list", list);
  }
  Value forward(Value x) const override { return list(x); }
};

// Doubles the channels in its second step, whose successors move twice the bytes.
struct Widening : Module {
  Times before, wide{{.large_output = true}}, wider{{.large_output = true}}, after;
  Widening() { add("before", before), add("wide", wide), add("wider", wider), add("after", after); }
  Value forward(Value x) const override { return after(wider(wide(before(x)))); }
};

class ProfileGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    FRIEZE_NEEDS_GPU();
    register_test_kernels();
  }
};

TEST_F(ProfileGpu, TheStepsAddUpToTheReplay) {
  // Kernels of a microsecond, where stamps are as long as the steps, and of fifty.
  for (const std::int64_t side : {16, 1024}) {
    const Chain model(24);
    Session net = compile(model, {{"x", {1, 16, side, side}}}, Device::cuda());
    ProfileReport report = profile(net);
    for (int retry = 0; retry < 2 && std::abs(report.excess()) > 0.05; ++retry) report = profile(net);  // another process's noise
    EXPECT_LE(std::abs(report.excess()), 0.05) << report;
    EXPECT_GT(report.stamp_us, 0.2) << report;
    EXPECT_LT(report.stamp_us, 5) << report;
    EXPECT_GE(report.stamped_us, report.run_us) << report;
    EXPECT_LT(report.between_us, 10) << report;
    std::cout << "side " << side << ": replay " << report.run_us << " us, sum " << report.sum_us() << ", stamped " << report.stamped_us
              << ", stamp " << report.stamp_us << ", to the next replay " << report.between_us << '\n';
  }
}

TEST_F(ProfileGpu, FindsTheSlowestStepAndItsFloor) {
  const Widening model;
  Session net = compile(model, {{"x", {1, 16, 1024, 1024}}}, Device::cuda());
  const ProfileReport report = profile(net);
  ASSERT_EQ(report.steps.size(), 4U);
  const auto slowest = std::max_element(report.steps.begin(), report.steps.end(), [](const auto& a, const auto& b) { return a.us < b.us; });
  // Both of the last two write 64 channels; a kernel that writes more slowly than it reads takes as long in either.
  EXPECT_TRUE(slowest->path == "after" || slowest->path == "wider") << report;
  EXPECT_GT(report.steps[3].floor_us(), report.steps[2].floor_us()) << report;
  EXPECT_GT(report.steps[2].floor_us(), 1.5 * report.steps[1].floor_us()) << report;
  for (const ProfileStep& step : report.steps) {
    EXPECT_GT(step.floor_us(), 0) << step.path;
    EXPECT_GT(step.ratio(), 0.8) << step.path << ": nothing that reaches memory beats a copy\n" << report;
    EXPECT_GT(step.blocks, 0) << step.path;
  }
  EXPECT_GT(report.copy_bytes_per_us, 0);
  EXPECT_GE(report.cached_bytes_per_us, report.copy_bytes_per_us);
  EXPECT_GT(report.flops_per_us, 1e6);
}

TEST_F(ProfileGpu, LeavesTheSessionAsItWas) {
  const Chain model(5);
  Session net = compile(model, {{"x", {1, 3, 31, 17}, DType::bf16}}, Device::cuda());
  net.input().copy_from(ramp(3 * 31 * 17));
  net.run();
  const std::vector<float> before = net.output().floats();
  const std::string receipt = net.receipt().json();
  ASSERT_GT(profile(net, {.rounds = 3}).run_us, 0);
  EXPECT_EQ(net.receipt().json(), receipt);
  net.poison();
  net.run();
  EXPECT_EQ(net.output().floats(), before);
}

TEST_F(ProfileGpu, TakesEagerSessionsAndSharedArenas) {
  const Chain model(3);
  Session eager = compile(model, {{"x", {64}}}, Device::cuda(), {.capture = false});
  EXPECT_EQ(profile(eager, {.rounds = 3}).steps.size(), 3U);
  Engine engine(model, Device::cuda());
  for (const std::int64_t size : {64, 128}) {
    Session net = engine.session({{"x", {size}}});
    EXPECT_GT(profile(net, {.rounds = 3}).sum_us(), 0);
  }
}

TEST_F(ProfileGpu, AStampCostsLessThanAnEventNode) {
  const cuda::Stream stream = cuda::make_stream();
  const cuda::Event begin = cuda::make_event(true), end = cuda::make_event(true);
  constexpr std::size_t kNodes = 64;
  const cuda::DeviceBuffer clocks(kNodes * sizeof(std::uint64_t));
  const auto replay_us = [&](const std::function<void(std::size_t)>& enqueue) {
    cudaGraph_t raw = nullptr;
    CUDA_CHECK(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal));
    for (std::size_t i = 0; i < kNodes; ++i) enqueue(i);
    CUDA_CHECK(cudaStreamEndCapture(stream.get(), &raw));
    const cuda::Graph graph(raw);
    cudaGraphExec_t exec = nullptr;
    CUDA_CHECK(cudaGraphInstantiate(&exec, raw, 0));
    const cuda::GraphExec owner(exec);
    std::vector<double> us;
    for (int i = 0; i < 20; ++i) {
      CUDA_CHECK(cudaGraphLaunch(exec, stream.get()));
      CUDA_CHECK(cudaEventRecord(begin.get(), stream.get()));
      CUDA_CHECK(cudaGraphLaunch(exec, stream.get()));
      CUDA_CHECK(cudaEventRecord(end.get(), stream.get()));
      CUDA_CHECK(cudaEventSynchronize(end.get()));
      float ms = 0;
      CUDA_CHECK(cudaEventElapsedTime(&ms, begin.get(), end.get()));
      us.push_back(1000 * static_cast<double>(ms));
    }
    return spread_of(us).mid / kNodes;
  };
  const cuda::Event event = cuda::make_event(true);
  const double stamp = replay_us([&](std::size_t i) { cuda::stamp(clocks.as<std::uint64_t>() + i, stream.get()); });
  const double node =
      replay_us([&](std::size_t) { CUDA_CHECK(cudaEventRecordWithFlags(event.get(), stream.get(), cudaEventRecordExternal)); });
  std::cout << "a stamp " << stamp << " us, an event node " << node << " us\n";
  EXPECT_LT(stamp, node) << "then event nodes would be the better way to time steps";
}

}  // namespace
}  // namespace frieze::test
#endif
