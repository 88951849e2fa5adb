/// Padding, other sizes, transposed and one-dimensional convolutions against PyTorch: tests/golden/spatial.safetensors, made by
/// tools/golden/spatial.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <set>

#include <frieze/core/weights.h>
#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/conv1d/conv1d.h>
#include <frieze/layers/conv_transpose2d/conv_transpose2d.h>
#include <frieze/layers/interpolate/interpolate.h>
#include "support/parity.h"
#include "support/paths.h"

namespace frieze {
namespace {

struct SpatialCase {
  std::string name;
  std::string step;  // the type of the layer whose budget counts
  std::function<std::unique_ptr<Module>()> make;
};
void PrintTo(const SpatialCase& c, std::ostream* out) { *out << c.name; }

template <class M, class... Args>
std::function<std::unique_ptr<Module>()> made(Args... args) {
  return [=] { return std::make_unique<M>(args...); };
}

std::vector<SpatialCase> spatial_cases() {
  using enum InterpolateMode;
  const Padding2d sides(3, 1, 0, 2);
  std::vector<SpatialCase> cases = {
      {"pad_zeros", "Pad", made<Pad>(sides)},
      {"pad_value", "Pad", made<Pad>(sides, PadMode::zeros, -1.5)},
      {"pad_reflect", "Pad", made<Pad>(sides, PadMode::reflect)},
      {"pad_replicate", "Pad", made<Pad>(Padding2d(7, 1, 6, 2), PadMode::replicate)},
      {"pad_circular", "Pad", made<Pad>(Padding2d(5, 1, 0, 4), PadMode::circular)},
      {"pad_reflect_rank3", "Pad", made<Pad>(Padding2d(8, 2, 3, 0), PadMode::reflect)},
      {"pad_zeros_rank1", "Pad", made<Pad>(Padding2d(2, 3, 0, 0))},
      {"conv_sides", "Conv2d", made<Conv2d>(3, 5, 3, Conv2dOptions{.padding = {0, 1, 2, 0}})},
      {"conv_sides_stride2", "Conv2d", made<Conv2d>(3, 5, 3, Conv2dOptions{.stride = 2, .padding = {0, 1, 0, 1}})},
      {"conv_1x1_sides", "Conv2d", made<Conv2d>(3, 4, 1, Conv2dOptions{.padding = {1, 0, 0, 2}})},
      {"conv_depthwise_sides", "Conv2d", made<Conv2d>(3, 3, 3, Conv2dOptions{.padding = {2, 1, 0, 3}, .groups = 3, .bias = false})},
      {"nearest_twice", "Interpolate", made<Interpolate>(InterpolateOptions{.scale_factor = 2})},
      {"transposed_2x2_stride2", "ConvTranspose2d", made<ConvTranspose2d>(6, 5, 2, ConvTranspose2dOptions{.stride = 2})},
      {"transposed_4x4_stride2", "ConvTranspose2d", made<ConvTranspose2d>(4, 3, 4, ConvTranspose2dOptions{.stride = 2, .padding = 1})},
      {"transposed_3x3_stride2", "ConvTranspose2d",
       made<ConvTranspose2d>(4, 3, 3, ConvTranspose2dOptions{.stride = 2, .padding = 1, .output_padding = 1})},
      {"transposed_5x3_stride3x2", "ConvTranspose2d",
       made<ConvTranspose2d>(
           3, 4, Size2d(5, 3),
           ConvTranspose2dOptions{.stride = {3, 2}, .padding = {2, 0}, .output_padding = {1, 1}, .dilation = 1, .bias = false})},
      {"transposed_stride1", "ConvTranspose2d", made<ConvTranspose2d>(3, 4, 3, ConvTranspose2dOptions{.padding = 1})},
      {"transposed_dilated", "ConvTranspose2d", made<ConvTranspose2d>(3, 4, 3, ConvTranspose2dOptions{.padding = 1, .dilation = 2})},
      {"transposed_stride2_dilated", "ConvTranspose2d",
       made<ConvTranspose2d>(3, 4, 3, ConvTranspose2dOptions{.stride = 2, .padding = 1, .output_padding = 1, .dilation = 2})},
      {"transposed_groups", "ConvTranspose2d",
       made<ConvTranspose2d>(6, 4, 3, ConvTranspose2dOptions{.stride = 2, .padding = 1, .groups = 2})},
      {"transposed_sparse", "ConvTranspose2d", made<ConvTranspose2d>(3, 2, 2, ConvTranspose2dOptions{.stride = 4, .output_padding = 3})},
      {"transposed_deep_padding", "ConvTranspose2d", made<ConvTranspose2d>(3, 4, 2, ConvTranspose2dOptions{.stride = 2, .padding = 3})},
      {"transposed_deep_padding_stride1", "ConvTranspose2d", made<ConvTranspose2d>(3, 4, 2, ConvTranspose2dOptions{.padding = 2})},
      {"conv1d", "Conv2d", made<Conv1d>(4, 6, 3, Conv1dOptions{.stride = 2, .padding = 1, .dilation = 2})},
      {"conv1d_sides", "Conv2d", made<Conv1d>(4, 6, 3, Conv1dOptions{.padding = {2, 0}})},
      {"conv1d_groups", "Conv2d", made<Conv1d>(4, 6, 3, Conv1dOptions{.groups = 2, .bias = false})},
      {"conv_transpose1d", "ConvTranspose2d",
       made<ConvTranspose1d>(4, 3, 4, ConvTranspose1dOptions{.stride = 2, .padding = 1, .output_padding = 1})},
  };
  for (const PadMode mode : {PadMode::reflect, PadMode::replicate, PadMode::circular}) {
    const Conv2dOptions two{.stride = {1, 2}, .padding = {2, 1}, .padding_mode = mode};
    cases.push_back({concat_text("conv_", name(mode)), "Conv2d", made<Conv2d>(3, 5, 3, two)});
    const Conv1dOptions one{.padding = 2, .padding_mode = mode};
    cases.push_back({concat_text("conv1d_", name(mode)), "Conv2d", made<Conv1d>(4, 6, 3, one)});
  }
  const auto resized = [&](const std::string& name, const InterpolateOptions& o) {
    cases.push_back({name, "Interpolate", made<Interpolate>(o)});
  };
  const std::pair<const char*, InterpolateOptions> ways[] = {
      {"size", {.size = {11, 4}}},
      {"scale", {.scale_factor = {1.7, 0.6}}},
      {"recompute", {.scale_factor = {1.7, 0.6}, .recompute_scale_factor = true}},
      {"twice_cut", {.scale_factor = {2.1, 1.1}}},
  };
  for (const auto& [way, options] : ways) {
    for (const InterpolateMode mode : {nearest, nearest_exact, bilinear, bicubic}) {
      InterpolateOptions o = options;
      o.mode = mode;
      const std::string base = concat_text(name(mode), '_', way);
      resized(base, o);
      if (mode == nearest || mode == nearest_exact) continue;
      o.align_corners = true;
      resized(base + "_corners", o);
      o.antialias = true;
      if (std::string_view(way) == "scale") resized(base + "_corners_antialias", o);
      o.align_corners = false;
      resized(base + "_antialias", o);
    }
  }
  for (const InterpolateMode mode : {bilinear, bicubic}) {
    const std::string base(name(mode));
    resized(base + "_far_down_antialias", {.size = {5, 4}, .mode = mode, .antialias = true});
    resized(base + "_one_row", {.size = {3, 7}, .mode = mode});
    resized(base + "_one_pixel_corners", {.size = 1, .mode = mode, .align_corners = true});
  }
  return cases;
}

const Weights& spatial_golden() {
  static const Weights file = Weights::open(test::source_path("tests/golden/spatial.safetensors"));
  return file;
}

class SpatialGolden : public testing::TestWithParam<SpatialCase> {
 protected:
  void expect_equal(const Device& device, Format format, const PassOptions& passes) const {
    const std::string prefix = GetParam().name + "/";
    const std::unique_ptr<Module> module = GetParam().make();
    for (Parameter* p : module->parameters()) p->values = spatial_golden().floats(prefix + p->name);
    const HostTensor x = spatial_golden().tensor(prefix + "x"), expected = spatial_golden().tensor(prefix + "y");
    CompileOptions options;
    options.passes = passes;
    options.tune = false;
    Session net = compile(*module, {{"x", x.spec().shape, x.spec().dtype, format}}, device, options);
    net.input().copy_from(x);
    net.poison();
    net.run();
    ASSERT_EQ(net.output().spec().shape, expected.spec().shape);
    const std::vector<Step>& steps = net.plan().steps;
    const auto own = std::find_if(steps.begin(), steps.end(), [&](const Step& step) { return step.layer->type_name() == GetParam().step; });
    ASSERT_NE(own, steps.end());
    const Difference d = difference(net.output().floats(), expected.floats(), expected.spec().dtype, step_budget(net.plan(), *own));
    EXPECT_LE(d.share, 1) << "max abs " << d.max_abs << ", max ulp " << d.max_ulp << " at " << d.worst_index;
  }
};

TEST_P(SpatialGolden, ReferenceEqualsPyTorch) { expect_equal(Device::reference(), Format::nchw, {}); }

TEST_P(SpatialGolden, CpuKernelsEqualPyTorch) { expect_equal(Device::cpu(), Format::nchw, {}); }

TEST_P(SpatialGolden, KernelEqualsPyTorchInBothFormats) {
  FRIEZE_NEEDS_GPU();
  expect_equal(Device::cuda(), Format::nchw, {.fuse = true, .formats = false});
  expect_equal(Device::cuda(), Format::nchw, {});
  expect_equal(Device::cuda(), Format::nhwc, {});
}

INSTANTIATE_TEST_SUITE_P(PyTorch, SpatialGolden, testing::ValuesIn(spatial_cases()), [](const auto& info) { return info.param.name; });

// A case in the file that no test reads would be a test that cannot fail.
TEST(SpatialGoldenFile, EveryCaseIsTested) {
  std::set<std::string> tested, there;
  for (const SpatialCase& c : spatial_cases()) tested.insert(c.name);
  for (const auto& [name, _] : spatial_golden().tensors()) there.insert(name.substr(0, name.find('/')));
  EXPECT_EQ(tested, there);
}

}  // namespace
}  // namespace frieze
