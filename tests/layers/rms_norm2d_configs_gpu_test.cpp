// Every configuration that RMSNorm2d can run in, against the formula and against each other.
#include <gtest/gtest.h>

#if FRIEZE_WITH_CUDA
#include <cstdio>
#include <map>
#include <set>
#include <string>

#include <frieze/core/cuda/check.h>
#include <frieze/layers/rms_norm2d/cuda/norm_call.h>
#include <frieze/layers/rms_norm2d/cuda/norm_tuning.h>
#include "layers/rms_norm2d_device.h"
#include "support/dry_device.h"
#include "testing/kernel_watch.h"

namespace frieze {
namespace {

using cuda::NormConfig;
using test::DirectCase;
using Bytes = std::string;

// A contiguous tensor on the device that begins `misalign` elements behind a multiple of 256 bytes, between guards.
class Fenced {
 public:
  Fenced(const TensorSpec& spec, std::int64_t misalign)
      : spec_(spec),
        offset_(kFence + static_cast<std::size_t>(misalign) * size_of(spec.dtype)),
        memory_(offset_ + static_cast<std::size_t>(spec.bytes()) + kFence) {}

  TensorView view() const { return TensorView(memory_.as<char>() + offset_, spec_); }
  void fill(std::span<const float> values) { upload(bytes_of(values)); }
  void poison() { upload(Bytes(static_cast<std::size_t>(spec_.bytes()), '\xFF')); }
  Bytes bytes() const {
    Bytes all(memory_.bytes(), '\0');
    memory_.download(all.data(), all.size());
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(offset_), end = begin + spec_.bytes();
    const auto kept = [](char b) { return b == kGuard; };
    EXPECT_TRUE(std::all_of(all.begin(), begin, kept) && std::all_of(end, all.end(), kept)) << "memory beside the tensor changed";
    return {begin, end};
  }
  std::vector<float> floats(Bytes bytes) const { return to_floats(TensorView(bytes.data(), spec_)); }
  Bytes bytes_of(std::span<const float> values) const {
    const HostTensor host(spec_, values);
    return {static_cast<const char*>(host.data()), host.bytes()};
  }

 private:
  static constexpr std::size_t kFence = 512;
  static constexpr char kGuard = 0x7F;
  void upload(const Bytes& inner) {
    Bytes all(memory_.bytes(), kGuard);
    std::copy(inner.begin(), inner.end(), all.begin() + static_cast<std::ptrdiff_t>(offset_));
    memory_.upload(all.data(), all.size());
  }
  TensorSpec spec_;
  std::size_t offset_;
  cuda::DeviceBuffer memory_;
};

// Pixels that are not like the others, at the front and at the back of the first image.
void plant_special_pixels(DirectCase& c) {
  const auto channels = static_cast<std::size_t>(c.shape.c()), pixels = static_cast<std::size_t>(c.shape.h() * c.shape.w());
  const auto set = [&](std::size_t pixel, auto value) {
    for (std::size_t ch = 0; ch < channels; ++ch) c.x[ch * pixels + pixel] = round_to(c.dtype, value(ch));
  };
  const double tiny = min_subnormal(c.dtype), huge = max_finite(c.dtype), inf = HUGE_VAL;
  const auto sign = [](std::size_t ch) { return ch % 3 == 0 ? -1.0 : 1.0; };
  ASSERT_GE(pixels, 8U);
  set(0, [](std::size_t) { return 0.0; });
  set(1, [&](std::size_t ch) { return ch == channels / 2 ? 1.5 : 0.0; });
  set(2, [&](std::size_t ch) { return sign(ch) * huge; });
  set(3, [&](std::size_t ch) { return sign(ch) * tiny * static_cast<double>(1 + ch % 4); });
  set(4, [&](std::size_t ch) { return ch == channels - 1 ? std::nan("") : 1.0; });
  set(5, [&](std::size_t ch) { return ch == 0 ? -inf : 0.5; });
  set(pixels - 2, [&](std::size_t ch) { return sign(ch) * huge; });
  set(pixels - 1, [](std::size_t) { return 0.0; });
}

struct Problem {
  Shape shape;
  Format format;
  std::int64_t misalign = 0;  // elements
};
const Problem kProblems[] = {{{2, 64, 6, 40}, Format::nchw},
                             {{1, 100, 8, 16}, Format::nchw},
                             {{2, 48, 9, 13}, Format::nchw},
                             {{2, 3, 17, 131}, Format::nchw},
                             {{1, 64, 8, 24}, Format::nchw, 1},
                             {{1, 2048, 4, 8}, Format::nchw},
                             {{1, 20000, 1, 8}, Format::nchw},
                             {{2, 96, 7, 9}, Format::nhwc},
                             {{1, 1280, 3, 5}, Format::nhwc},
                             {{2, 3, 19, 23}, Format::nhwc},
                             {{2, 33, 7, 11}, Format::nhwc},
                             {{1, 515, 3, 7}, Format::nhwc},
                             {{1, 64, 8, 9}, Format::nhwc, 1},
                             {{1, 20001, 2, 4}, Format::nhwc},
                             {{2, 1, 9, 11}, Format::nhwc},
                             // for kernels that no other one takes
                             {{2, 2, 17, 131}, Format::nchw},
                             {{2, 4, 17, 131}, Format::nchw},
                             {{1, 5, 9, 131}, Format::nchw},
                             {{2, 6, 9, 67}, Format::nchw},
                             {{1, 7, 9, 131}, Format::nchw},
                             {{2, 8, 9, 67}, Format::nchw},
                             {{1, 96, 8, 16}, Format::nchw},
                             {{1, 96, 9, 13}, Format::nchw},
                             {{1, 128, 9, 13}, Format::nchw},
                             {{1, 2048, 3, 6}, Format::nchw},
                             {{1, 8192, 1, 10}, Format::nchw},
                             {{2, 2, 65, 33}, Format::nhwc},
                             {{2, 4, 33, 31}, Format::nhwc},
                             {{1, 1024, 3, 5}, Format::nhwc}};

RMSNorm2dOptions bare(EpsMode mode) {
  RMSNorm2dOptions o;
  o.weight = false;
  o.eps_mode = mode;
  return o;
}
RMSNorm2dOptions affine() {
  RMSNorm2dOptions o;
  o.bias = true;
  return o;
}
RMSNorm2dOptions with_silu() {
  RMSNorm2dOptions o;
  o.bias = true;
  o.activation = Activation::silu;
  return o;
}
RMSNorm2dOptions with_silu_and_residual() {
  RMSNorm2dOptions o;
  o.bias = true;
  o.activation = Activation::silu;
  o.residual = ResidualMode::before;
  return o;
}
// Chains that nhwc_rows has kernels of its own for.
RMSNorm2dOptions with_residual_after() {
  RMSNorm2dOptions o;
  o.bias = true;
  o.residual = ResidualMode::after;
  return o;
}
RMSNorm2dOptions with_relu() {
  RMSNorm2dOptions o;
  o.activation = Activation::relu;
  return o;
}
RMSNorm2dOptions as_diffusers() {
  RMSNorm2dOptions o;
  o.eps_mode = EpsMode::clamp_norm;
  o.eps = 1e-12;
  o.rounding = Rounding::diffusers;
  o.residual = ResidualMode::after;
  return o;
}

// What the configurations of one problem gave.
struct Outcome {
  std::size_t configs = 0, other_bits = 0;  // how many differ from the default
  double share = 0;                         // of the budget
  double ulp = 0;                           // from the default, in units of the last place of the largest summand
  double different = 0;                     // most elements that differ in one configuration, as a share of all
};

Outcome run_all(const Problem& problem, DType t, const RMSNorm2dOptions& options, cudaStream_t stream, const cuda::DeviceInfo& device) {
  DirectCase c{options, problem.shape, t};
  c.prepare();
  plant_special_pixels(c);
  const TensorSpec spec{problem.shape, t, problem.format};
  Fenced x(spec, problem.misalign), y(spec, problem.misalign), residual(spec, problem.misalign);
  x.fill(c.x);
  if (!c.residual.empty()) residual.fill(c.residual);
  const Bytes before = x.bytes();
  const TensorView residual_view = residual.view();
  const double eps = options.eps.value_or(default_eps(options.eps_mode));
  const cuda::NormOptions norm{eps, options.eps_mode, options.rounding, options.activation, Activation::none, options.residual};
  const cuda::NormCall call = cuda::make_norm_call(x.view(), y.view(), c.residual.empty() ? nullptr : &residual_view, c.call.weight,
                                                   c.call.bias, cuda::make_formula(norm, problem.shape.c(), t), problem.format, device);
  const std::vector<test::NormResult> truth = c.truth();
  std::vector<float> expected;
  for (const test::NormResult& r : truth) expected.push_back(static_cast<float>(r.y));

  std::vector<NormConfig> configs = cuda::all_norm_configs(call.problem);
  const NormConfig first = cuda::default_norm_config(call.problem);
  EXPECT_NE(std::find(configs.begin(), configs.end(), first), configs.end()) << "the default is not among all";
  std::iter_swap(configs.begin(), std::find(configs.begin(), configs.end(), first));

  Outcome outcome;
  std::vector<float> of_default;
  std::map<Bytes, bool> known;  // results, and whether they are the default's
  for (const NormConfig& config : configs) {
    const std::string what = concat_text(spec, problem.misalign > 0 ? " misaligned" : "", ": ", cuda::norm_config_text(config));
    const auto enqueue = [&] { cuda::launch_norm(config, t, call.args, call.strides, stream); };
    const std::vector<std::string> kernels = test::kernels_of(test::captured(stream, enqueue).get());
    // What else the code looks at: how sums meet and over how many blocks, windows with and without a halo, threads with nothing to do.
    const int lanes = config.lanes >= 32 ? 32 : (config.lanes & (config.lanes - 1)) == 0 ? std::min(config.lanes, 4) : 3;
    const std::string way = concat_text(lanes, ' ', (config.cluster > 1) + (config.cluster > 4), ' ', config.parked > 0, ' ',
                                        config.pixels == config.lanes * config.vector, ' ', config.threads == config.lanes, ' ',
                                        config.threads % config.lanes > 0);
    if (test::each_kernel_once() && !test::first_time(kernels, way)) continue;
    test::note_launched(kernels);
    Bytes got;
    for (int launch = 0; launch < (test::each_kernel_once() ? 1 : 2); ++launch) {
      y.poison();
      enqueue();
      CUDA_CHECK(cudaStreamSynchronize(stream));
      Bytes bytes = y.bytes();
      EXPECT_TRUE(launch == 0 || bytes == got) << what << ": another launch gave other bits";
      got = std::move(bytes);
    }
    ++outcome.configs;
    const auto [at, is_new] = known.try_emplace(got, known.empty());
    outcome.other_bits += at->second ? 0 : 1;
    if (!is_new) continue;
    const std::vector<float> values = y.floats(got);
    const test::ParityReport report = test::compare(values, expected, t, c.budget());
    EXPECT_LE(report.share, 1) << what << ": max abs " << report.max_abs << " at " << report.worst_index;
    outcome.share = std::max(outcome.share, report.share);
    if (of_default.empty()) of_default = values;
    std::size_t different = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (std::isnan(values[i]) || values[i] == of_default[i]) continue;
      ++different;
      const double largest = std::max(static_cast<double>(truth[i].largest), std::abs(static_cast<double>(expected[i])));
      outcome.ulp =
          std::max(outcome.ulp, std::abs(static_cast<double>(values[i]) - static_cast<double>(of_default[i])) / test::ulp_at(t, largest));
    }
    outcome.different = std::max(outcome.different, static_cast<double>(different) / static_cast<double>(values.size()));
  }
  EXPECT_TRUE(x.bytes() == before) << spec << ": x changed";
  return outcome;
}

// Configurations add the squares of a pixel in different orders. f32 sums carry their roundings along, so that 1/rms is the same all the
// same. 16-bit ones differ in their last bits, and results then fall on the other side of a rounding: seldom, and by one unit.
class RMSNorm2dConfigsOf : public testing::TestWithParam<std::size_t> {};  // which of the problems

TEST_P(RMSNorm2dConfigsOf, AllAreWithinTheBudgetAndAgree) {
  FRIEZE_NEEDS_GPU();
  const cuda::Stream stream = cuda::make_stream();
  int index = 0;
  CUDA_CHECK(cudaGetDevice(&index));
  const cuda::DeviceInfo device = cuda::device_info(index);
  const auto run = [&](const Problem& problem, DType t, const RMSNorm2dOptions& options) {
    const Outcome o = run_all(problem, t, options, stream.get(), device);
    std::printf(
        "%s: %zu configurations, %zu give other bits than the default, by %.2f ulp at most, in %.3f %% of the elements; %.2f of the "
        "budget\n",
        concat_text(RMSNorm2d(problem.shape.c(), options).describe(), ' ', TensorSpec{problem.shape, t, problem.format}).c_str(), o.configs,
        o.other_bits, o.ulp, 100 * o.different, o.share);
    const bool stepwise = options.rounding != Rounding::once && t != DType::f32;
    // f32: 1/rms comes out the same but for a rare pixel; then its elements move by 2 units at most. 16 bits: one unit, which rounding
    // points pass on; and seldom.
    EXPECT_LE(o.ulp, t == DType::f32 ? 2 : stepwise ? 3 : 1) << problem.shape << ' ' << t << ' ' << problem.format;
    // A pixel of one magnitude is +-weight + bias, sums of two 16-bit numbers, many of them ties that the last bit of 1/rms decides.
    const bool ties = options.bias && options.activation == Activation::none && t != DType::f32;
    EXPECT_LE(o.different, stepwise || ties ? 0.01 : 0.002) << problem.shape << ' ' << t << ' ' << problem.format;
  };
  const Problem& problem = kProblems[GetParam()];
  constexpr DType kTypes[] = {DType::f32, DType::f16, DType::bf16};
  for (const DType t : kTypes) run(problem, t, bare(EpsMode::none));  // subnormal pixels are scaled up
  const DType first = kTypes[GetParam() % 3], second = kTypes[(GetParam() + 1) % 3], third = kTypes[(GetParam() + 2) % 3];
  run(problem, first, bare(EpsMode::add_inside));
  run(problem, second, affine());
  run(problem, first, with_silu());
  run(problem, second, with_silu_and_residual());
  run(problem, third, as_diffusers());
  run(problem, first, with_residual_after());
  run(problem, third, with_relu());
  for (std::size_t i = 0; i < 3 && test::each_kernel_once(); ++i) {
    run(problem, kTypes[i], affine());
    run(problem, kTypes[i], with_silu());
    run(problem, kTypes[i], with_silu_and_residual());
    run(problem, kTypes[i], with_residual_after());
    run(problem, kTypes[i], with_relu());
  }
}
INSTANTIATE_TEST_SUITE_P(Problems, RMSNorm2dConfigsOf, testing::Range(std::size_t{0}, std::size(kProblems)));

void as_on_an_h100(cuda::NormProblem& p) {
  p.compute_capability = 90;
  p.sm_count = 132;
  p.threads_of_sm = 2048;
  p.shared_memory = 227 << 10;
  p.shared_of_sm = 228 << 10;
}

TEST(RMSNorm2dConfigs, TheProblemsTakeEveryPath) {
  std::set<NormConfig::Path> paths;
  for (const Problem& problem : kProblems) {
    cuda::NormProblem p{DType::bf16,
                        problem.format,
                        true,
                        cuda::NormChain::bare,
                        problem.shape.n(),
                        problem.shape.c(),
                        problem.shape.h() * problem.shape.w()};
    as_on_an_h100(p);
    if (problem.misalign > 0) p.alignment = 2;
    for (const NormConfig& config : cuda::all_norm_configs(p)) paths.insert(config.path);
  }
  EXPECT_EQ(paths.size(), static_cast<std::size_t>(NormConfig::Path::strided) + 1) << "a path that no problem takes";
}

// A kernel that none of them takes is one that no test runs, or that no configuration has: compiled in every build, for nothing.
TEST(RMSNorm2dConfigs, TheProblemsTakeEveryKernel) {
  std::set<std::string> left;
  for (const std::string& name : test::registered_kernels()) {
    if (name.find("rms_norm2d_") != std::string::npos) left.insert(name);
  }
  EXPECT_GT(left.size(), 100U);
  test::DryDevice dry(test::gpus_of_every_capability()[3]);
  const auto address = [](std::uintptr_t at) { return reinterpret_cast<void*>(at << 40); };
  for (const Problem& problem : kProblems) {
    for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
      for (const RMSNorm2dOptions& o :
           {bare(EpsMode::none), affine(), with_silu(), with_silu_and_residual(), as_diffusers(), with_residual_after(), with_relu()}) {
        const TensorSpec spec{problem.shape, t, problem.format};
        const auto view = [&](std::uintptr_t at) {
          return TensorView(static_cast<char*>(address(at)) + problem.misalign * static_cast<std::int64_t>(size_of(t)), spec);
        };
        const TensorView x = view(1), y = view(2), residual = view(3);
        const cuda::NormOptions norm{
            o.eps.value_or(default_eps(o.eps_mode)), o.eps_mode, o.rounding, o.activation, Activation::none, o.residual};
        const cuda::NormCall call =
            cuda::make_norm_call(x, y, o.residual != ResidualMode::none ? &residual : nullptr, o.weight ? address(4) : nullptr,
                                 o.bias ? address(5) : nullptr, cuda::make_formula(norm, problem.shape.c(), t), problem.format, dry.info());
        for (const NormConfig& config : cuda::all_norm_configs(call.problem)) {
          cuda::launch_norm(config, t, call.args, call.strides, nullptr);
        }
        for (const test::DryLaunch& launch : dry.take_launches()) left.erase(launch.kernel);
      }
    }
  }
  for (const std::string& name : left) ADD_FAILURE() << "nothing launches " << name;
}

TEST(RMSNorm2dConfigs, CandidatesAreConfigurationsAndHaveNamesOfTheirOwn) {
  for (const Problem& problem : kProblems) {
    for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
      for (const cuda::NormChain chain : {cuda::NormChain::bare, cuda::NormChain::affine, cuda::NormChain::silu, cuda::NormChain::full}) {
        cuda::NormProblem p{t, problem.format, true, chain, problem.shape.n(), problem.shape.c(), problem.shape.h() * problem.shape.w()};
        as_on_an_h100(p);
        const std::vector<NormConfig> all = cuda::all_norm_configs(p), candidates = cuda::norm_candidates(p);
        ASSERT_FALSE(candidates.empty()) << problem.shape;
        for (const NormConfig& c : candidates) EXPECT_NE(std::find(all.begin(), all.end(), c), all.end()) << cuda::norm_config_text(c);
        std::set<std::string> names;
        for (const NormConfig& c : all) names.insert(cuda::norm_config_text(c));
        EXPECT_EQ(names.size(), all.size()) << problem.shape << ": two configurations of one name";
        EXPECT_EQ(cuda::default_norm_config(p), candidates.front());
        EXPECT_EQ(cuda::default_norm_config(p), candidates.front()) << "remembered";
      }
    }
  }
}

// What a call is launched with, without a device: formats, folding and alignment.
TEST(RMSNorm2dConfigs, ACallIsClassifiedByItsViews) {
  alignas(256) static char memory[1024];
  const cuda::DeviceInfo device{0, "none", 90, 132};
  const auto classify = [&](const TensorView& x, Format preferred) {
    return cuda::make_norm_call(x, x, nullptr, nullptr, nullptr, cuda::make_formula({}, x.shape.c(), x.dtype), preferred, device);
  };
  const auto call = [&](const Shape& shape, Format format, std::ptrdiff_t offset = 0, Format preferred = Format::nchw) {
    return classify(TensorView(memory + offset, TensorSpec{shape, DType::f16, format}), preferred);
  };
  const auto expect = [](const cuda::NormCall& c, Format format, std::int64_t images, std::int64_t pixels, int alignment) {
    EXPECT_TRUE(c.problem.contiguous);
    EXPECT_EQ(c.problem.format, format);
    EXPECT_EQ(c.problem.images, images);
    EXPECT_EQ(c.problem.pixels, pixels);
    EXPECT_EQ(c.args.images, images);
    EXPECT_EQ(c.args.pixels, pixels);
    EXPECT_EQ(c.problem.alignment, alignment);
    EXPECT_EQ(c.args.early_blocks, 4U * 132);
  };
  expect(call({2, 8, 3, 5}, Format::nchw), Format::nchw, 2, 15, 16);
  expect(call({2, 8, 3, 5}, Format::nhwc), Format::nhwc, 1, 30, 16);  // images lie behind each other
  expect(call({2, 8, 3, 5}, Format::nchw, 2), Format::nchw, 2, 15, 2);
  expect(call({2, 8, 3, 5}, Format::nchw, 24), Format::nchw, 2, 15, 8);
  for (const Format f : {Format::nchw, Format::nhwc}) {
    expect(call({2, 1, 3, 5}, f, 0, f), Format::nchw, 1, 30, 16);
    expect(call({7, 8, 1, 1}, f, 0, f), Format::nhwc, 1, 7, 16);
    expect(call({1, 8, 3, 1}, f, 0, f), f, 1, 3, 16);
  }
  TensorView ones(memory, TensorSpec{{1, 8, 1, 4}, DType::f16, Format::nchw});
  ones.strides[0] = 7, ones.strides[2] = -3;  // of extents of 1
  expect(classify(ones, Format::nhwc), Format::nchw, 1, 4, 16);

  TensorView flipped(memory + 512, TensorSpec{{1, 8, 3, 4}, DType::f16, Format::nchw});
  flipped.strides[3] = -1;
  const cuda::NormCall strided = classify(flipped, Format::nchw);
  EXPECT_FALSE(strided.problem.contiguous);
  EXPECT_EQ(strided.problem.alignment, 16);
  EXPECT_EQ(strided.strides.w[0], -1);
  EXPECT_EQ(strided.strides.h[1], 4);
  EXPECT_EQ(strided.strides.width, 4);
  for (const NormConfig& c : cuda::all_norm_configs(strided.problem)) EXPECT_EQ(c.path, NormConfig::Path::strided);
}

}  // namespace
}  // namespace frieze
#endif
