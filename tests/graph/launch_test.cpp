/// Launches of captured sessions on a GPU: the caller's memory, streams and threads, and what a replay costs.
#include <gtest/gtest.h>

#include "support/parity.h"

#if FRIEZE_WITH_CUDA
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/graph/session.h>

#include "graph/allocation_hooks.h"
#include "graph/device_layers.h"

namespace frieze::test {
namespace {

// y = 2 * (2 * … x), `steps` kernels in a row, nothing fused.
struct Row : Module {
  ModuleList<Times> list;
  explicit Row(int steps, TimesOptions options = {}) {
    for (int i = 0; i < steps; ++i) list.emplace_back(options);
    add("list", list);
  }
  Value forward(Value x) const override { return list(x); }
};

class LaunchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FRIEZE_NEEDS_GPU();
    register_test_kernels();
  }
};

Session row_session(const Row& row, std::int64_t count = 64, CompileOptions options = {}) {
  return compile(row, {{"x", {count}}}, Device::cuda(), options);
}

cuda::DeviceBuffer filled(std::size_t count, float value) {
  const std::vector<float> values(count, value);
  return cuda::to_device(values.data(), count * sizeof(float));
}

std::vector<float> downloaded(const cuda::DeviceBuffer& buffer) {
  std::vector<float> values(buffer.bytes() / sizeof(float));
  buffer.download(values.data(), buffer.bytes());
  return values;
}

std::vector<float> all(std::size_t count, float value) { return std::vector<float>(count, value); }

TEST_F(LaunchTest, BindSwapsPointersWithoutACapture) {
  // One chain of own kernels, and one whose first and last steps hold memset nodes that cannot be patched one by one.
  for (const bool workspace : {false, true}) {
    const Row row(3, {.workspace = workspace});
    Session net = row_session(row);
    net.input().copy_from(all(64, 1));
    net.run();
    EXPECT_EQ(net.output().floats(), all(64, 8));

    const cuda::DeviceBuffer x1 = filled(64, 2), x2 = filled(64, 3), y1 = filled(64, -1), y2 = filled(64, -1);
    net.bind("x", x1.data());
    net.run();
    EXPECT_EQ(net.output().floats(), all(64, 16)) << "a new input, the old output";
    net.bind("y", y1.data());
    net.run();
    EXPECT_EQ(downloaded(y1), all(64, 16));
    EXPECT_EQ(net.output().view().data, y1.data());

    net.bind("x", x2.data());
    net.bind("y", y2.data());
    net.poison();
    net.run();
    EXPECT_EQ(downloaded(y2), all(64, 24));
    EXPECT_EQ(downloaded(y1), all(64, 16)) << "the buffer that was bound before is not touched any more";
    EXPECT_EQ(downloaded(x1), all(64, 2));
    net.run_eager();
    EXPECT_EQ(downloaded(y2), all(64, 24)) << "eager runs use the same memory";

    net.bind("x", nullptr);
    net.bind("y", nullptr);
    net.run();
    EXPECT_EQ(net.output().floats(), all(64, 8)) << "the session's own input is as it was";
    EXPECT_EQ(downloaded(y2), all(64, 24));
    EXPECT_EQ(net.receipt().capture_attempts, 1);
  }
}

TEST_F(LaunchTest, BindingBackAndForthManyTimesGrowsNothing) {
  const Row row(3);
  Session net = row_session(row);
  const cuda::DeviceBuffer a = filled(64, 1), b = filled(64, 2);
  const auto round = [&](int i) {
    net.bind("x", i % 2 == 0 ? a.data() : b.data());
    net.run();
    ASSERT_EQ(net.output().floats(), all(64, i % 2 == 0 ? 8 : 16)) << i;
  };
  for (int i = 0; i < 20; ++i) round(i);
  std::size_t before = 0, after = 0, total = 0;
  CUDA_CHECK(cudaMemGetInfo(&before, &total));
  for (int i = 0; i < 500; ++i) round(i);
  CUDA_CHECK(cudaMemGetInfo(&after, &total));
  EXPECT_GE(after, before) << "free memory; more of it is another program's doing";
}

TEST_F(LaunchTest, LaunchesAreOrderedOnTheCallersStream) {
  const Row row(3);
  Session net = row_session(row);
  const cuda::DeviceBuffer x = filled(64, 0), y = filled(64, 0), two = filled(64, 2);
  net.bind("x", x.data());
  net.bind("y", y.data());
  const cuda::Stream stream = cuda::make_stream();
  std::vector<float> result(64);
  launch_busy(stream.get(), 2000);  // what follows is enqueued long before it runs
  CUDA_CHECK(cudaMemcpyAsync(x.data(), two.data(), x.bytes(), cudaMemcpyDeviceToDevice, stream.get()));
  net.launch(stream.get());
  CUDA_CHECK(cudaMemcpyAsync(result.data(), y.data(), y.bytes(), cudaMemcpyDeviceToHost, stream.get()));
  CUDA_CHECK(cudaStreamSynchronize(stream.get()));
  EXPECT_EQ(result, all(64, 16));
}

TEST_F(LaunchTest, LaunchReturnsBeforeTheWorkIsDone) {
  const Row row(3);
  Session net = row_session(row);
  const cuda::Stream stream = cuda::make_stream();
  launch_busy(stream.get(), 50000);
  net.launch(stream.get());
  EXPECT_EQ(cudaStreamQuery(stream.get()), cudaErrorNotReady);
  (void)cudaGetLastError();
  CUDA_CHECK(cudaStreamSynchronize(stream.get()));
}

TEST_F(LaunchTest, ReadingAnOutputWaitsForTheCallersStream) {
  const Row row(3);
  Session net = row_session(row);
  net.input().copy_from(all(64, 1));
  const cuda::Stream stream = cuda::make_stream();
  net.poison();
  launch_busy(stream.get(), 20000);
  net.launch(stream.get());
  EXPECT_EQ(net.output().floats(), all(64, 8));
}

// A session is a graph of its own and has no place in another one: refused, and the caller's capture goes on.
TEST_F(LaunchTest, AStreamThatTheCallerCapturesIsRefused) {
  const Row row(3);
  Session net = row_session(row);
  const cuda::Stream stream = cuda::make_stream();
  CUDA_CHECK(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal));
  launch_empty(stream.get());
  const std::string text = message_of<CaptureError>([&] { net.launch(stream.get()); });
  launch_empty(stream.get());
  cudaGraph_t raw = nullptr;
  CUDA_CHECK(cudaStreamEndCapture(stream.get(), &raw));
  const cuda::Graph graph(raw);
  EXPECT_TRUE(contains(text, "captured"));
  std::size_t nodes = 0;
  CUDA_CHECK(cudaGraphGetNodes(graph.get(), nullptr, &nodes));
  EXPECT_EQ(nodes, 2U);
  net.input().copy_from(all(64, 1));
  net.run();
  EXPECT_EQ(net.output().floats(), all(64, 8));
}

TEST_F(LaunchTest, DestroyedSessionsGiveTheirMemoryBack) {
  const Row row(3, {.workspace = true});
  const auto once = [&] {
    Session net = row_session(row, std::int64_t{1} << 22);
    net.run();
  };
  for (int i = 0; i < 3; ++i) once();
  std::size_t before = 0, after = 0, total = 0;
  CUDA_CHECK(cudaMemGetInfo(&before, &total));
  for (int i = 0; i < 20; ++i) once();
  CUDA_CHECK(cudaMemGetInfo(&after, &total));
  // The driver keeps a few MiB for the next graph; a session holds 80.
  EXPECT_LT(static_cast<std::int64_t>(before) - static_cast<std::int64_t>(after), 4 << 20);
}

TEST_F(LaunchTest, AThousandReplaysAllocateNothing) {
  if (!counts_allocations()) GTEST_SKIP() << "the sanitizer has its own operator new";
  const Row row(50);
  Session net = row_session(row);
  const cuda::Stream stream = cuda::make_stream();
  net.input().copy_from(all(64, 0x1p-50F));
  const auto replay = [&](int times) {
    for (int i = 0; i < times; ++i) {
      net.run();
      net.launch(stream.get());
      if (i % 16 == 0) (void)cudaStreamSynchronize(stream.get());
    }
    (void)cudaStreamSynchronize(stream.get());
  };
  replay(50);
  std::size_t before = 0, after = 0, total = 0;
  CUDA_CHECK(cudaMemGetInfo(&before, &total));
  const std::int64_t heap = heap_bytes();
  const AllocationCounter counter;
  replay(1000);
  EXPECT_EQ(counter.count(), 0) << "heap allocations on the way of a replay";
  EXPECT_LT(heap_bytes(), heap + 4096) << "the driver does not grow either: a leak of a byte a launch would show";
  CUDA_CHECK(cudaMemGetInfo(&after, &total));
  EXPECT_GE(after, before) << "free device memory; more of it is another program's doing";
  EXPECT_EQ(net.output().floats(), all(64, 1));
}

// Median host time of one call, in microseconds; the device is idle each time.
template <class Call>
double host_us(cudaStream_t stream, Call&& call) {
  std::vector<double> times;
  for (int i = 0; i < 400; ++i) {
    const auto start = std::chrono::steady_clock::now();
    call();
    times.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
    (void)cudaStreamSynchronize(stream);
  }
  std::nth_element(times.begin(), times.begin() + 200, times.end());
  return times[200];
}

TEST_F(LaunchTest, ALaunchCostsTheHostWhatABareGraphCosts) {
  constexpr int kNodes = 50;
  const Row row(kNodes);
  Session net = row_session(row);
  ASSERT_EQ(net.receipt().nodes.size(), static_cast<std::size_t>(kNodes));
  const cuda::Stream stream = cuda::make_stream();
  CUDA_CHECK(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < kNodes; ++i) launch_empty(stream.get());
  cudaGraph_t raw = nullptr;
  CUDA_CHECK(cudaStreamEndCapture(stream.get(), &raw));
  const cuda::Graph graph(raw);
  cudaGraphExec_t raw_exec = nullptr;
  CUDA_CHECK(cudaGraphInstantiate(&raw_exec, graph.get(), 0));
  const cuda::GraphExec exec(raw_exec);

  // The event is what a session orders later work by: the caller's stream may be gone by then.
  const cuda::Event behind = cuda::make_event();
  const auto bare_launch = [&] {
    (void)cudaGraphLaunch(exec.get(), stream.get());
    (void)cudaEventRecord(behind.get(), stream.get());
  };
  const auto our_launch = [&] { net.launch(stream.get()); };
  (void)host_us(stream.get(), bare_launch);
  (void)host_us(stream.get(), our_launch);
  // Interleaved and repeated: the clock of a shared machine is not ours.
  double best = 1e9;
  for (int attempt = 0; attempt < 8 && best > 1.3; ++attempt) {
    const double bare = host_us(stream.get(), bare_launch), ours = host_us(stream.get(), our_launch);
    std::printf("host time of a launch of %d nodes: bare %.2f us, session %.2f us, ratio %.2f\n", kNodes, bare, ours, ours / bare);
    best = std::min(best, ours / bare);
  }
  EXPECT_LE(best, 1.3);
}

// One thread compiles and captures; the others do what a host program does meanwhile.
TEST_F(LaunchTest, CapturesSurviveOtherThreadsAtWork) {
  std::atomic<bool> stop{false};
  std::atomic<int> failures{0}, rounds{0};
  const auto worker = [&](auto&& body) {
    return std::thread([&, body] {
      try {
        while (!stop) {
          body();
          ++rounds;
        }
      } catch (const std::exception& e) {
        std::printf("worker: %s\n", e.what());
        ++failures;
      }
    });
  };
  const Row small(5), large(20);
  std::vector<std::thread> threads;
  threads.push_back(worker([] { (void)cuda::DeviceBuffer(1 << 20); }));
  threads.push_back(worker([] {
    const cuda::Stream stream = cuda::make_stream();
    launch_busy(stream.get(), 20);
    CUDA_CHECK(cudaStreamSynchronize(stream.get()));
  }));
  threads.push_back(worker([&, net = std::make_shared<Session>(row_session(small))] {
    net->input().copy_from(all(64, 1));
    net->poison();
    net->run();
    check<Error>(net->output().floats() == all(64, 32), "a replay beside a capture gave another result");
  }));
  threads.push_back(worker([&] {
    Session net = row_session(small, 128);  // captures and destroys as well
    net.input().copy_from(all(128, 2));
    net.run();
    check<Error>(net.output().floats() == all(128, 64), "a fresh session beside a capture gave another result");
  }));
  for (int i = 0; i < 60; ++i) {
    Session net = row_session(large, 256);
    net.input().copy_from(all(256, 0x1p-20F));
    net.poison();
    net.run();
    EXPECT_EQ(net.output().floats(), all(256, 1));
    EXPECT_EQ(net.receipt().nodes.size(), 20U);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_GT(rounds, 20);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}

}  // namespace
}  // namespace frieze::test

#else  // without CUDA

TEST(LaunchTest, NeedsCuda) { FRIEZE_NEEDS_GPU(); }

#endif
