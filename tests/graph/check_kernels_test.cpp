// A layer without a kernel is refused before a session for CUDA prepares anything; which needs a build with CUDA, and no GPU.
#include <gtest/gtest.h>

#if FRIEZE_WITH_CUDA
#include <frieze/graph/cuda/check_kernels.h>
#include <frieze/graph/plan.h>

#include "graph/test_layers.h"
#endif

namespace frieze::test {
namespace {

#if FRIEZE_WITH_CUDA
TEST(CheckKernelsTest, NamesThePathAndSaysWhatToDo) {
  struct Unknown final : Layer {
    Inferred infer(std::span<const TensorSpec> in) const override { return elementwise_cost(in, in[0], 1); }
    void reference(const ReferenceArgs&) const override {}
    std::string_view type_name() const override { return "Unknown"; }
  };
  struct Net final : Module {
    Unknown mine;
    Net() { add("mine", mine); }
    Value forward(Value x) const override { return silu(mine(relu(x))); }
  };
  const Net net;
  const Plan plan = trace(net, {{"x", {1, 2}}});
  EXPECT_EQ(message_of<CudaError>([&] { cuda::check_kernels(plan); }),
            "mine: Unknown has no CUDA kernel: register one with kernel_registry().add<Unknown>(…) before compile(), see \"A layer of your "
            "own, out of tree\" in Frieze's README.md");
  cuda::check_kernels(optimize(trace(Lambda([](Value x) { return silu(relu(x)); }), {{"x", {1, 2}}})));
}
#else
TEST(CheckKernelsTest, NeedsCuda) { GTEST_SKIP() << "needs a build with CUDA"; }
#endif

}  // namespace
}  // namespace frieze::test
