/// Normalisations and poolings against PyTorch: tests/golden/norms.safetensors, made by tools/golden/norms.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <set>
#include <typeinfo>

#include <frieze/core/weights.h>
#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/group_norm/group_norm.h>
#include <frieze/layers/layer_norm/layer_norm.h>
#include <frieze/layers/pool2d/pool2d.h>
#include <frieze/layers/rms_norm/rms_norm.h>
#include "support/parity.h"
#include "support/paths.h"

namespace frieze {
namespace {

struct NormGoldenCase {
  std::string name;
  std::function<std::unique_ptr<Layer>()> make;
  bool silu = false;  // behind the layer, and absorbed by it
};
void PrintTo(const NormGoldenCase& c, std::ostream* out) { *out << c.name; }

template <class L, class... Args>
std::function<std::unique_ptr<Layer>()> golden_layer(Args... args) {
  return [=] { return std::make_unique<L>(args...); };
}

const NormGoldenCase kNormCases[] = {
    {"layer_norm", golden_layer<LayerNorm>(17)},
    {"layer_norm_plain", golden_layer<LayerNorm>(17, LayerNormOptions{.eps = 1e-6, .affine = false})},
    {"layer_norm_no_bias", golden_layer<LayerNorm>(17, LayerNormOptions{.bias = false})},
    {"layer_norm_two_axes", golden_layer<LayerNorm>(Shape{5, 17})},
    {"layer_norm_768", golden_layer<LayerNorm>(768)},
    {"layer_norm_far_mean", golden_layer<LayerNorm>(256, LayerNormOptions{.affine = false})},
    {"layer_norm_f16", golden_layer<LayerNorm>(64)},
    {"layer_norm_bf16", golden_layer<LayerNorm>(64)},
    {"layer_norm_2d", golden_layer<LayerNorm2d>(24, LayerNormOptions{.eps = 1e-6})},
    {"group_norm", golden_layer<GroupNorm>(4, 24)},
    {"group_norm_one_group", golden_layer<GroupNorm>(1, 24, GroupNormOptions{.eps = 1e-6})},
    {"group_norm_8_channels_a_group", golden_layer<GroupNorm>(3, 24)},
    {"group_norm_plain", golden_layer<GroupNorm>(12, 24, GroupNormOptions{.affine = false})},
    {"group_norm_silu", golden_layer<GroupNorm>(6, 24), true},
    {"group_norm_rank_2", golden_layer<GroupNorm>(5, 35)},
    {"group_norm_rank_3", golden_layer<GroupNorm>(3, 12)},
    {"group_norm_far_mean", golden_layer<GroupNorm>(2, 8, GroupNormOptions{.affine = false})},
    {"group_norm_equal_values", golden_layer<GroupNorm>(2, 6)},
    {"group_norm_bf16", golden_layer<GroupNorm>(4, 24)},
    {"instance_norm", golden_layer<InstanceNorm2d>(7)},
    {"instance_norm_affine", golden_layer<InstanceNorm2d>(8, InstanceNorm2dOptions{.eps = 1e-3, .affine = true})},
    {"rms_norm", golden_layer<RMSNorm>(33, RMSNormOptions{.eps = 1e-6})},
    {"rms_norm_default_eps", golden_layer<RMSNorm>(33, RMSNormOptions{.weight = false})},
    {"max_pool", golden_layer<MaxPool2d>(2)},
    {"max_pool_resnet", golden_layer<MaxPool2d>(3, MaxPool2dOptions{.stride = 2, .padding = 1})},
    {"max_pool_dilated",
     golden_layer<MaxPool2d>(Size2d(2, 3), MaxPool2dOptions{.stride = Size2d(1, 2), .padding = 1, .dilation = Size2d(2, 1)})},
    {"max_pool_ceil", golden_layer<MaxPool2d>(3, MaxPool2dOptions{.stride = 2, .padding = 1, .ceil_mode = true})},
    {"max_pool_dilated_ceil", golden_layer<MaxPool2d>(2, MaxPool2dOptions{.stride = 3, .padding = 1, .dilation = 3, .ceil_mode = true})},
    {"max_pool_packs", golden_layer<MaxPool2d>(3, MaxPool2dOptions{.stride = 2, .padding = 1})},
    {"max_pool_same", golden_layer<MaxPool2d>(3, MaxPool2dOptions{.stride = 1, .padding = 1})},
    {"avg_pool", golden_layer<AvgPool2d>(2)},
    {"avg_pool_padded", golden_layer<AvgPool2d>(3, AvgPool2dOptions{.stride = 2, .padding = 1})},
    {"avg_pool_not_counted",
     golden_layer<AvgPool2d>(Size2d(3, 5), AvgPool2dOptions{.stride = Size2d(2, 1), .padding = Size2d(1, 2), .count_include_pad = false})},
    {"avg_pool_ceil", golden_layer<AvgPool2d>(3, AvgPool2dOptions{.stride = 2, .padding = 1, .ceil_mode = true})},
    {"avg_pool_ceil_not_counted",
     golden_layer<AvgPool2d>(4, AvgPool2dOptions{.stride = 3, .padding = 1, .ceil_mode = true, .count_include_pad = false})},
    {"avg_pool_divisor", golden_layer<AvgPool2d>(3, AvgPool2dOptions{.stride = 2, .padding = 1, .divisor_override = 7})},
    {"avg_pool_packs", golden_layer<AvgPool2d>(3, AvgPool2dOptions{.stride = 2, .padding = 1})},
    {"avg_pool_large_window", golden_layer<AvgPool2d>(9, AvgPool2dOptions{.stride = 4, .padding = 4})},
    {"adaptive_avg_pool_one", golden_layer<AdaptiveAvgPool2d>(1)},
    {"adaptive_avg_pool", golden_layer<AdaptiveAvgPool2d>(Size2d(4, 7))},
    {"adaptive_avg_pool_more", golden_layer<AdaptiveAvgPool2d>(Size2d(12, 3))},
    {"adaptive_avg_pool_large_bins", golden_layer<AdaptiveAvgPool2d>(2)},
    {"adaptive_max_pool", golden_layer<AdaptiveMaxPool2d>(Size2d(4, 7))},
};

const Weights& norm_golden() {
  static const Weights file = Weights::open(test::source_path("tests/golden/norms.safetensors"));
  return file;
}

// The layer, and SiLU behind it where the case has one.
class GoldenModule final : public Module {
 public:
  GoldenModule(std::unique_ptr<Layer> layer, bool silu) : layer_(std::move(layer)), silu_(silu) { add("layer", *layer_); }
  Value forward(Value x) const override { return silu_ ? silu((*layer_)(x)) : (*layer_)(x); }
  Layer& layer() { return *layer_; }
  std::string_view type_name() const override { return "GoldenModule"; }

 private:
  std::unique_ptr<Layer> layer_;
  bool silu_;
};

class NormGolden : public testing::TestWithParam<NormGoldenCase> {
 protected:
  void expect_equal(const Device& device, Format format, const PassOptions& passes) const {
    const std::string prefix = GetParam().name + "/";
    GoldenModule model(GetParam().make(), GetParam().silu);
    for (Parameter* p : model.layer().Module::parameters()) p->values = norm_golden().floats(prefix + p->name);
    const HostTensor x = norm_golden().tensor(prefix + "x"), expected = norm_golden().tensor(prefix + "y");
    CompileOptions options;
    options.passes = passes;
    options.tune = false;
    Session net = compile(model, {{"x", x.spec().shape, x.spec().dtype, format}}, device, options);
    net.input("x").copy_from(x);
    net.poison();
    net.run();
    ASSERT_EQ(net.output().spec().shape, expected.spec().shape);
    // The last step may be the change of formats behind the layer.
    const std::vector<Step>& steps = net.plan().steps;
    const auto own = std::find_if(steps.begin(), steps.end(), [&](const Step& step) {
      const Layer &used = *step.layer, &wanted = model.layer();
      return typeid(used) == typeid(wanted);
    });
    ASSERT_NE(own, steps.end());
    EXPECT_EQ(own->epilogue.size(), GetParam().silu ? 1U : 0U);
    const ErrorBudget budget = step_budget(net.plan(), *own);
    const Difference d = difference(net.output().floats(), expected.floats(), expected.spec().dtype, budget);
    EXPECT_LE(d.share, 1) << "max abs " << d.max_abs << ", max ulp " << d.max_ulp << " at " << d.worst_index;
  }
};

TEST_P(NormGolden, ReferenceEqualsPyTorch) { expect_equal(Device::reference(), Format::nchw, {}); }

TEST_P(NormGolden, KernelEqualsPyTorchInBothFormats) {
  FRIEZE_NEEDS_GPU();
  expect_equal(Device::cuda(), Format::nchw, {.fuse = true, .formats = false});
  expect_equal(Device::cuda(), Format::nchw, {});
  expect_equal(Device::cuda(), Format::nhwc, {});
}

INSTANTIATE_TEST_SUITE_P(PyTorch, NormGolden, testing::ValuesIn(kNormCases), [](const auto& info) { return info.param.name; });

// A case in the file that no test reads would be a test that cannot fail.
TEST(NormGoldenFile, EveryCaseIsTested) {
  std::set<std::string> tested;
  for (const NormGoldenCase& c : kNormCases) tested.insert(c.name);
  for (const auto& [name, _] : norm_golden().tensors()) EXPECT_TRUE(tested.contains(name.substr(0, name.find('/')))) << name;
}

}  // namespace
}  // namespace frieze
