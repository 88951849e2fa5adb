// No GPU of any compute capability is asked for a launch that it cannot run: every default and every candidate of every kernel family,
// on GPUs that are not there (support/dry_device.h).
#include <gtest/gtest.h>

#if FRIEZE_WITH_CUDA
#include <algorithm>
#include <map>

#include <frieze/core/cuda/check.h>
#include <frieze/layers/arithmetic/arithmetic.h>
#include <frieze/layers/attention/attention.h>
#include <frieze/layers/channel_shortcut/channel_shortcut.h>
#include <frieze/layers/conv2d/cuda/conv2d_kernels.h>
#include <frieze/layers/conv_transpose2d/conv_transpose2d.h>
#include <frieze/layers/elementwise/elementwise.h>
#include <frieze/layers/gated_silu/gated_silu.h>
#include <frieze/layers/glu/glu.h>
#include <frieze/layers/group_norm/group_norm.h>
#include <frieze/layers/interpolate/interpolate.h>
#include <frieze/layers/layer_norm/layer_norm.h>
#include <frieze/layers/linear_attention2d/linear_attention2d.h>
#include <frieze/layers/matmul/matmul.h>
#include <frieze/layers/merge_phases/merge_phases.h>
#include <frieze/layers/pad/pad.h>
#include <frieze/layers/pixel_shuffle/pixel_shuffle.h>
#include <frieze/layers/pool/pool.h>
#include <frieze/layers/pool2d/pool2d.h>
#include <frieze/layers/prelu/prelu.h>
#include <frieze/layers/reduce/reduce.h>
#include <frieze/layers/rms_norm/rms_norm.h>
#include <frieze/layers/rms_norm2d/cuda/norm_call.h>
#include <frieze/layers/rms_norm2d/cuda/norm_tuning.h>
#include <frieze/layers/softmax/softmax.h>
#include <frieze/layers/upsample/upsample.h>
#include "support/dry_device.h"

namespace frieze {
namespace {

using cuda::DeviceInfo;
using cuda::NormChain;
using cuda::NormConfig;
using test::DryDevice;
using test::DryLaunch;
using test::gpus_of_every_capability;

constexpr DType kFloatTypes[] = {DType::f32, DType::f16, DType::bf16};
constexpr std::uintptr_t kAligned = std::uintptr_t{1} << 40;  // tensors at its multiples are apart

void* address(std::uintptr_t at) { return reinterpret_cast<void*>(at); }

// Shapes of models, large ones, small ones, odd ones, many images.
const Shape kNormShapes[] = {
    {1, 128, 1024, 1024}, {1, 256, 512, 512},  {1, 512, 64, 64},  {1, 1024, 32, 32}, {1, 1024, 64, 64},    {1, 2048, 32, 32},
    {1, 4096, 32, 32},    {112, 64, 512, 512}, {1, 640, 48, 48},  {2, 1280, 24, 24}, {1, 96, 300, 301},    {4, 192, 127, 129},
    {2, 320, 63, 65},     {1, 640, 47, 49},    {1, 1280, 33, 33}, {1, 4096, 31, 33}, {1, 3, 1023, 1025},   {1, 8, 1023, 1023},
    {1, 12, 511, 513},    {1, 24, 511, 513},   {7, 33, 101, 103}, {2, 4, 17, 131},   {1, 5, 9, 131},       {1, 1, 1, 1},
    {1, 65536, 1, 8},     {1, 100000, 3, 3},   {3000, 7, 5, 3},   {1, 16, 1, 1},     {1, 2, 46340, 46340}, {70000, 64, 16, 16},
    {1, 515, 3, 7},       {2, 2, 17, 131},     {1, 8192, 16, 16}, {1, 16384, 8, 8},  {1, 32768, 8, 8},     {1, 1536, 128, 128}};

cuda::NormOptions options_of(NormChain chain, ResidualMode residual) {
  cuda::NormOptions o;
  if (chain == NormChain::silu || chain == NormChain::full) o.first = Activation::silu;
  if (chain == NormChain::full) {
    o.rounding = Rounding::diffusers;
    o.residual = residual;
  }
  return o;
}

struct NormCase {
  Shape shape;
  Format format;
  DType dtype;
  NormChain chain;
  ResidualMode residual = ResidualMode::none;
  std::uintptr_t misalign = 0;  // bytes
  bool in_place = false;
};

cuda::NormCall call_of(const NormCase& c, const DeviceInfo& device) {
  const TensorSpec spec{c.shape, c.dtype, c.format};
  const TensorView x(address(kAligned + c.misalign), spec), y(address(2 * kAligned + c.misalign), spec);
  const TensorView residual(address(3 * kAligned + c.misalign), spec);
  const void* const weight = c.chain == NormChain::bare ? nullptr : address(4 * kAligned);
  const cuda::NormFormula formula = cuda::make_formula(options_of(c.chain, c.residual), c.shape.c(), c.dtype);
  return cuda::make_norm_call(x, c.in_place ? x : y, c.residual == ResidualMode::none ? nullptr : &residual, weight, weight, formula,
                              c.format, device);
}

template <class Body>
void for_each_norm_case(const Body& body) {
  for (const Shape& shape : kNormShapes) {
    for (const DType t : kFloatTypes) {
      for (const Format format : {Format::nchw, Format::nhwc}) {
        for (const NormChain chain : {NormChain::bare, NormChain::affine, NormChain::silu, NormChain::full}) {
          body(NormCase{shape, format, t, chain});
        }
        body(NormCase{shape, format, t, NormChain::full, ResidualMode::before});
        body(NormCase{shape, format, t, NormChain::full, ResidualMode::after});
        body(NormCase{shape, format, t, NormChain::affine, ResidualMode::none, size_of(t)});
        body(NormCase{shape, format, t, NormChain::full, ResidualMode::after, 8});
        body(NormCase{shape, format, t, NormChain::silu, ResidualMode::none, 0, true});
      }
    }
  }
}

std::string text_of(const NormCase& c) {
  return concat_text(TensorSpec{c.shape, c.dtype, c.format}, ", chain ", static_cast<int>(c.chain), ", residual ",
                     static_cast<int>(c.residual), ", off by ", c.misalign, c.in_place ? ", in place" : "");
}

class LimitsOf : public testing::TestWithParam<std::size_t> {
 protected:
  static DeviceInfo device() { return gpus_of_every_capability()[GetParam()]; }
};
std::string name_of(const testing::TestParamInfo<std::size_t>& info) {
  return concat_text("sm_", gpus_of_every_capability()[info.param].compute_capability);
}
INSTANTIATE_TEST_SUITE_P(Devices, LimitsOf, testing::Range(std::size_t{0}, std::size_t{6}), name_of);

// All configurations, not only the candidates; and what is launched is what norm_launch_needs() says, which the choice is made by.
TEST_P(LimitsOf, RMSNorm2dsConfigurationsCanBeLaunched) {
  DryDevice dry(device());
  std::size_t configs = 0, cases = 0;
  for_each_norm_case([&](const NormCase& c) {
    const cuda::NormCall call = call_of(c, dry.info());
    const std::vector<NormConfig> all = cuda::all_norm_configs(call.problem), candidates = cuda::norm_candidates(call.problem);
    ASSERT_FALSE(candidates.empty()) << text_of(c);
    EXPECT_EQ(cuda::default_norm_config(call.problem), candidates.front());
    ++cases;
    for (const NormConfig& config : all) {
      const cuda::LaunchNeeds needs = cuda::norm_launch_needs(config, call.problem);
      try {
        cuda::launch_norm(config, c.dtype, call.args, call.strides, nullptr);
      } catch (const CudaError& e) {
        FAIL() << text_of(c) << ": " << cuda::norm_config_text(config) << ": " << e.what() << ' ' << dry.refusal();
      }
      const std::vector<DryLaunch> launches = dry.take_launches();
      ASSERT_EQ(launches.size(), 1U);
      const cuda::LaunchNeeds& real = launches[0].needs;
      ASSERT_TRUE(real.blocks == needs.blocks && real.threads == needs.threads && real.dynamic_shared == needs.dynamic_shared &&
                  real.cluster == needs.cluster && (real.most_threads == needs.most_threads || real.most_threads == 1024))
          << text_of(c) << ": " << cuda::norm_config_text(config) << " is launched with " << real.most_threads << " threads at the most";
      ++configs;
    }
  });
  EXPECT_GT(configs, 12 * cases);
}

// The problems of a report: their defaults did not fit into 99 and 163 KiB.
TEST_P(LimitsOf, RMSNorm2dsLayerAndCallRunLargeChannelCounts) {
  DryDevice dry(device());
  for (const Shape& shape : {Shape{1, 4096, 32, 32}, Shape{1, 2048, 32, 32}, Shape{1, 8192, 16, 16}, Shape{1, 16384, 31, 33}}) {
    for (const DType t : kFloatTypes) {
      const TensorSpec spec{shape, t};
      const TensorView x(address(kAligned), spec), y(address(2 * kAligned), spec), residual(address(3 * kAligned), spec);
      for (const ResidualMode mode : {ResidualMode::none, ResidualMode::before, ResidualMode::after}) {
        RMSNorm2dCall call;
        call.weight = address(4 * kAligned);
        call.residual_mode = mode;
        if (mode != ResidualMode::none) call.residual = residual;
        EXPECT_NO_THROW(rms_norm2d(x, y, call, nullptr)) << spec << ' ' << dry.refusal();
        RMSNorm2dOptions options;
        options.residual = mode;
        const RMSNorm2d layer(shape.c(), options);
        const std::vector<TensorSpec> in(mode == ResidualMode::none ? 1 : 2, spec);
        const std::vector<TensorView> views(in.size(), x);
        cuda::PrepareArgs args{in, {&spec, 1}, {}, &dry.info(), nullptr, false, false};
        const std::unique_ptr<cuda::Kernel> kernel = cuda::kernel_registry().prepare(layer, args);
        EXPECT_NO_THROW(kernel->launch({views, {&y, 1}, nullptr}, nullptr)) << spec << ' ' << dry.refusal();
      }
    }
  }
}

// Code that was compiled for an older GPU knows no clusters: a newer one that runs it must not be asked for any.
TEST(LaunchLimits, CodeForOlderGpusIsLaunchedWithoutClusters) {
  for (const DeviceInfo& device : gpus_of_every_capability()) {
    DryDevice dry(device, 80);
    const DeviceInfo runs = cuda::as_code_runs(dry.info());
    EXPECT_EQ(runs.compute_capability, 80);
    for (const Shape& shape : kNormShapes) {
      const cuda::NormCall call = call_of({shape, Format::nchw, DType::bf16, NormChain::affine}, runs);
      for (const NormConfig& config : cuda::all_norm_configs(call.problem)) {
        EXPECT_EQ(config.cluster, 1);
        ASSERT_NO_THROW(cuda::launch_norm(config, DType::bf16, call.args, call.strides, nullptr)) << dry.refusal();
      }
    }
    for (const DryLaunch& launch : dry.take_launches()) EXPECT_FALSE(launch.dependent) << launch.kernel;
  }
}

// Most of what a larger GPU offers is used: limits are those of the device, not the smallest one's.
TEST(LaunchLimits, LargeGpusAreOfferedMoreThanSmallOnes) {
  std::map<int, std::pair<std::size_t, int>> most;  // shared memory and cluster
  for (const DeviceInfo& device : gpus_of_every_capability()) {
    auto& [shared, cluster] = most[device.compute_capability];
    for (const Shape& shape : kNormShapes) {
      const cuda::NormCall call = call_of({shape, Format::nchw, DType::f32, NormChain::full}, device);
      for (const NormConfig& c : cuda::all_norm_configs(call.problem)) {
        const cuda::LaunchNeeds needs = cuda::norm_launch_needs(c, call.problem);
        shared = std::max(shared, needs.dynamic_shared + needs.static_shared);
        cluster = std::max(cluster, needs.cluster);
      }
    }
    EXPECT_LE(shared, device.shared_memory_per_block);
  }
  EXPECT_GT(most[90].first, 200U << 10);
  EXPECT_GT(most[80].first, 100U << 10);
  EXPECT_LE(most[86].first, 99U << 10);
  for (const int old : {80, 86, 89}) EXPECT_EQ(most[old].second, 1);
  for (const int newer : {90, 100, 120}) EXPECT_EQ(most[newer].second, 8);
}

cuda::ConvGeometry geometry(const Shape& x, int out_c, int kernel, int stride, int dilation, int groups) {
  cuda::ConvGeometry g;
  g.n = x.n();
  g.in_c = static_cast<int>(x.c()), g.in_h = static_cast<int>(x.h()), g.in_w = static_cast<int>(x.w());
  g.out_c = out_c;
  g.kernel_h = g.kernel_w = kernel;
  g.stride_h = g.stride_w = stride;
  g.dilation_h = g.dilation_w = dilation;
  g.pad_h = g.pad_w = dilation * (kernel / 2);
  g.out_h = (g.in_h - 1) / stride + 1, g.out_w = (g.in_w - 1) / stride + 1;
  g.groups = groups;
  g.pixels = g.n * g.out_h * g.out_w;
  return g;
}

const Shape kConvShapes[] = {{1, 3, 512, 512}, {1, 128, 1024, 1024}, {2, 512, 64, 64},  {1, 1024, 32, 32},
                             {1, 32, 1, 1},    {1, 96, 7, 9},        {4, 6144, 16, 16}, {1, 8, 1, 4099},
                             {1, 24, 4099, 1}, {64, 40, 5, 7},       {1, 2040, 3, 3},   {1, 33, 31, 33}};
const cuda::EpilogueArgs kNoEpilogue;

// Conv2d: each kernel family, whatever the choice would be.
TEST_P(LimitsOf, ConvolutionsCanBeLaunched) {
  DryDevice dry(device());
  const auto expect_runs = [&](const char* family, const Shape& x, DType t, const auto& launch) {
    EXPECT_NO_THROW(launch()) << family << ' ' << x << ' ' << t << ": " << dry.refusal();
    EXPECT_FALSE(dry.take_launches().empty()) << family;
  };
  void* const p = address(kAligned);
  for (const Shape& x : kConvShapes) {
    for (const DType t : kFloatTypes) {
      for (const int kernel : {1, 2, 3, 5, 7, 11}) {
        for (const int stride : {1, 2}) {
          for (const int dilation : {1, 3}) {
            const int channels = static_cast<int>(x.c());
            const cuda::ConvGeometry depthwise = geometry(x, channels, kernel, stride, dilation, channels);
            expect_runs("depthwise", x, t, [&] { cuda::launch_depthwise(t, depthwise, p, nullptr, p, p, kNoEpilogue, nullptr); });
            if (cuda::takes_depthwise_tile(t, depthwise)) {
              expect_runs("depthwise tile", x, t,
                          [&] { cuda::launch_depthwise_tile(t, depthwise, p, nullptr, p, p, kNoEpilogue, nullptr); });
            }
            for (const int out_c : {1, 3, 32, 130, 1024}) {
              const cuda::ConvGeometry g = geometry(x, out_c, kernel, stride, dilation, 1);
              cuda::ConvWeights w;
              w.w = w.bias = p;
              w.bias_f32 = static_cast<const float*>(p);
              w.tap_size = (channels + 7) / 8 * 8;
              w.row = (std::int64_t{w.tap_size} * g.taps() + 31) / 32 * 32;
              w.rows = (out_c + 127) / 128 * 128;
              expect_runs("direct", x, t, [&] { cuda::launch_direct(t, Format::nchw, g, w, p, p, kNoEpilogue, nullptr); });
              expect_runs("gather", x, t, [&] { cuda::launch_gather_columns(t, g, w.tap_size, p, p, 0, g.pixels, nullptr); });
              for (int tile = 0; t != DType::f32 && tile < cuda::kImplicitTileCount; ++tile) {
                expect_runs("implicit", x, t, [&] { cuda::launch_implicit_gemm(t, tile, g, w, p, p, kNoEpilogue, nullptr); });
              }
            }
          }
        }
      }
      if (x.c() % cuda::kGroupedChannels == 0) {
        const auto c = static_cast<int>(x.c());
        const cuda::ConvGeometry g = geometry(x, c, 1, 1, 1, c / cuda::kGroupedChannels);
        cuda::ConvWeights w;
        w.w = p;
        w.row = cuda::kGroupedChannels;
        expect_runs("grouped", x, t, [&] { cuda::launch_grouped_pointwise(t, g, w, p, p, nullptr); });
      }
    }
  }
}

// A layer through its registered kernel, in both formats.
void expect_layer_runs(DryDevice& dry, const Layer& layer, const std::vector<Shape>& shapes) {
  for (const DType t : kFloatTypes) {
    for (const Format format : {Format::nchw, Format::nhwc}) {
      for (const std::uintptr_t misalign : {std::uintptr_t{0}, static_cast<std::uintptr_t>(size_of(t))}) {
        std::vector<TensorSpec> in;
        std::vector<TensorView> views;
        for (const Shape& shape : shapes) {
          in.push_back({shape, t, format});
          views.emplace_back(address(kAligned + misalign), in.back());
        }
        TensorSpec out = layer.infer(in).out[0];
        out.format = format;
        const cuda::PrepareArgs args{in, {&out, 1}, {}, &dry.info(), nullptr, false, false};
        try {
          const std::unique_ptr<cuda::Kernel> kernel = cuda::kernel_registry().prepare(layer, args);
          const TensorView made(address(2 * kAligned + misalign), out);
          kernel->launch({views, {&made, 1}, address(3 * kAligned)}, nullptr);
        } catch (const CudaError& e) {
          ADD_FAILURE() << layer.type_name() << ' ' << in[0] << ": " << e.what() << ' ' << dry.refusal();
        }
        EXPECT_FALSE(dry.take_launches().empty()) << layer.type_name() << ' ' << in[0];
      }
    }
  }
}

TEST_P(LimitsOf, OtherLayersCanBeLaunched) {
  DryDevice dry(device());
  for (const int d : {1, 3, 8, 16, 31, 32, 33, 63, LinearAttention2d::kMaxHeadDim}) {
    for (const Shape& pixels : {Shape{1, 3, 128, 128}, Shape{3, 9, 5, 7}, Shape{1, 96, 1, 1}, Shape{2, 6, 1, 4099}}) {
      expect_layer_runs(dry, LinearAttention2d(d), {{pixels.n(), pixels.c() * d, pixels.h(), pixels.w()}});
    }
  }
  for (const Shape& x : {Shape{1, 8, 64, 64}, Shape{2, 64, 33, 35}, Shape{1, 2048, 1, 1}, Shape{3, 4, 1, 100000}, Shape{1, 4, 100000, 1}}) {
    for (int axis = 0; axis < 4; ++axis) expect_layer_runs(dry, Softmax(axis), {x});
    expect_layer_runs(dry, GlobalAvgPool(), {x});
    expect_layer_runs(dry, GlobalAvgPool(true), {x});
    expect_layer_runs(dry, GatedSiLU(), {x});
    expect_layer_runs(dry, Add(), {x, x});
    expect_layer_runs(dry, PixelShuffle(2), {x});
    expect_layer_runs(dry, Upsample(3), {x});
  }
  expect_layer_runs(dry, AveragingShortcut(64, 2), {{1, 32, 512, 512}});
  expect_layer_runs(dry, DuplicatingShortcut(32, 2), {{2, 64, 33, 35}});
  expect_layer_runs(dry, MergePhases(), {{1, 512, 65, 65}});
  expect_layer_runs(dry, MergePhases(64), {{1, 512, 65, 65}, {1, 64, 64, 64}});
}

TEST_P(LimitsOf, ArithmeticAndReductionsCanBeLaunched) {
  DryDevice dry(device());
  PReLU prelu;
  init_random(prelu, 1);
  for (const Shape& x : {Shape{1, 8, 64, 64}, Shape{2, 64, 33, 35}, Shape{1, 2048, 1, 1}, Shape{3, 4, 1, 100000}, Shape{1, 4, 100000, 1},
                         Shape{64, 512, 64, 64}}) {
    expect_layer_runs(dry, Unary(UnaryFunction::exp), {x});
    expect_layer_runs(dry, Binary(BinaryFunction::divide), {x, {x.c(), 1, 1}});
    expect_layer_runs(dry, Where(), {x, x, {1}});
    expect_layer_runs(dry, Glu(Activation::silu, 1), {x});
    expect_layer_runs(dry, prelu, {x});
    for (const std::vector<int>& axes : {std::vector<int>{}, {0}, {1}, {2, 3}, {3}, {0, 2, 3}}) {
      expect_layer_runs(dry, Reduce(Reduction::sum, axes), {x});
      expect_layer_runs(dry, Reduce(Reduction::min, axes, true), {x});
    }
  }
}

TEST_P(LimitsOf, AttentionAndProductsCanBeLaunched) {
  DryDevice dry(device());
  for (const auto& [width, value_width] :
       {std::pair{1, 1}, {40, 40}, {64, 64}, {128, 128}, {256, 256}, {384, 384}, {512, 512}, {512, 8}, {8, 1000}, {640, 640}}) {
    for (const std::int64_t rows : {1, 64, 65, 5000}) {
      const Shape q{2, 6, rows, width}, k{2, 2, 197, width}, v{2, 3, 197, value_width};
      expect_layer_runs(dry, ScaledDotProductAttention({.enable_gqa = true}), {q, k, v});
      expect_layer_runs(dry, ScaledDotProductAttention({.enable_gqa = true}), {q, k, v, {rows, 197}});
    }
  }
  expect_layer_runs(dry, ScaledDotProductAttention({.is_causal = true}), {{1, 16384, 384}, {1, 16384, 384}, {1, 16384, 384}});
  // Products whose matrices do not begin at multiples of 16 bytes: no library is asked.
  expect_layer_runs(dry, MatMul(), {{2, 301, 63}, {2, 63, 1025}});
  expect_layer_runs(dry, MatMul(), {{7}, {3, 5, 7, 33}});
  expect_layer_runs(dry, MatMul(), {{70000, 3, 5}, {70000, 5, 3}});
}

TEST_P(LimitsOf, PaddingSizesAndTransposedConvolutionsCanBeLaunched) {
  DryDevice dry(device());
  for (const Shape& x : {Shape{1, 8, 64, 64}, Shape{2, 64, 33, 35}, Shape{1, 2048, 2, 2}, Shape{3, 4, 2, 100000}, Shape{1, 4, 100000, 2}}) {
    for (const PadMode mode : {PadMode::zeros, PadMode::reflect, PadMode::replicate, PadMode::circular}) {
      expect_layer_runs(dry, Pad({1, 0, 1, 1}, mode), {x});
      Conv2d padding(x.c(), 8, 3, {.padding = 1, .groups = 4, .padding_mode = mode});  // in groups, which need no library
      init_random(padding, 1);
      expect_layer_runs(dry, padding, {x});
    }
    for (const InterpolateMode mode :
         {InterpolateMode::nearest, InterpolateMode::nearest_exact, InterpolateMode::bilinear, InterpolateMode::bicubic}) {
      expect_layer_runs(dry, Interpolate({.scale_factor = {1.5, 0.7}, .mode = mode}), {x});
    }
    expect_layer_runs(dry, Interpolate({.scale_factor = 0.6, .mode = InterpolateMode::bicubic, .antialias = true}), {x});
    for (const int dilation : {1, 2}) {
      ConvTranspose2d transposed(x.c(), 8, 3, {.stride = 2, .padding = 1, .output_padding = 1, .dilation = dilation, .groups = 4});
      init_random(transposed, 1);
      expect_layer_runs(dry, transposed, {x});
    }
  }
}

TEST_P(LimitsOf, NormalisationsAndPoolingsCanBeLaunched) {
  DryDevice dry(device());
  for (const std::int64_t length : {1, 5, 64, 96, 768, 4096, 5001, 32768, 65536, 1000000}) {
    expect_layer_runs(dry, LayerNorm(length, {.affine = false}), {{3, 7, length}});
    expect_layer_runs(dry, RMSNorm(length, {.weight = false}), {{3, 7, length}});
  }
  for (const Shape& x : {Shape{1, 8, 64, 64}, Shape{2, 64, 33, 35}, Shape{1, 2048, 2, 2}, Shape{3, 4, 2, 100000}, Shape{1, 6168, 3, 5},
                         Shape{1, 514, 5, 5}, Shape{1, 256, 512, 512}, Shape{300, 32, 16, 16}, Shape{1, 320, 1, 1}}) {
    expect_layer_runs(dry, LayerNorm2d(x.c(), {.affine = false}), {x});
    expect_layer_runs(dry, InstanceNorm2d(x.c()), {x});
    for (const std::int64_t groups : {1, 2}) expect_layer_runs(dry, GroupNorm(groups, x.c(), {.affine = false}), {x});
    if (x.c() % 32 == 0) expect_layer_runs(dry, GroupNorm(32, x.c(), {.affine = false}), {x});
    expect_layer_runs(dry, AdaptiveAvgPool2d({3, 7}), {x});
    expect_layer_runs(dry, AdaptiveAvgPool2d(1), {x});
    expect_layer_runs(dry, AdaptiveMaxPool2d(2), {x});
    if (x.h() < 2) continue;
    for (const int kernel : {2, 3, 8}) {
      expect_layer_runs(dry, MaxPool2d(kernel, {.stride = 2, .padding = kernel / 2, .ceil_mode = true}), {x});
      expect_layer_runs(dry, AvgPool2d(kernel, {.stride = 1, .padding = kernel / 2}), {x});
    }
  }
}

// The harness itself: what a GPU refuses fails here too.
TEST(LaunchLimits, ADryDeviceRefusesWhatTheGpuWould) {
  const DeviceInfo h100 = gpus_of_every_capability()[3];
  DeviceInfo narrow = h100, without_clusters = h100;
  narrow.shared_memory_per_block = 16 << 10;
  without_clusters.compute_capability = 89;
  const NormCase big{{1, 4096, 32, 32}, Format::nchw, DType::bf16, NormChain::full, ResidualMode::after};
  const cuda::NormCall call = call_of(big, h100);
  for (const DeviceInfo& device : {narrow, without_clusters}) {
    DryDevice dry(device);
    std::size_t ran = 0, refused = 0;
    for (const NormConfig& config : cuda::all_norm_configs(call.problem)) {
      const cuda::LaunchNeeds needs = cuda::norm_launch_needs(config, call.problem);
      if (cuda::can_launch(needs, device.compute_capability, device.shared_memory_per_block)) {
        EXPECT_NO_THROW(cuda::launch_norm(config, big.dtype, call.args, call.strides, nullptr)) << cuda::norm_config_text(config);
        ++ran;
      } else {
        EXPECT_THROW(cuda::launch_norm(config, big.dtype, call.args, call.strides, nullptr), CudaError) << cuda::norm_config_text(config);
        ++refused;
      }
    }
    EXPECT_GT(ran, 0U);
    EXPECT_GT(refused, 10U);
  }
  DryDevice dry(h100);
  NormConfig broken = cuda::default_norm_config(call.problem);
  broken.threads = 2048;
  EXPECT_THROW(cuda::launch_norm(broken, big.dtype, call.args, call.strides, nullptr), CudaError);
}

}  // namespace
}  // namespace frieze
#endif
