/// The captured graph on a GPU: its facts, its bits, what it refuses, what it survives.
#include <gtest/gtest.h>

#include "support/parity.h"

#if FRIEZE_WITH_CUDA
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include <frieze/core/cuda/handles.h>
#include <frieze/graph/verify.h>

#include "graph/device_layers.h"

namespace frieze::test {
namespace {

// Every kind of step: a fused chain with an operand, a workspace with a memset node, conversions, a branch that joins.
struct Busy : Module {
  Times stem{{.factor = 0.5F, .absorbs = 4}};
  Times scratch{{.factor = 1.5F, .absorbs = 1, .workspace = true}};
  Times nhwc{{.factor = -0.25F, .formats = nhwc_only()}};
  Times head{{.factor = 2, .formats = nchw_only()}};
  Busy() {
    add("stem", stem);
    add("scratch", scratch);
    add("nhwc", nhwc);
    add("head", head);
  }
  Value forward(Value x) const override {
    const Value a = silu(stem(x)) + x;
    return head(nhwc(relu(scratch(a)))) + a;
  }
};

struct WithFault : Module {
  Times before, after;
  Faulty bad;
  explicit WithFault(Fault fault) : bad(fault) {
    add("before", before);
    add("bad", bad);
    add("after", after);
  }
  Value forward(Value x) const override { return after(bad(before(x))); }
};

const Shape kShape{2, 3, 5, 7};

class CaptureTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FRIEZE_NEEDS_GPU();
    register_test_kernels();
  }
  static Session net(const Module& model, DType t = DType::f32, const Shape& shape = kShape, CompileOptions options = {}) {
    return compile(model, {{"x", shape, t}}, Device::cuda(), options);
  }
  static std::vector<float> run_poisoned(Session& session, const std::vector<float>& x, bool eager = false) {
    session.input().copy_from(x);
    session.poison();
    eager ? session.run_eager() : session.run();
    return session.output().floats();
  }
};

// Bit for bit: NaN equals NaN, and -0 is not 0.
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<float> inputs(std::uint64_t seed, const Shape& shape = kShape, DType t = DType::f32) {
  return random_values(static_cast<std::size_t>(shape.elements()), seed, Fill::normal, t, shape[1]);
}

// The process, the device and new streams work: a fresh model compiles and gives what the CPU gives.
void expect_usable() {
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const Busy model;
  const Session session = compile(model, {{"x", kShape}}, Device::cuda());
  EXPECT_TRUE(verify(session).ok()) << verify(session);
}

TEST_F(CaptureTest, TheFactsAreThoseOfThePlan) {
  const Busy model;
  const Session session = net(model);
  const Receipt& receipt = session.receipt();
  EXPECT_TRUE(receipt.captured);
  EXPECT_EQ(receipt.launches_per_run, 1);
  EXPECT_EQ(receipt.capture_attempts, 1);
  ASSERT_EQ(receipt.steps.size(), session.plan().steps.size());
  int nodes = 0;
  for (std::size_t i = 0; i < receipt.steps.size(); ++i) {
    const Step& step = session.plan().steps[i];
    EXPECT_EQ(receipt.steps[i].path, step.label());
    EXPECT_EQ(receipt.steps[i].nodes, step.path == "scratch" ? 3 : 1) << step.path;
    nodes += receipt.steps[i].nodes;
  }
  EXPECT_EQ(static_cast<int>(receipt.nodes.size()), nodes);
  EXPECT_EQ(receipt.count("memset"), 1);
  EXPECT_EQ(receipt.count("kernel") + receipt.count("memset") + receipt.count("memcpy"), nodes) << receipt;
  EXPECT_GE(receipt.edges, nodes - 1) << "one connected graph";
  EXPECT_EQ(receipt.memory.arena, session.memory_plan().arena_bytes);
  EXPECT_EQ(receipt.memory.workspace, kShape.elements() * 4);
  for (const ReceiptNode& node : receipt.nodes) {
    if (node.kind != "kernel") continue;
    EXPECT_FALSE(node.function.empty()) << node.path;
    EXPECT_GT(node.grid[0] * node.block[0], 0U) << node.path;
  }
  EXPECT_TRUE(contains(receipt.text(), "1 launch per run"));
  EXPECT_TRUE(contains(receipt.text(), "2 kernels, 1 memset"));
}

TEST_F(CaptureTest, TellsHowManyStepsArePreparedAndStopsIfAsked) {
  const Busy model;
  std::vector<int> told;
  int steps = 0;
  CompileOptions options;
  options.on_prepared = [&](int ready, int all) { told.push_back(ready), steps = all; };
  const Session session = net(model, DType::f32, kShape, options);
  EXPECT_EQ(steps, static_cast<int>(session.plan().steps.size()));
  std::vector<int> each;
  for (int i = 1; i <= steps; ++i) each.push_back(i);
  EXPECT_EQ(told, each);
  options.on_prepared = [](int, int) { throw OptionError("enough"); };
  EXPECT_THROW((void)net(model, DType::f32, kShape, options), OptionError);
  Session again = net(model);  // nothing is left behind
  again.run();
}

TEST_F(CaptureTest, AnEagerSessionCapturesNothing) {
  const Busy model;
  Session session = net(model, DType::f32, kShape, {.capture = false}), captured = net(model);
  EXPECT_FALSE(session.receipt().captured);
  EXPECT_EQ(session.receipt().launches_per_run, 0);
  EXPECT_TRUE(same_bits(run_poisoned(session, inputs(1)), run_poisoned(captured, inputs(1))));
}

TEST_F(CaptureTest, ReplayEqualsEagerBitForBit) {
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    const Busy model;
    Session session = net(model, t);
    const std::vector<float> eager = run_poisoned(session, inputs(1), true), other = run_poisoned(session, inputs(2), true);
    EXPECT_FALSE(same_bits(eager, other)) << "different inputs give different outputs, or this test could not fail";
    for (int round = 0; round < 3; ++round) {
      EXPECT_TRUE(same_bits(run_poisoned(session, inputs(1)), eager)) << t << " round " << round;
      EXPECT_TRUE(same_bits(run_poisoned(session, inputs(2)), other)) << t << " round " << round;
    }
  }
}

TEST_F(CaptureTest, EveryLayerMatchesTheReference) {
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    for (const Shape& shape : {Shape{1, 1, 1, 1}, Shape{2, 3, 5, 7}, Shape{1, 64, 33, 31}}) {
      const Busy model;
      const VerifyReport report = verify(net(model, t, shape));
      EXPECT_TRUE(report.ok()) << t << shape << '\n' << report;
      EXPECT_TRUE(contains(report.device, "cuda:0"));
    }
  }
}

TEST_F(CaptureTest, AllPassesGiveTheSameFunction) {
  const Busy model;
  Session best = net(model), plain = net(model, DType::f32, kShape, {.passes = {.fuse = false, .formats = false}});
  EXPECT_GT(plain.plan().steps.size(), best.plan().steps.size() - 2);
  const std::vector<float> a = run_poisoned(best, inputs(3)), b = run_poisoned(plain, inputs(3));
  for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-5 * (1 + std::abs(b[i])));
}

TEST_F(CaptureTest, TwoSessionsInterleavedEqualEachAlone) {
  const Busy model;
  Session a = net(model), b = net(model, DType::f32, {1, 64, 40, 40});
  const std::vector<float> xa = inputs(1), xb = inputs(2, {1, 64, 40, 40});
  const std::vector<float> ya = run_poisoned(a, xa), yb = run_poisoned(b, xb);
  a.poison();
  b.poison();
  const cuda::Stream sa = cuda::make_stream(), sb = cuda::make_stream();
  for (int i = 0; i < 50; ++i) {
    a.launch(sa.get());
    b.launch(sb.get());
  }
  ASSERT_EQ(cudaStreamSynchronize(sa.get()), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(sb.get()), cudaSuccess);
  EXPECT_TRUE(same_bits(a.output().floats(), ya));
  EXPECT_TRUE(same_bits(b.output().floats(), yb));
}

TEST_F(CaptureTest, SeveralShapesOnOneArenaEqualEachAlone) {
  const Busy model;
  const std::vector<Shape> shapes = {{1, 3, 4, 4}, {1, 32, 64, 64}, {2, 3, 5, 7}};
  std::map<std::size_t, std::vector<float>> alone;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    Session session = net(model, DType::f32, shapes[i]);
    alone[i] = run_poisoned(session, inputs(i, shapes[i]));
  }
  Engine engine(model, Device::cuda());
  std::int64_t largest = 0;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    Session session = engine.session({{"x", shapes[i]}});
    session.input().copy_from(inputs(i, shapes[i]));
    largest = std::max(largest, session.memory_plan().arena_bytes);
  }
  EXPECT_GE(engine.arena_bytes(), largest);
  // On streams of their own: the shared arena orders them among each other.
  std::vector<cuda::Stream> streams;
  for (std::size_t i = 0; i < shapes.size(); ++i) streams.push_back(cuda::make_stream());
  for (int round = 0; round < 30; ++round) {
    for (std::size_t i = 0; i < shapes.size(); ++i) engine.session({{"x", shapes[i]}}).launch(streams[i].get());
  }
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    EXPECT_TRUE(same_bits(engine.session({{"x", shapes[i]}}).output().floats(), alone[i])) << shapes[i];
  }
  EXPECT_EQ(engine.captures(), shapes.size());
}

TEST_F(CaptureTest, AnEngineOfOneEvictsAndCapturesAgain) {
  const Busy model;
  Engine engine(model, Device::cuda(), {}, 1);
  std::vector<float> first;
  for (int round = 0; round < 3; ++round) {
    Session one = engine.session({{"x", kShape}});
    const std::vector<float> y = run_poisoned(one, inputs(1));
    if (round == 0) first = y;
    EXPECT_TRUE(same_bits(y, first));
    Session other = engine.session({{"x", {1, 1, 2, 2}}});
    (void)run_poisoned(other, inputs(1, {1, 1, 2, 2}));
  }
  EXPECT_EQ(engine.captures(), 6U);
}

TEST_F(CaptureTest, PoisonReachesEveryComputedValue) {
  const Busy model;
  Session session = net(model, DType::f32, kShape, {.keep_values = true});
  session.input().copy_from(inputs(1));
  session.run();
  session.poison();
  for (const Step& step : session.plan().steps) {
    for (const float v : session.value(step.output()).floats()) ASSERT_TRUE(std::isnan(v)) << step.path;
  }
  EXPECT_TRUE(same_bits(session.input().floats(), inputs(1)));
}

TEST_F(CaptureTest, ALayerWithoutKernelIsNamed) {
  struct Model : Module {
    NoKernel odd;
    Model() { add("odd", odd); }
    Value forward(Value x) const override { return odd(x); }
  } model;
  const std::string text = message_of<CudaError>([&] { (void)net(model); });
  EXPECT_EQ(text.find("odd: "), 0U) << text;
  EXPECT_TRUE(contains(text, "NoKernel has no CUDA kernel"));
}

// A session of a faulty model is refused with the module's path and a word on the call; nothing else suffers.
struct Refusal {
  Fault fault;
  const char* says;
};

class RefusalTest : public CaptureTest, public ::testing::WithParamInterface<Refusal> {};

TEST_P(RefusalTest, NamesTheModuleAndLeavesEverythingUsable) {
  const Busy model;
  Session before = net(model);
  const std::vector<float> expected = run_poisoned(before, inputs(1));
  const WithFault bad(GetParam().fault);
  for (int round = 0; round < 3; ++round) {
    const std::string text = message_of<CaptureError>([&] { (void)net(bad); });
    EXPECT_EQ(text.find("bad: "), 0U) << text;
    EXPECT_TRUE(contains(text, GetParam().says));
    EXPECT_EQ(text.find('\n'), std::string::npos) << "one line";
  }
  expect_usable();
  EXPECT_TRUE(same_bits(run_poisoned(before, inputs(1)), expected)) << "a session that was there before still works";
  Session eager = net(bad, DType::f32, kShape, {.capture = false});
  if (GetParam().fault != Fault::nothing && GetParam().fault != Fault::other_stream) {
    EXPECT_FLOAT_EQ(run_poisoned(eager, inputs(1))[0], 12 * inputs(1)[0]) << "without a capture nothing is forbidden";
  }
}

INSTANTIATE_TEST_SUITE_P(Calls, RefusalTest,
                         ::testing::Values(Refusal{Fault::malloc_async, "allocates"}, Refusal{Fault::host_function, "host function"},
                                           Refusal{Fault::pageable_copy, "pageable"}, Refusal{Fault::malloc, "cudaMalloc"},
                                           Refusal{Fault::unchecked_malloc, "nvalidated"},
                                           Refusal{Fault::synchronise, "cudaStreamSynchronize"},
                                           Refusal{Fault::other_stream, "enqueued nothing"}, Refusal{Fault::nothing, "enqueued nothing"},
                                           Refusal{Fault::open_fork, "could not be ended"},
                                           Refusal{Fault::invalidated_always, "by a call of this step"}));

TEST_F(CaptureTest, ACaptureThatAnotherThreadInvalidatesIsRetried) {
  const WithFault model(Fault::invalidated_once);
  Session session = net(model);
  EXPECT_EQ(session.receipt().capture_attempts, 2);
  EXPECT_FLOAT_EQ(run_poisoned(session, inputs(1))[5], 12 * inputs(1)[5]);
  expect_usable();
}

// verify finds what is wrong, by name.
class WrongKernelTest : public CaptureTest, public ::testing::WithParamInterface<Fault> {};

TEST_P(WrongKernelTest, IsFoundByName) {
  const WithFault model(GetParam());
  const VerifyReport report = verify(net(model, DType::bf16));
  EXPECT_FALSE(report.ok()) << report;
  EXPECT_EQ(report.first_divergent, "bad") << report;
  for (const VerifyLayer& layer : report.layers) EXPECT_EQ(layer.ok(), layer.path != "bad") << layer.path;
  EXPECT_GT(report.layers[1].accumulated.max_abs, 0) << "the whole run sees it too";
  EXPECT_GT(report.layers[2].accumulated.max_abs, 0) << "and so does what comes behind, which is right by itself";
  const std::int64_t at = report.layers[1].isolated.worst_index, width = kShape.w(), pixels = kShape.h() * width;
  if (GetParam() == Fault::misses_border) {
    EXPECT_EQ(at % width, width - 1) << "in the last column";
  }
  if (GetParam() == Fault::drops_last_channel) {
    EXPECT_EQ(at / pixels % kShape.c(), kShape.c() - 1) << "in the last channel";
  }
  if (GetParam() == Fault::unsynchronised) {
    EXPECT_GE(at % 128, 96) << "what the late warp writes";
  }
}

INSTANTIATE_TEST_SUITE_P(Faults, WrongKernelTest,
                         ::testing::Values(Fault::drops_last_channel, Fault::misses_border, Fault::reads_stale, Fault::truncates,
                                           Fault::unsynchronised));

TEST_F(CaptureTest, StateThatSurvivesALaunchIsFoundByName) {
  const WithFault model(Fault::counts_launches);
  const VerifyReport report = verify(net(model));
  EXPECT_FALSE(report.second_replay_equal);
  EXPECT_EQ(report.first_unequal, "bad (second replay)");
}

TEST_F(CaptureTest, AnEagerRunThatDiffersFromTheReplayIsFoundByName) {
  const WithFault model(Fault::frozen_after_two);
  const VerifyReport report = verify(net(model));
  EXPECT_TRUE(report.second_replay_equal) << "the graph replays what was captured";
  EXPECT_FALSE(report.replay_equals_eager);
  EXPECT_EQ(report.first_unequal, "bad (eager run)");
}

}  // namespace
}  // namespace frieze::test

#else  // without CUDA

TEST(CaptureTest, NeedsCuda) { FRIEZE_NEEDS_GPU(); }

#endif
