/// Sessions inside of captures that the program makes: Session::record().
#include <gtest/gtest.h>

#include "support/parity.h"

#if FRIEZE_WITH_CUDA
#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/yardstick.h>
#include <frieze/graph/session.h>
#include <frieze/models/quickstart.h>

#include "graph/device_layers.h"
#include "support/parity_grid.h"

namespace frieze::test {
namespace {

const Shape kShape{2, 3, 33, 47};
constexpr cudaStreamCaptureMode kModes[] = {cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeRelaxed};

// y = 8 * x, nothing fused.
struct Eightfold : Module {
  ModuleList<Times> list;
  Eightfold() {
    for (int i = 0; i < 3; ++i) list.emplace_back();
    add("list", list);
  }
  Value forward(Value x) const override { return list(x); }
};

// What a program captures, ready to be launched.
struct Program {
  cuda::Graph graph;
  cuda::GraphExec exec;
};

Program captured(cudaStream_t stream, const std::function<void()>& body, cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal) {
  CUDA_CHECK(cudaStreamBeginCapture(stream, mode));
  body();
  cudaGraph_t graph = nullptr;
  CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  Program made{cuda::Graph(graph), cuda::GraphExec()};
  cudaGraphInstantiateParams params{};
  cudaGraphExec_t exec = nullptr;
  CUDA_CHECK(cudaGraphInstantiateWithParams(&exec, graph, &params));
  made.exec = cuda::GraphExec(exec);
  return made;
}

void replay(const Program& program, cudaStream_t stream) {
  CUDA_CHECK(cudaGraphLaunch(program.exec.get(), stream));
  CUDA_CHECK(cudaStreamSynchronize(stream));
}

std::size_t node_count(const Program& program) {
  std::size_t count = 0;
  CUDA_CHECK(cudaGraphGetNodes(program.graph.get(), nullptr, &count));
  return count;
}

// Nodes of the longest chain.
std::size_t depth(const Program& program) {
  std::size_t count = 0;
#if CUDART_VERSION >= 13000
  CUDA_CHECK(cudaGraphGetEdges(program.graph.get(), nullptr, nullptr, nullptr, &count));
  std::vector<cudaGraphNode_t> from(count), to(count);
  std::vector<cudaGraphEdgeData> data(count);
  CUDA_CHECK(cudaGraphGetEdges(program.graph.get(), from.data(), to.data(), data.data(), &count));
#else
  CUDA_CHECK(cudaGraphGetEdges_v2(program.graph.get(), nullptr, nullptr, nullptr, &count));
  std::vector<cudaGraphNode_t> from(count), to(count);
  std::vector<cudaGraphEdgeData> data(count);
  CUDA_CHECK(cudaGraphGetEdges_v2(program.graph.get(), from.data(), to.data(), data.data(), &count));
#endif
  std::map<cudaGraphNode_t, std::size_t> longest;
  std::size_t most = 1;
  for (std::size_t round = 0; round <= count; ++round) {  // Bellman and Ford's
    bool changed = false;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t before = std::max<std::size_t>(longest[from[i]], 1) + 1;
      changed |= before > longest[to[i]];
      longest[to[i]] = std::max(longest[to[i]], before);
      most = std::max(most, longest[to[i]]);
    }
    if (!changed) break;
  }
  return most;
}

HostTensor random_tensor(const TensorSpec& spec, std::uint64_t seed) {
  const auto count = static_cast<std::size_t>(spec.shape.elements());
  return HostTensor(spec, random_values(count, seed, Fill::normal, spec.dtype, spec.shape.rank() > 1 ? spec.shape[1] : 1));
}

bool same(const HostTensor& a, const HostTensor& b) { return a.bytes() == b.bytes() && std::memcmp(a.data(), b.data(), a.bytes()) == 0; }

HostTensor downloaded(const cuda::DeviceBuffer& buffer, const TensorSpec& spec) {
  HostTensor out(spec);
  buffer.download(out.data(), out.bytes());
  return out;
}

HostTensor by_run(Session& net, const HostTensor& x) {
  net.input().copy_from(x);
  net.run();
  return net.output().to_host();
}

class RecordGpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FRIEZE_NEEDS_GPU();
    register_test_kernels();
    sharpen(model_);
    stream_.emplace(cuda::make_stream());
  }
  cudaStream_t stream() const { return stream_->get(); }
  Session session(DType dtype = DType::f32, bool capture = true) {
    return compile(model_, {{"x", kShape, dtype}}, Device::cuda(), {.capture = capture});
  }
  // [a busy kernel, a kernel of the program's into the input, the session, a copy of the output].
  Program around(Session& net, const cuda::DeviceBuffer& in, const cuda::DeviceBuffer& out,
                 cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal) {
    return captured(
        stream(),
        [&] {
          launch_busy(stream(), 200);
          cuda::copy_16_bytes_a_thread(in.data(), net.input().view().data, in.bytes(), stream());
          net.record(stream());
          CUDA_CHECK(cudaMemcpyAsync(out.data(), net.output().view().data, out.bytes(), cudaMemcpyDeviceToDevice, stream()));
        },
        mode);
  }

  Quickstart model_;
  std::optional<cuda::Stream> stream_;
};

TEST_F(RecordGpuTest, AGraphOfTheProgramsReplaysTheBitsOfRun) {
  for (const bool capture : {true, false}) {
    for (const DType t : kTypes) {
      Session net = session(t, capture);
      const TensorSpec spec = net.input().spec();
      std::vector<HostTensor> x, expected;
      for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        x.push_back(random_tensor(spec, seed));
        expected.push_back(by_run(net, x.back()));
      }
      ASSERT_FALSE(same(expected[0], expected[1]));
      for (const cudaStreamCaptureMode mode : kModes) {
        SCOPED_TRACE(testing::Message() << name(t) << ", mode " << mode << (capture ? "" : ", eager session"));
        cuda::DeviceBuffer in(x[0].bytes()), out(expected[0].bytes());
        const Program program = around(net, in, out, mode);
        for (std::size_t i = 0; i < x.size(); ++i) {
          in.upload(x[i].data(), x[i].bytes());
          CUDA_CHECK(cudaMemsetAsync(out.data(), 0xFF, out.bytes(), stream()));
          net.poison();
          replay(program, stream());
          EXPECT_TRUE(same(downloaded(out, spec), expected[i])) << "replay " << i;
          EXPECT_TRUE(same(net.output().to_host(), expected[i])) << "replay " << i;
        }
      }
      EXPECT_TRUE(same(by_run(net, x[1]), expected[1])) << "the session itself goes on as before";
    }
  }
}

TEST_F(RecordGpuTest, RecordsTwiceIntoOneCapture) {
  Session net = session();
  const HostTensor x = random_tensor(net.input().spec(), 7), once = by_run(net, x), twice = by_run(net, once);
  cuda::DeviceBuffer first(once.bytes()), second(once.bytes());
  const Program program = captured(stream(), [&] {
    net.record(stream());
    CUDA_CHECK(cudaMemcpyAsync(first.data(), net.output().view().data, first.bytes(), cudaMemcpyDeviceToDevice, stream()));
    CUDA_CHECK(cudaMemcpyAsync(net.input().view().data, first.data(), first.bytes(), cudaMemcpyDeviceToDevice, stream()));
    net.record(stream());
    CUDA_CHECK(cudaMemcpyAsync(second.data(), net.output().view().data, second.bytes(), cudaMemcpyDeviceToDevice, stream()));
  });
  for (int round = 0; round < 3; ++round) {
    net.input().copy_from(x);
    net.poison();
    replay(program, stream());
    EXPECT_TRUE(same(downloaded(first, once.spec()), once)) << round;
    EXPECT_TRUE(same(downloaded(second, once.spec()), twice)) << round;
  }
}

TEST_F(RecordGpuTest, RecordingsOnForkedStreamsWaitForEachOther) {
  const Eightfold model;
  Session net = compile(model, {{"x", {64}}}, Device::cuda());
  const cuda::Stream other = cuda::make_stream();
  const cuda::Event fork = cuda::make_event(), join = cuda::make_event();
  const Program program = captured(stream(), [&] {
    launch_empty(stream());
    CUDA_CHECK(cudaEventRecord(fork.get(), stream()));
    CUDA_CHECK(cudaStreamWaitEvent(other.get(), fork.get(), 0));
    net.record(stream());
    net.record(other.get());
    CUDA_CHECK(cudaEventRecord(join.get(), other.get()));
    CUDA_CHECK(cudaStreamWaitEvent(stream(), join.get(), 0));
  });
  EXPECT_EQ(node_count(program), 7U);
  EXPECT_EQ(depth(program), 7U) << "both recordings use one arena, so the second comes behind the first";
  // A new capture knows nothing of the one before.
  const Program alone = captured(stream(), [&] { net.record(stream()); });
  EXPECT_EQ(node_count(alone), 3U);
  net.input().copy_from(std::vector<float>(64, 2));
  net.poison();
  replay(program, stream());
  EXPECT_EQ(net.output().floats(), std::vector<float>(64, 16));
}

TEST_F(RecordGpuTest, TwoSessionsShareOneCapture) {
  const Eightfold times;
  Session first = session(), second = compile(times, {{"x", kShape}}, Device::cuda());
  const HostTensor x = random_tensor(first.input().spec(), 3), middle = by_run(first, x), expected = by_run(second, middle);
  const Program program = captured(stream(), [&] {
    first.record(stream());
    CUDA_CHECK(cudaMemcpyAsync(second.input().view().data, first.output().view().data, middle.bytes(), cudaMemcpyDeviceToDevice, stream()));
    second.record(stream());
  });
  for (int round = 0; round < 3; ++round) {
    first.poison();
    second.poison();
    replay(program, stream());
    EXPECT_TRUE(same(second.output().to_host(), expected)) << round;
  }
}

TEST_F(RecordGpuTest, AHandleThatIsLeftKeepsTheMemory) {
  const Eightfold model;
  std::optional<Session> net = compile(model, {{"x", {64}}}, Device::cuda());
  const Program program = captured(stream(), [&] { net->record(stream()); });
  Port x = net->input(), y = net->output();
  net.reset();
  x.copy_from(std::vector<float>(64, 3));
  replay(program, stream());
  EXPECT_EQ(y.floats(), std::vector<float>(64, 24));
}

TEST_F(RecordGpuTest, HoldsTheAddressesOfWhenItWasRecorded) {
  const Eightfold model;
  Session net = compile(model, {{"x", {64}}}, Device::cuda());
  const std::vector<float> ones(64, 1), twos(64, 2);
  const cuda::DeviceBuffer in = cuda::to_device(ones.data(), 256), out(256);
  net.bind("x", in.data());
  net.bind("y", out.data());
  const Program bound = captured(stream(), [&] { net.record(stream()); });
  net.bind("x", nullptr);
  net.bind("y", nullptr);
  net.input().copy_from(twos);
  net.poison();
  replay(bound, stream());
  EXPECT_EQ(downloaded(out, {Shape{64}}).floats(), std::vector<float>(64, 8));
  for (const float v : net.output().floats()) ASSERT_NE(v, v) << "the session's own output was not written";
  net.run();
  EXPECT_EQ(net.output().floats(), std::vector<float>(64, 16));
}

TEST_F(RecordGpuTest, HasNoTaps) {
  const Eightfold model;
  Session net = compile(model, {{"x", {64}}}, Device::cuda());
  net.tap();
  net.input().copy_from(std::vector<float>(64, 1));
  net.run();
  const Program program = captured(stream(), [&] { net.record(stream()); });
  EXPECT_EQ(node_count(program), net.receipt().nodes.size());
  net.untap();  // frees what a tap's copy would write to
  net.input().copy_from(std::vector<float>(64, 2));
  replay(program, stream());
  EXPECT_EQ(net.output().floats(), std::vector<float>(64, 16));
}

TEST_F(RecordGpuTest, TakesTurnsWithTheSessionsOwnRunsOnOneStream) {
  Session net = session();
  const HostTensor a = random_tensor(net.input().spec(), 1), b = random_tensor(net.input().spec(), 2);
  const HostTensor of_a = by_run(net, a), of_b = by_run(net, b);
  cuda::DeviceBuffer in = cuda::to_device(a.data(), a.bytes()), out(of_a.bytes());
  const Program program = around(net, in, out);
  for (int round = 0; round < 3; ++round) {
    net.input().copy_from(b);
    net.poison();
    net.launch(stream());
    cuda::DeviceBuffer copy(of_b.bytes());
    CUDA_CHECK(cudaMemcpyAsync(copy.data(), net.output().view().data, copy.bytes(), cudaMemcpyDeviceToDevice, stream()));
    replay(program, stream());
    EXPECT_TRUE(same(downloaded(copy, of_b.spec()), of_b)) << round;
    EXPECT_TRUE(same(downloaded(out, of_a.spec()), of_a)) << round;
  }
}

template <class E>
std::string refusal(const std::function<void()>& body) {
  try {
    body();
  } catch (const E& e) {
    return e.what();
  } catch (const std::exception& e) {
    ADD_FAILURE() << "another error: " << e.what();
  }
  return {};
}

TEST_F(RecordGpuTest, RefusesAStreamThatCapturesNothing) {
  const Eightfold model;
  Session net = compile(model, {{"x", {64}}}, Device::cuda());
  for (const cudaStream_t idle : {stream(), cudaStream_t{nullptr}, cudaStreamLegacy, cudaStreamPerThread}) {
    EXPECT_NE(refusal<CaptureError>([&] { net.record(idle); }).find("record: the caller's stream is not being captured"),
              std::string::npos);
  }
  // Nor the legacy stream beside somebody's capture, which goes on.
  cudaStream_t blocking = nullptr;
  CUDA_CHECK(cudaStreamCreate(&blocking));
  const cuda::Stream owner(blocking);
  const Program program = captured(blocking, [&] {
    EXPECT_FALSE(refusal<CaptureError>([&] { net.record(nullptr); }).empty());
    EXPECT_FALSE(refusal<CaptureError>([&] { net.record(stream()); }).empty());
    net.record(blocking);
  });
  EXPECT_EQ(node_count(program), 3U);
  net.input().copy_from(std::vector<float>(64, 1));
  net.launch(stream());
  EXPECT_EQ(net.output().floats(), std::vector<float>(64, 8));
}

TEST_F(RecordGpuTest, RefusesACaptureThatWasInvalidated) {
  const Eightfold model;
  Session net = compile(model, {{"x", {64}}}, Device::cuda());
  CUDA_CHECK(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal));
  EXPECT_NE(cudaStreamSynchronize(stream()), cudaSuccess);  // not allowed in there, and breaks it
  EXPECT_NE(refusal<CaptureError>([&] { net.record(stream()); }).find("invalidated"), std::string::npos);
  cudaGraph_t graph = nullptr;
  EXPECT_NE(cudaStreamEndCapture(stream(), &graph), cudaSuccess);
  (void)cudaGetLastError();
  net.input().copy_from(std::vector<float>(64, 1));
  net.launch(stream());
  EXPECT_EQ(net.output().floats(), std::vector<float>(64, 8));
}

TEST_F(RecordGpuTest, RefusesTheSessionsOfAnEngine) {
  const Eightfold model;
  Engine engine(model, Device::cuda());
  Session& shared = engine.session({{"x", {64}}});
  Session own = compile(model, {{"x", {64}}}, Device::cuda());
  const Program program = captured(stream(), [&] {
    const std::string text = refusal<OptionError>([&] { shared.record(stream()); });
    EXPECT_NE(text.find("shares its memory"), std::string::npos) << text;
    EXPECT_NE(text.find("compile()"), std::string::npos) << text;
    own.record(stream());
  });
  EXPECT_EQ(node_count(program), 3U) << "the refusal left nothing behind, and the capture open";
}

TEST_F(RecordGpuTest, LaunchOnACapturingStreamNamesRecord) {
  const Eightfold model;
  Session net = compile(model, {{"x", {64}}}, Device::cuda());
  const Program program = captured(stream(), [&] {
    const std::string text = refusal<CaptureError>([&] { net.launch(stream()); });
    EXPECT_NE(text.find("Session::record(stream)"), std::string::npos) << text;
    net.record(stream());
  });
  EXPECT_EQ(node_count(program), 3U);
}

}  // namespace
}  // namespace frieze::test
#endif
