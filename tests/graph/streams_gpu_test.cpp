/// Sessions on the streams of a host program: default streams, several, destroyed ones, and its own captures meanwhile.
#include <gtest/gtest.h>

#include "support/parity.h"

#if FRIEZE_WITH_CUDA
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/graph/session.h>

#include "graph/device_layers.h"

namespace frieze::test {
namespace {

constexpr int kBusy = 30000;  // microseconds: far longer than the host takes to get at what it must not see yet
constexpr std::int64_t kCount = 64;

// y = 8 * x, nothing fused.
struct Eightfold : Module {
  ModuleList<Times> list;
  Eightfold() {
    for (int i = 0; i < 3; ++i) list.emplace_back();
    add("list", list);
  }
  Value forward(Value x) const override { return list(x); }
};

std::vector<float> all(float value) { return std::vector<float>(kCount, value); }

cuda::Stream blocking_stream() {
  cudaStream_t stream = nullptr;
  CUDA_CHECK(cudaStreamCreate(&stream));
  return cuda::Stream(stream);
}

// How a session runs its steps.
enum class Way { graph, eager, tapped, tapped_eager };
constexpr Way kWays[] = {Way::graph, Way::eager, Way::tapped, Way::tapped_eager};

class StreamsGpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FRIEZE_NEEDS_GPU();
    register_test_kernels();
  }
  Session session(Way way) {
    CompileOptions options;
    options.capture = way == Way::graph || way == Way::tapped;
    Session net = compile(model_, {{"x", {kCount}}}, Device::cuda(), options);
    if (way == Way::tapped || way == Way::tapped_eager) net.tap();
    return net;
  }
  Eightfold model_;
};

// The default streams, by each of their names, and others.
struct ProgramStreams {
  cuda::Stream blocking = blocking_stream(), other = cuda::make_stream();
  std::vector<std::pair<const char*, cudaStream_t>> all() const {
    return {{"nullptr", nullptr},
            {"legacy", cudaStreamLegacy},
            {"per thread", cudaStreamPerThread},
            {"blocking", blocking.get()},
            {"non-blocking", other.get()}};
  }
};

TEST_F(StreamsGpuTest, ReadingAndWritingAPortWaitForTheLaunch) {
  const ProgramStreams streams;
  for (const Way way : kWays) {
    Session net = session(way);
    for (const auto& [name, stream] : streams.all()) {
      net.input().copy_from(all(1));
      net.poison();
      launch_busy(stream, kBusy);
      net.launch(stream);
      EXPECT_EQ(net.output().floats(), all(8)) << name << ": read too early";
      net.poison();
      launch_busy(stream, kBusy);
      net.launch(stream);
      net.input().copy_from(all(2));
      CUDA_CHECK(cudaStreamSynchronize(stream));
      EXPECT_EQ(net.output().floats(), all(8)) << name << ": the next input was there too early";
      net.input().copy_from(all(1));
      launch_busy(stream, kBusy);
      net.launch(stream);
      net.poison();
      for (const float v : net.output().floats()) ASSERT_TRUE(std::isnan(v)) << name << ": poisoned too early";
      if (way == Way::graph || way == Way::eager) continue;
      launch_busy(stream, kBusy);
      net.launch(stream);
      EXPECT_EQ(net.tapped("list.0").floats(), all(2)) << name << ": a tap was read too early";
    }
  }
}

// Work on `second` waits for work on `first`, although nobody told it to.
void expect_order(cudaStream_t first, cudaStream_t second, const std::function<void(cudaStream_t)>& launch_first,
                  const std::function<void(cudaStream_t)>& launch_second, const std::string& what) {
  const cuda::Event done = cuda::make_event();
  launch_busy(first, kBusy);
  launch_first(first);
  CUDA_CHECK(cudaEventRecord(done.get(), first));
  launch_second(second);
  CUDA_CHECK(cudaStreamSynchronize(second));
  EXPECT_EQ(cudaEventQuery(done.get()), cudaSuccess) << what << ": the second launch overtook the first";
  (void)cudaGetLastError();
  CUDA_CHECK(cudaEventSynchronize(done.get()));
}

TEST_F(StreamsGpuTest, ALaunchOnAnotherStreamComesAfterTheOneBefore) {
  const cuda::Stream a = cuda::make_stream(), b = cuda::make_stream();
  for (const Way way : kWays) {
    Session net = session(way);
    net.input().copy_from(all(1));
    const auto launch = [&](cudaStream_t s) { net.launch(s); };
    const auto name = "way " + std::to_string(static_cast<int>(way));
    expect_order(a.get(), b.get(), launch, launch, name);
    expect_order(nullptr, b.get(), launch, launch, name + ", from the default stream");
    expect_order(a.get(), cudaStreamPerThread, launch, launch, name + ", to the thread's default stream");
    expect_order(
        a.get(), b.get(), launch, [&](cudaStream_t s) { net.run(), launch(s); }, name + ", run() between");
    EXPECT_EQ(net.output().floats(), all(8));
  }
}

// One handle, two streams: that of each thread.
TEST_F(StreamsGpuTest, TheDefaultStreamsOfTwoThreadsAreTwo) {
  for (const Way way : kWays) {
    Session net = session(way);
    net.input().copy_from(all(1));
    net.poison();
    const cuda::Event done = cuda::make_event();
    std::thread([&] {
      launch_busy(cudaStreamPerThread, kBusy);
      net.launch(cudaStreamPerThread);
      CUDA_CHECK(cudaEventRecord(done.get(), cudaStreamPerThread));
    }).join();
    net.launch(cudaStreamPerThread);
    CUDA_CHECK(cudaStreamSynchronize(cudaStreamPerThread));
    EXPECT_EQ(cudaEventQuery(done.get()), cudaSuccess);
    (void)cudaGetLastError();
    EXPECT_EQ(net.output().floats(), all(8));
  }
}

TEST_F(StreamsGpuTest, AStreamMayGoBeforeItsLaunchIsDone) {
  for (const Way way : kWays) {
    auto net = std::make_unique<Session>(session(way));
    net->input().copy_from(all(1));
    for (int round = 0; round < 3; ++round) {
      net->poison();
      {
        const cuda::Stream gone = round == 1 ? blocking_stream() : cuda::make_stream();
        launch_busy(gone.get(), kBusy);
        net->launch(gone.get());
      }
      if (round == 2) break;
      EXPECT_EQ(net->output().floats(), all(8));
    }
    net.reset();  // while the last one runs
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  }
}

TEST_F(StreamsGpuTest, SessionsOfAnEngineTakeTurnsOnAnyStreams) {
  for (const bool captured : {true, false}) {
    CompileOptions options;
    options.capture = captured;
    Engine engine(model_, Device::cuda(), options, 4);
    Session a = engine.session({{"x", {kCount}}});
    Session b = engine.session({{"x", {2, kCount}}});
    const auto launch_a = [&](cudaStream_t s) { a.launch(s); };
    const auto launch_b = [&](cudaStream_t s) { b.launch(s); };
    const cuda::Stream s = cuda::make_stream(), t = cuda::make_stream();
    expect_order(s.get(), t.get(), launch_a, launch_b, "two streams");
    expect_order(nullptr, t.get(), launch_a, launch_b, "from the default stream");
    expect_order(cudaStreamPerThread, t.get(), launch_b, launch_a, "from the thread's default stream");
    expect_order(
        nullptr, t.get(), launch_a, [&](cudaStream_t) { b.run(); }, "run()");
    expect_order(
        nullptr, t.get(), launch_a, [&](cudaStream_t) { b.poison(); }, "poison()");
    a.input().copy_from(all(1));
    a.poison();
    a.launch(nullptr);
    b.run();
    EXPECT_EQ(a.output().floats(), all(8));
  }
}

// The driver gives a new stream the handle of one that is gone, whose work still runs.
TEST_F(StreamsGpuTest, AHandleThatIsUsedAgainIsAnotherStream) {
  Engine engine(model_, Device::cuda(), {}, 4);
  Session eager = session(Way::eager);
  Session a = engine.session({{"x", {kCount}}});
  Session b = engine.session({{"x", {2, kCount}}});
  const cuda::Event done = cuda::make_event();
  int met = 0;
  for (int round = 0; round < 20; ++round) {
    Session& first = round % 2 == 0 ? a : eager;
    Session& second = round % 2 == 0 ? b : eager;
    cudaStream_t handle = nullptr;
    {
      const cuda::Stream gone = cuda::make_stream();
      handle = gone.get();
      launch_busy(gone.get(), kBusy);
      first.launch(gone.get());
      CUDA_CHECK(cudaEventRecord(done.get(), gone.get()));
    }
    const cuda::Stream fresh = cuda::make_stream();
    if (fresh.get() == handle) ++met;
    second.launch(fresh.get());
    CUDA_CHECK(cudaStreamSynchronize(fresh.get()));
    EXPECT_EQ(cudaEventQuery(done.get()), cudaSuccess) << round;
    (void)cudaGetLastError();
  }
  std::printf("%d of 20 new streams had the handle of the one before\n", met);
}

TEST_F(StreamsGpuTest, ASessionIsUsedWhileAnotherDeviceIsCurrent) {
  int devices = 0;
  CUDA_CHECK(cudaGetDeviceCount(&devices));
  if (devices < 2) GTEST_SKIP() << "needs two CUDA devices";
  {
    Session net = compile(model_, {{"x", {kCount}}}, Device::cuda(1));
    net.input().copy_from(all(1));
    net.run();
    EXPECT_EQ(net.output().floats(), all(8));
    net.poison();
    net.launch(nullptr);
    EXPECT_EQ(net.output().floats(), all(8));
    cuda::Stream there;
    {
      const cuda::DeviceScope scope(1);
      there = cuda::make_stream();
    }
    net.poison();
    net.launch(there.get());
    EXPECT_EQ(net.output().floats(), all(8));
    const cuda::Stream here = cuda::make_stream();
    EXPECT_TRUE(contains(message_of<OptionError>([&] { net.launch(here.get()); }), "the stream on device 0"));
    EXPECT_EQ(net.output().floats(), all(8));
  }
  int current = -1;
  CUDA_CHECK(cudaGetDevice(&current));
  EXPECT_EQ(current, 0);
}

// A capture of the host program, open while a session is used; a session's own work has no part in it.
struct HostCapture {
  cudaStreamCaptureMode mode;
  bool blocking;
};

class HostCaptureGpuTest : public StreamsGpuTest, public ::testing::WithParamInterface<HostCapture> {
 protected:
  // Runs body() with a capture open on a stream of its own, and says whether that ended well with its two kernels.
  void during_a_capture(bool same_thread, const char* what, const std::function<void()>& body) {
    const cuda::Stream stream = GetParam().blocking ? blocking_stream() : cuda::make_stream();
    CUDA_CHECK(cudaStreamBeginCapture(stream.get(), GetParam().mode));
    launch_empty(stream.get());
    std::string error;
    const auto guarded = [&] {
      try {
        body();
      } catch (const std::exception& e) {
        error = e.what();
      }
    };
    same_thread ? guarded() : std::thread(guarded).join();
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    (void)cudaStreamIsCapturing(stream.get(), &status);
    EXPECT_EQ(status, cudaStreamCaptureStatusActive) << what << " broke the capture, same thread " << same_thread;
    if (status == cudaStreamCaptureStatusActive) launch_empty(stream.get());
    cudaGraph_t raw = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream.get(), &raw), cudaSuccess) << what << ", same thread " << same_thread;
    (void)cudaGetLastError();
    const cuda::Graph graph(raw);
    std::size_t nodes = 0;
    if (graph) CUDA_CHECK(cudaGraphGetNodes(graph.get(), nullptr, &nodes));
    EXPECT_EQ(nodes, 2U) << what;
    EXPECT_EQ(error, "") << what << ", same thread " << same_thread;
  }
};

TEST_P(HostCaptureGpuTest, EverythingThatASessionDoesLeavesItAlone) {
  for (const bool same_thread : {true, false}) {
    for (const Way way : kWays) {
      auto net = std::make_unique<Session>(session(way));
      net->input().copy_from(all(1));
      const cuda::Stream stream = cuda::make_stream();
      const cuda::DeviceBuffer x(kCount * sizeof(float)), y(kCount * sizeof(float));
      const std::vector<float> two = all(2);
      std::vector<float> got;
      during_a_capture(same_thread, "launch", [&] { net->launch(stream.get()); });
      during_a_capture(same_thread, "reading a port", [&] { got = net->output().floats(); });
      EXPECT_EQ(got, all(8));
      during_a_capture(same_thread, "launching and reading", [&] {
        net->poison();
        net->launch(stream.get());
        got = net->output().floats();
      });
      EXPECT_EQ(got, all(8));
      during_a_capture(same_thread, "writing a port", [&] { net->input().copy_from(two); });
      during_a_capture(same_thread, "run", [&] { net->run(); });
      during_a_capture(same_thread, "an eager run", [&] { net->run_eager(); });
      during_a_capture(same_thread, "bind", [&] {
        net->bind("x", x.data());
        net->bind("y", y.data());
        net->input().copy_from(two);
        net->run();
      });
      EXPECT_EQ(net->output().floats(), all(16));
      during_a_capture(same_thread, "tap", [&] {
        net->tap();
        net->run();
        got = net->tapped("list.1").floats();
        net->untap();
      });
      EXPECT_EQ(got, all(8));
      during_a_capture(same_thread, "a launch on the thread's default stream", [&] { net->launch(cudaStreamPerThread); });
      if (!GetParam().blocking) during_a_capture(same_thread, "a launch on the default stream", [&] { net->launch(nullptr); });
      during_a_capture(same_thread, "destruction", [&] { net.reset(); });
      during_a_capture(same_thread, "compile", [&] { net = std::make_unique<Session>(session(way)); });
      during_a_capture(same_thread, "an engine", [&] {
        Engine engine(model_, Device::cuda(), {}, 1);
        for (const std::int64_t n : {kCount, 2 * kCount, kCount}) engine.session({{"x", {n}}}).launch(stream.get());
      });
    }
  }
}

// The legacy stream would wait for the one that is captured, and break its capture: refused before.
TEST_P(HostCaptureGpuTest, TheDefaultStreamIsRefusedWhereItWouldBreakIt) {
  if (!GetParam().blocking) GTEST_SKIP() << "a non-blocking stream has nothing to do with the default stream";
  Session net = session(Way::graph);
  net.input().copy_from(all(1));
  for (const bool same_thread : {true, false}) {
    during_a_capture(same_thread, "a launch on the default stream",
                     [&] { EXPECT_TRUE(contains(message_of<CaptureError>([&] { net.launch(nullptr); }), "default stream")); });
  }
  net.launch(nullptr);
  EXPECT_EQ(net.output().floats(), all(8));
}

INSTANTIATE_TEST_SUITE_P(Modes, HostCaptureGpuTest,
                         ::testing::Values(HostCapture{cudaStreamCaptureModeGlobal, false}, HostCapture{cudaStreamCaptureModeGlobal, true},
                                           HostCapture{cudaStreamCaptureModeThreadLocal, false},
                                           HostCapture{cudaStreamCaptureModeThreadLocal, true},
                                           HostCapture{cudaStreamCaptureModeRelaxed, false},
                                           HostCapture{cudaStreamCaptureModeRelaxed, true}));

}  // namespace
}  // namespace frieze::test

#else  // without CUDA

TEST(StreamsGpuTest, NeedsCuda) { FRIEZE_NEEDS_GPU(); }

#endif
