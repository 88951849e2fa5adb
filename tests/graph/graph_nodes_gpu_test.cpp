/// Graphs that are built node by node are those that a stream capture of the same launches gives.
#include <gtest/gtest.h>

#include "support/parity.h"

#if FRIEZE_WITH_CUDA
#include <algorithm>
#include <thread>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/graph_nodes.h>
#include <frieze/core/cuda/kernel.h>
#include <frieze/graph/cuda/capture.h>
#include <frieze/graph/cuda/loop.h>
#include <frieze/graph/cuda/taps.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/rms_norm2d/rms_norm2d.h>
#include <frieze/layers/softmax/softmax.h>

#include "graph/test_layers.h"

namespace frieze::test {
namespace {

using cuda::CapturedGraph;
using cuda::CaptureSource;

int cluster_of(cudaGraphNode_t node) {
  cudaLaunchAttributeValue value{};
  CUDA_CHECK(cudaGraphKernelNodeGetAttribute(node, cudaLaunchAttributeClusterDimension, &value));
  return static_cast<int>(value.clusterDim.x);
}

// One layer after the other, each from x to y and back.
class Chain {
 public:
  Chain(const Shape& shape, DType dtype, Format format)
      : spec_{shape, dtype, format}, x_(bytes()), y_(bytes()), stream_(cuda::make_stream()) {
    device_ = cuda::device_info(0);
    CUDA_CHECK(cudaMemset(x_.data(), 0, bytes()));
  }
  void add(const Layer& layer, const std::vector<EpilogueOp>& epilogue = {}) {
    cuda::PrepareArgs args;
    args.in = {&spec_, 1};
    args.out = {&spec_, 1};
    args.epilogue = epilogue;
    args.device = &device_;
    args.stream = stream_.get();
    args.tune = false;
    kernels_.push_back(cuda::kernel_registry().prepare(layer, args));
    workspaces_.emplace_back(kernels_.back()->workspace_bytes());
    enqueue(kernels_.size() - 1, stream_.get());  // loads what loads lazily
    CUDA_CHECK(cudaStreamSynchronize(stream_.get()));
  }
  // What a replay makes of random numbers.
  std::vector<float> replay(const CapturedGraph& graph) const {
    HostTensor x(spec_, random_values(static_cast<std::size_t>(spec_.shape.elements()), 1, Fill::normal, spec_.dtype, 3)), y(spec_);
    cudaGraphExec_t exec = nullptr;
    CUDA_CHECK(cudaGraphInstantiate(&exec, graph.graph.get(), 0));
    const cuda::GraphExec owned(exec);
    CUDA_CHECK(cudaMemcpyAsync(x_.data(), x.data(), bytes(), cudaMemcpyHostToDevice, stream_.get()));
    CUDA_CHECK(cudaMemsetAsync(y_.data(), 0xFF, bytes(), stream_.get()));
    CUDA_CHECK(cudaGraphLaunch(exec, stream_.get()));
    const cuda::DeviceBuffer& last = kernels_.size() % 2 == 0 ? x_ : y_;
    CUDA_CHECK(cudaMemcpyAsync(y.data(), last.data(), bytes(), cudaMemcpyDeviceToHost, stream_.get()));
    CUDA_CHECK(cudaStreamSynchronize(stream_.get()));
    return y.floats();
  }
  CapturedGraph graph(bool nodes) const {
    const CaptureSource source{kernels_.size(), [this](std::size_t i, cudaStream_t s) { enqueue(i, s); },
                               [](std::size_t i) { return "step " + std::to_string(i); },
                               [this, nodes](std::size_t i) { return nodes && kernels_[i]->builds_nodes(); }};
    return cuda::capture_steps(stream_.get(), source);
  }

 private:
  std::size_t bytes() const { return static_cast<std::size_t>(spec_.bytes()); }
  void enqueue(std::size_t i, cudaStream_t stream) const {
    const bool forth = i % 2 == 0;
    const TensorView in((forth ? x_ : y_).data(), spec_), out((forth ? y_ : x_).data(), spec_);
    kernels_[i]->launch({{&in, 1}, {&out, 1}, workspaces_[i].data()}, stream);
  }

  TensorSpec spec_;
  cuda::DeviceBuffer x_, y_;
  cuda::Stream stream_;
  cuda::DeviceInfo device_;
  std::vector<std::unique_ptr<cuda::Kernel>> kernels_;
  std::vector<cuda::DeviceBuffer> workspaces_;
};

void expect_equal(const Chain& chain) {
  const CapturedGraph built = chain.graph(true), captured = chain.graph(false);
  EXPECT_EQ(chain.replay(built), chain.replay(captured));
  EXPECT_EQ(built.attempts, 0);
  EXPECT_EQ(captured.attempts, 1);
  EXPECT_EQ(built.edges, captured.edges);
  EXPECT_EQ(built.dependent_launches, captured.dependent_launches);
  ASSERT_EQ(built.edge_list.size(), captured.edge_list.size());
  for (std::size_t i = 0; i < built.edge_list.size(); ++i) {
    const auto same = [&](const ReceiptEdge& edge) {
      return edge.from == built.edge_list[i].from && edge.to == built.edge_list[i].to &&
             edge.programmatic == built.edge_list[i].programmatic;
    };
    EXPECT_TRUE(std::any_of(captured.edge_list.begin(), captured.edge_list.end(), same)) << i;
  }
  ASSERT_EQ(built.nodes.size(), captured.nodes.size());
  for (std::size_t i = 0; i < built.nodes.size(); ++i) {
    ASSERT_EQ(built.nodes[i].size(), captured.nodes[i].size()) << i;
    for (std::size_t n = 0; n < built.nodes[i].size(); ++n) {
      const cuda::KernelFacts ours = cuda::kernel_facts(built.nodes[i][n]), theirs = cuda::kernel_facts(captured.nodes[i][n]);
      EXPECT_TRUE(ours.same_launch(theirs)) << i;
      EXPECT_EQ(ours.parameters.size(), theirs.parameters.size()) << i;  // the bytes between members differ
      EXPECT_FALSE(ours.parameters.empty()) << i;
      EXPECT_EQ(cluster_of(built.nodes[i][n]), cluster_of(captured.nodes[i][n])) << i;
    }
  }
}

class GraphNodesGpuTest : public ::testing::TestWithParam<std::tuple<DType, Format>> {
 protected:
  void SetUp() override { FRIEZE_NEEDS_GPU(); }
};

TEST_P(GraphNodesGpuTest, EqualThoseOfACapture) {
  const auto [dtype, format] = GetParam();
  Conv2d conv(64, 64, 3, {.padding = 1}), odd(64, 64, 1);
  RMSNorm2d norm(64);
  Softmax softmax(1);
  for (Module* module : std::initializer_list<Module*>{&conv, &odd, &norm, &softmax}) init_random(*module, 1);
  Chain chain({1, 64, 33, 65}, dtype, format);
  chain.add(norm);
  chain.add(norm, {{EpilogueOp::Kind::activation, Activation::silu}});
  chain.add(ActivationLayer(Activation::gelu));
  chain.add(softmax);
  chain.add(ActivationLayer(Activation::relu));
  chain.add(norm);
  expect_equal(chain);
}

INSTANTIATE_TEST_SUITE_P(All, GraphNodesGpuTest,
                         ::testing::Combine(::testing::Values(DType::f32, DType::f16, DType::bf16),
                                            ::testing::Values(Format::nchw, Format::nhwc)));

// Many channels of few pixels: the norm's clusters.
TEST(GraphNodesGpu, ClustersAndDependentLaunchesAreKept) {
  FRIEZE_NEEDS_GPU();
  RMSNorm2d norm(4096);
  init_random(norm, 1);
  Chain chain({1, 4096, 32, 32}, DType::f16, Format::nchw);
  for (int i = 0; i < 4; ++i) chain.add(norm);
  expect_equal(chain);
  const CapturedGraph built = chain.graph(true);
  if (cuda::device_info(0).compute_capability >= 90) {
    EXPECT_EQ(built.dependent_launches, 3) << "each norm waits for the one before on the device";
  }
}

TEST(GraphNodesGpu, ACopyIsANodeAndComesInItsTurn) {
  FRIEZE_NEEDS_GPU();
  const cuda::DeviceBuffer a(1024), b(1024), c(1024);
  const cuda::Stream stream = cuda::make_stream();
  const CaptureSource source{
      2, [&](std::size_t i, cudaStream_t s) { cuda::enqueue_copy((i == 0 ? b : c).data(), (i == 0 ? a : b).data(), 1024, s); },
      [](std::size_t) { return std::string("copy"); }, [](std::size_t) { return true; }};
  CapturedGraph graph = cuda::capture_steps(stream.get(), source);
  EXPECT_EQ(graph.edges, 1);
  const cuda::InstantiatedGraph made = cuda::instantiate(graph, stream.get(), source);
  const std::vector<std::byte> ones(1024, std::byte{1}), zeros(1024, std::byte{0});
  std::vector<std::byte> got(1024);
  for (const auto& values : {ones, zeros}) {
    CUDA_CHECK(cudaMemcpy(a.data(), values.data(), 1024, cudaMemcpyHostToDevice));
    CUDA_CHECK(cudaMemset(b.data(), 0xFF, 1024));
    CUDA_CHECK(cudaMemset(c.data(), 0xFF, 1024));
    CUDA_CHECK(cudaDeviceSynchronize());  // the stream does not wait for the default one
    CUDA_CHECK(cudaGraphLaunch(made.exec.get(), stream.get()));
    CUDA_CHECK(cudaStreamSynchronize(stream.get()));
    CUDA_CHECK(cudaMemcpy(got.data(), c.data(), 1024, cudaMemcpyDeviceToHost));
    EXPECT_EQ(got, values);
  }
}

TEST(GraphNodesGpu, AStepThatThrowsEndsTheRecording) {
  FRIEZE_NEEDS_GPU();
  const cuda::Stream stream = cuda::make_stream();
  const cuda::DeviceBuffer a(1024), b(1024);
  const auto source = [&](auto&& enqueue) {
    return CaptureSource{1, [enqueue](std::size_t, cudaStream_t s) { enqueue(s); }, [](std::size_t) { return std::string("net.bad"); },
                         [](std::size_t) { return true; }};
  };
  const std::string text = message_of<CaptureError>(
      [&] { (void)cuda::capture_steps(stream.get(), source([](cudaStream_t) { throw CudaError("too large"); })); });
  EXPECT_TRUE(contains(text, "net.bad"));
  EXPECT_TRUE(contains(text, "too large"));
  EXPECT_THROW((void)cuda::capture_steps(stream.get(), source([](cudaStream_t) {})), CaptureError) << "a step without a node";
  EXPECT_EQ(cuda::recorded_nodes(), nullptr);
  // The next copy is one, and no node.
  CUDA_CHECK(cudaMemset(a.data(), 7, 1024));
  CUDA_CHECK(cudaMemset(b.data(), 0, 1024));
  CUDA_CHECK(cudaDeviceSynchronize());
  cuda::enqueue_copy(b.data(), a.data(), 1024, stream.get());
  CUDA_CHECK(cudaStreamSynchronize(stream.get()));
  std::vector<std::byte> got(1024);
  CUDA_CHECK(cudaMemcpy(got.data(), b.data(), 1024, cudaMemcpyDeviceToHost));
  EXPECT_EQ(got, std::vector<std::byte>(1024, std::byte{7}));
}

// x = [x, x + ...]: a loop of copies and counters, whose body sees the row of its iteration.
TEST(GraphNodesGpu, ALoopRunsItsBodyThatManyTimes) {
  FRIEZE_NEEDS_GPU();
  constexpr int kIterations = 1000;
  std::vector<std::int32_t> rows(kIterations);
  for (int i = 0; i < kIterations; ++i) rows[static_cast<std::size_t>(i)] = 7 * i;
  const cuda::DeviceBuffer table = cuda::to_device(rows.data(), rows.size() * 4), row(4), counter(4);
  const cuda::Stream stream = cuda::make_stream();
  cuda::preload_loop();
  cudaGraph_t raw = nullptr;
  CUDA_CHECK(cudaGraphCreate(&raw, 0));
  const cuda::Graph graph(raw);
  cuda::GraphNodes nodes(raw);
  {
    const cuda::RecordNodes scope(nodes);
    cuda::reset_counter(counter.as<std::int32_t>(), stream.get());
    const cuda::GraphNodes::Loop loop = nodes.add_loop();
    cuda::GraphNodes body(loop.body);
    const cuda::RecordNodes inside(body);
    cuda::copy_row(counter.as<std::int32_t>(), kIterations, table.data(), row.data(), 4, stream.get());
    cuda::advance_counter(counter.as<std::int32_t>(), kIterations, loop.condition, stream.get());
  }
  EXPECT_EQ(nodes.take_added().size(), 2U);
  cudaGraphExec_t exec = nullptr;
  CUDA_CHECK(cudaGraphInstantiate(&exec, raw, 0));
  const cuda::GraphExec owned(exec);
  for (int replay = 0; replay < 3; ++replay) {
    std::int32_t got[2] = {-1, -1};
    CUDA_CHECK(cudaMemset(row.data(), 0xFF, 4));
    CUDA_CHECK(cudaMemset(counter.data(), 0xFF, 4));
    CUDA_CHECK(cudaGraphLaunch(exec, stream.get()));
    CUDA_CHECK(cudaStreamSynchronize(stream.get()));
    row.download(&got[0], 4);
    counter.download(&got[1], 4);
    EXPECT_EQ(got[0], 7 * (kIterations - 1)) << "the last iteration's row";
    EXPECT_EQ(got[1], kIterations);
  }
}

TEST(GraphNodesGpu, OtherThreadsRecordOnTheirOwn) {
  FRIEZE_NEEDS_GPU();
  cudaGraph_t raw = nullptr;
  CUDA_CHECK(cudaGraphCreate(&raw, 0));
  const cuda::Graph graph(raw);
  cuda::GraphNodes nodes(raw);
  const cuda::RecordNodes scope(nodes);
  EXPECT_EQ(cuda::recorded_nodes(), &nodes);
  std::thread([] { EXPECT_EQ(cuda::recorded_nodes(), nullptr); }).join();
}

}  // namespace
}  // namespace frieze::test
#endif
