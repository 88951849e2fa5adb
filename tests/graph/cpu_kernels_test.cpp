/// The fast path on the CPU: every kernel against the reference, and reports that say what ran.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include <frieze/core/error.h>
#include <frieze/core/random.h>
#include <frieze/core/version.h>
#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/concat/concat.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/elementwise/elementwise.h>
#include <frieze/layers/linear/linear.h>
#include <frieze/layers/pixel_shuffle/pixel_shuffle.h>
#include <frieze/layers/rms_norm2d/rms_norm2d.h>
#include <frieze/layers/slice/slice.h>
#include "support/parity.h"
#include "support/reference.h"

namespace frieze::test {
namespace {

bool has_onednn() { return !onednn_version().empty(); }

struct OneLayer : Module {
  std::shared_ptr<Layer> layer;
  std::function<Value(const Module&, const std::vector<Value>&)> apply;
  OneLayer(std::shared_ptr<Layer> of, std::function<Value(const Module&, const std::vector<Value>&)> how)
      : layer(std::move(of)), apply(std::move(how)) {
    add("layer", *layer);
  }
  std::vector<NamedValue> forward_named(const std::vector<NamedValue>& in) const override {
    std::vector<Value> values;
    for (const NamedValue& v : in) values.push_back(v.value);
    return {{"y", apply(*layer, values)}};
  }
  std::string_view type_name() const override { return "OneLayer"; }
};

// Ten seeds of the layer and what follows it, on the CPU against the reference: within half of each budget, and by `kernels` fast steps at
// least; replays on poisoned memory give the same bits.
void expect_fast(const std::shared_ptr<Layer>& layer, const std::vector<Shape>& inputs, Format format, std::int64_t kernels,
                 const std::function<Value(const Module&, const std::vector<Value>&)>& apply) {
  OneLayer model(layer, apply);
  std::vector<InputSpec> specs;
  for (std::size_t i = 0; i < inputs.size(); ++i) specs.push_back({concat_text("x", i), inputs[i], DType::f32, format});
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    init_random(model, seed);
    Session session = compile(model, specs, Device::cpu());
    VerifyOptions options;
    options.seed = seed;
    const VerifyReport report = verify(session, options);
    EXPECT_TRUE(report.ok()) << report;
    EXPECT_LE(report.worst_share, 0.5) << report;
    EXPECT_GE(report.compared_steps, kernels) << session.receipt();
  }
}

const auto only = [](const Module& layer, const std::vector<Value>& v) { return layer.forward(std::span<const Value>(v)); };

TEST(CpuKernels, ConvolutionsOfEveryKind) {
  if (!has_onednn()) GTEST_SKIP() << "needs oneDNN";
  for (const Format format : {Format::nchw, Format::nhwc}) {
    const auto run = [&](std::int64_t in, std::int64_t out, Size2d kernel, const Conv2dOptions& o) {
      expect_fast(std::make_shared<Conv2d>(in, out, kernel, o), {{2, in, 9, 7}}, format, 1, only);
    };
    run(3, 8, 3, {.padding = 1});
    run(16, 33, 1, {});
    run(16, 24, 3, {.stride = 2, .padding = 1, .bias = false});
    run(5, 7, {3, 5}, {.padding = {1, 2}, .dilation = 1});
    run(6, 4, 3, {.padding = {2, 0, 1, 3}, .dilation = 2});
    run(12, 18, 3, {.padding = 1, .groups = 3});
    run(17, 17, 3, {.padding = 1, .groups = 17});
  }
}

TEST(CpuKernels, ChainsAtTheStoreOfAConvolution) {
  if (!has_onednn()) GTEST_SKIP() << "needs oneDNN";
  const auto conv = [] { return std::make_shared<Conv2d>(8, 8, 3, Conv2dOptions{.padding = 1}); };
  const std::vector<Shape> two{{2, 8, 6, 5}, {2, 8, 6, 5}};
  using Values = std::vector<Value>;
  for (const Format format : {Format::nchw, Format::nhwc}) {
    const auto run = [&](const std::function<Value(Value, Value)>& behind, std::int64_t kernels = 1) {
      expect_fast(conv(), two, format, kernels, [&](const Module& layer, const Values& v) { return behind(layer.forward(v[0]), v[1]); });
    };
    run([](Value y, Value x) { return silu(y) * x; });
    run([](Value y, Value x) { return gelu(y) + x; });
    run([](Value y, Value x) { return relu(y + x); });
    run([](Value y, Value x) { return sigmoid(y) * x + x; });
    run([](Value y, Value x) { return relu(y) * x; }, 0);  // a relu in the middle: the reference runs
    run([](Value y, Value x) { return leaky_relu(y, 0.1F) + x; });
  }
}

TEST(CpuKernels, NormsOfEveryOption) {
  for (const Format format : {Format::nchw, Format::nhwc}) {
    for (const std::int64_t channels : {1, 3, 64, 257, 600}) {
      for (const EpsMode mode : {EpsMode::add_inside, EpsMode::clamp_norm, EpsMode::none}) {
        RMSNorm2dOptions o;
        o.eps_mode = mode;
        o.bias = mode == EpsMode::none;
        o.activation = mode == EpsMode::clamp_norm ? Activation::silu : Activation::none;
        o.residual = channels == 64 ? ResidualMode::before : ResidualMode::none;
        const Shape x{2, channels, 3, 19};
        const std::vector<Shape> inputs(o.residual == ResidualMode::none ? 1 : 2, x);
        expect_fast(std::make_shared<RMSNorm2d>(channels, o), inputs, format, 1, only);
      }
    }
  }
}

TEST(CpuKernels, SumsAndProductsWithBroadcasting) {
  for (const Format format : {Format::nchw, Format::nhwc}) {
    for (const Shape& second : {Shape{2, 5, 4, 9}, Shape{2, 5, 1, 1}, Shape{1, 1, 4, 9}, Shape{2, 1, 4, 9}}) {
      expect_fast(std::make_shared<Add>(), {{2, 5, 4, 9}, second}, format, 1, only);
      expect_fast(std::make_shared<Mul>(), {{2, 5, 4, 9}, second}, format, 1, only);
    }
    expect_fast(std::make_shared<Scale>(0.3F), {{1, 5, 4, 9}}, format, 1, only);
  }
}

TEST(CpuKernels, LinearWithAChain) {
  if (!has_onednn()) GTEST_SKIP() << "needs oneDNN";
  for (const bool bias : {false, true}) {
    expect_fast(std::make_shared<Linear>(37, 11, LinearOptions{.bias = bias}), {{3, 5, 37}, {3, 5, 11}}, Format::nchw, 1,
                [](const Module& layer, const std::vector<Value>& v) { return gelu(layer.forward(v[0])) * v[1]; });
  }
}

// What oneDNN's own relu does not do.
TEST(CpuKernels, NaNGoesThroughARelu) {
  Conv2d conv(1, 1, 1, {.bias = false});
  conv.parameters()[0]->values = {1.0F};
  struct Chain : Module {
    Conv2d& conv;
    bool leaky;
    Chain(Conv2d& c, bool with_slope) : conv(c), leaky(with_slope) { add("conv", conv); }
    Value forward(Value x) const override { return leaky ? leaky_relu(conv(x), 0) : relu(conv(x)); }
  };
  for (const bool leaky : {false, true}) {  // a slope of 0 is a relu
    const Chain model(conv, leaky);
    Session net = compile(model, {{"x", {1, 1, 1, 4}}}, Device::cpu());
    net.input().copy_from(std::vector<float>{std::numeric_limits<float>::quiet_NaN(), -2, 3, 0});
    net.run();
    const std::vector<float> y = net.output().floats();
    EXPECT_TRUE(std::isnan(y[0])) << leaky;
    EXPECT_EQ(std::vector<float>(y.begin() + 1, y.end()), (std::vector<float>{0, 3, 0})) << leaky;
  }
}

// Other types, and views that the kernels do not take, run on the reference, and the receipt says so.
TEST(CpuKernels, TheReceiptSaysWhatRan) {
  struct Net : Module {
    Conv2d conv{4, 4, 3, {.padding = 1}};
    Net() { add("conv", conv); }
    Value forward(Value x) const override { return pixel_shuffle(concat({conv(slice(x, 1, 5)), x}), 1); }
  } net;
  init_random(net, 1);
  for (const DType t : {DType::f32, DType::bf16}) {
    Session session = compile(net, {{"x", {1, 6, 5, 5}, t}}, Device::cpu());
    const VerifyReport report = verify(session);
    EXPECT_TRUE(report.ok()) << report;
    if (t == DType::bf16) {
      EXPECT_EQ(report.compared_steps, 0) << session.receipt();
    }
    EXPECT_EQ(report.text().find("no layer was compared with anything") != std::string::npos, report.compared_steps == 0);
  }
  Session truth = compile(net, {{"x", {1, 6, 5, 5}}}, Device::reference());
  EXPECT_EQ(verify(truth).compared_steps, 0);
  for (const ReceiptStep& step : truth.receipt().steps) EXPECT_EQ(step.algorithm, kReferenceAlgorithm);
}

TEST(CpuKernels, TheReferenceIsAnotherDevice) {
  EXPECT_TRUE(Device::reference().is_reference());
  EXPECT_FALSE(Device::cpu().is_reference());
  EXPECT_FALSE(Device::reference().is_cuda());
  EXPECT_EQ(Device::parse("reference").name(), "reference");
  EXPECT_EQ(Device::parse("cpu").name(), "cpu");
}

}  // namespace
}  // namespace frieze::test
