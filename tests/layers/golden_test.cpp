/// Every layer against PyTorch: tests/golden/layers.safetensors, made by tools/golden/layers.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <typeinfo>

#include <frieze/core/weights.h>
#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/concat/concat.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/elementwise/elementwise.h>
#include <frieze/layers/linear/linear.h>
#include <frieze/layers/pixel_shuffle/pixel_shuffle.h>
#include <frieze/layers/pool/pool.h>
#include <frieze/layers/rms_norm2d/rms_norm2d.h>
#include <frieze/layers/softmax/softmax.h>
#include <frieze/layers/upsample/upsample.h>
#include "support/parity.h"
#include "support/paths.h"

namespace frieze {
namespace {

struct GoldenCase {
  std::string name;
  std::function<std::unique_ptr<Layer>()> make;
};
void PrintTo(const GoldenCase& c, std::ostream* out) { *out << c.name; }

template <class L, class... Args>
std::function<std::unique_ptr<Layer>()> make(Args... args) {
  return [=] { return std::make_unique<L>(args...); };
}

RMSNorm2dOptions norm(double eps, EpsMode mode, bool weight, bool bias, Rounding rounding = Rounding::once,
                      Activation activation = Activation::none, ResidualMode residual = ResidualMode::none) {
  RMSNorm2dOptions options;
  options.eps = eps;
  options.eps_mode = mode;
  options.weight = weight;
  options.bias = bias;
  options.rounding = rounding;
  options.activation = activation;
  options.residual = residual;
  return options;
}

const GoldenCase kCases[] = {
    {"conv_1x1", make<Conv2d>(7, 5, 1)},
    {"conv_3x3", make<Conv2d>(3, 8, 3, Conv2dOptions{.padding = 1})},
    {"conv_3x3_stride2", make<Conv2d>(6, 4, 3, Conv2dOptions{.stride = 2, .padding = 1, .bias = false})},
    {"conv_5x5_dilated", make<Conv2d>(4, 3, 5, Conv2dOptions{.padding = 4, .dilation = 2})},
    {"conv_grouped", make<Conv2d>(6, 9, 3, Conv2dOptions{.padding = 1, .groups = 3})},
    {"conv_depthwise", make<Conv2d>(11, 11, 3, Conv2dOptions{.padding = 1, .groups = 11})},
    {"conv_no_padding", make<Conv2d>(5, 2, 3, Conv2dOptions{.padding = 0})},
    {"linear", make<Linear>(17, 6)},
    {"relu", make<ReLU>()},
    {"silu", make<SiLU>()},
    {"gelu", make<GELU>(false)},
    {"gelu_tanh", make<GELU>(true)},
    {"sigmoid", make<Sigmoid>()},
    {"softmax_axis0", make<Softmax>(0)},
    {"softmax_axis1", make<Softmax>(1)},
    {"softmax_axis2", make<Softmax>(2)},
    {"softmax_axis3", make<Softmax>(3)},
    {"pixel_shuffle", make<PixelShuffle>(2)},
    {"pixel_unshuffle", make<PixelUnshuffle>(3)},
    {"upsample", make<Upsample>(2)},
    {"global_avg_pool", make<GlobalAvgPool>()},
    {"concat", make<Concat>()},
    {"add_broadcast", make<Add>()},
    {"mul_broadcast", make<Mul>()},
    {"rms_norm_plain", make<RMSNorm2d>(35, norm(1e-5, EpsMode::add_inside, false, false))},
    {"rms_norm_affine", make<RMSNorm2d>(35, norm(1e-5, EpsMode::add_inside, true, true))},
    {"rms_norm_torch", make<RMSNorm2d>(35, norm(1e-6, EpsMode::add_inside, true, false))},
    {"rms_norm_normalize", make<RMSNorm2d>(35, norm(1e-12, EpsMode::clamp_norm, true, false))},
    {"rms_norm_diffusers_bf16", make<RMSNorm2d>(35, norm(1e-5, EpsMode::add_inside, true, true, Rounding::diffusers))},
    {"rms_norm_wan_bf16", make<RMSNorm2d>(35, norm(1e-12, EpsMode::clamp_norm, true, false, Rounding::wan))},
    {"rms_norm_timm", make<RMSNorm2d>(13, norm(1e-6, EpsMode::add_inside, true, false))},
    {"rms_norm_ltx", make<RMSNorm2d>(13, norm(1e-8, EpsMode::add_inside, false, false))},
    {"rms_norm_pixel_norm_clamped", make<RMSNorm2d>(13, norm(1e-3, EpsMode::clamp_mean_square, false, false))},
    {"rms_norm_normalize_clamped", make<RMSNorm2d>(13, norm(0.25, EpsMode::clamp_norm, true, true))},
    {"rms_norm_add_to_rms", make<RMSNorm2d>(13, norm(1e-3, EpsMode::add_to_rms, true, false))},
    {"rms_norm_no_eps", make<RMSNorm2d>(13, norm(0, EpsMode::none, false, false))},
    {"rms_norm_relu", make<RMSNorm2d>(13, norm(1e-5, EpsMode::add_inside, true, true, Rounding::once, Activation::relu))},
    {"rms_norm_silu", make<RMSNorm2d>(13, norm(1e-5, EpsMode::add_inside, true, true, Rounding::once, Activation::silu))},
    {"rms_norm_gelu", make<RMSNorm2d>(13, norm(1e-5, EpsMode::add_inside, true, true, Rounding::once, Activation::gelu))},
    {"rms_norm_silu_residual_after",
     make<RMSNorm2d>(13, norm(1e-5, EpsMode::add_inside, true, true, Rounding::once, Activation::silu, ResidualMode::after))},
    {"rms_norm_silu_residual_before",
     make<RMSNorm2d>(13, norm(1e-5, EpsMode::add_inside, true, true, Rounding::once, Activation::silu, ResidualMode::before))},
    {"rms_norm_once_f16", make<RMSNorm2d>(13, norm(1e-5, EpsMode::add_inside, true, true))},
    {"rms_norm_once_bf16", make<RMSNorm2d>(13, norm(1e-5, EpsMode::add_inside, true, true))},
    {"rms_norm_wan_bias_f16", make<RMSNorm2d>(13, norm(1e-12, EpsMode::clamp_norm, true, true, Rounding::wan))},
    {"rms_norm_wan_bias_bf16", make<RMSNorm2d>(13, norm(1e-12, EpsMode::clamp_norm, true, true, Rounding::wan))},
    {"rms_norm_diffusers_f16", make<RMSNorm2d>(13, norm(1e-5, EpsMode::add_inside, true, true, Rounding::diffusers))},
};

const Weights& golden() {
  static const Weights file = Weights::open(test::source_path("tests/golden/layers.safetensors"));
  return file;
}

class Golden : public testing::TestWithParam<GoldenCase> {
 protected:
  void expect_equal(const Device& device, Format format, const PassOptions& passes) const {
    const std::string prefix = GetParam().name + "/";
    const std::unique_ptr<Layer> layer = GetParam().make();
    for (Parameter* p : layer->parameters()) p->values = golden().floats(prefix + p->name);
    std::vector<InputSpec> inputs;
    std::vector<HostTensor> values;
    for (const char* name : {"x", "x2", "x3"}) {
      if (!golden().contains(prefix + name)) continue;
      values.push_back(golden().tensor(prefix + name));
      inputs.push_back({name, values.back().spec().shape, values.back().spec().dtype, format});
    }
    CompileOptions options;
    options.passes = passes;
    options.tune = false;
    Session net = compile(*layer, inputs, device, options);
    for (std::size_t i = 0; i < inputs.size(); ++i) net.input(inputs[i].name).copy_from(values[i]);
    net.poison();
    net.run();
    const HostTensor expected = golden().tensor(prefix + "y");
    ASSERT_EQ(net.output().spec().shape, expected.spec().shape);
    // The last step may be the change of formats behind the layer.
    const std::vector<Step>& steps = net.plan().steps;
    const auto own = std::find_if(steps.begin(), steps.end(), [&](const Step& step) {
      const Layer &used = *step.layer, &wanted = *layer;
      return typeid(used) == typeid(wanted);
    });
    ASSERT_NE(own, steps.end());
    const ErrorBudget budget = step_budget(net.plan(), *own);
    const Difference d = difference(net.output().floats(), expected.floats(), expected.spec().dtype, budget);
    EXPECT_LE(d.share, 1) << "max abs " << d.max_abs << ", max ulp " << d.max_ulp << " at " << d.worst_index;
  }
};

TEST_P(Golden, ReferenceEqualsPyTorch) { expect_equal(Device::reference(), Format::nchw, {}); }

TEST_P(Golden, KernelEqualsPyTorchInBothFormats) {
  FRIEZE_NEEDS_GPU();
  expect_equal(Device::cuda(), Format::nchw, {.fuse = true, .formats = false});
  expect_equal(Device::cuda(), Format::nchw, {});
  expect_equal(Device::cuda(), Format::nhwc, {});
}

INSTANTIATE_TEST_SUITE_P(PyTorch, Golden, testing::ValuesIn(kCases), [](const auto& info) { return info.param.name; });

// A case in the file that no test reads would be a test that cannot fail.
TEST(GoldenFile, EveryCaseIsTested) {
  std::map<std::string, bool> tested;
  for (const GoldenCase& c : kCases) tested[c.name] = true;
  for (const auto& [name, _] : golden().tensors()) EXPECT_TRUE(tested.contains(name.substr(0, name.find('/')))) << name;
}

}  // namespace
}  // namespace frieze
