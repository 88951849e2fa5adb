// The reference of RMSNorm2d against its formulas, written down again in rms_norm2d_formula.h, and the layer's contract.
#include <gtest/gtest.h>

#include <unistd.h>
#include <cmath>
#include <filesystem>
#include <limits>

#include <frieze/core/error.h>
#include <frieze/core/weights.h>
#include <frieze/layers/rms_norm2d/rms_norm2d.h>
#include "layers/rms_norm2d_formula.h"
#include "support/constants.h"
#include "support/parity.h"
#include "support/parity_grid.h"
#include "support/reference.h"

namespace frieze {
namespace {

using test::Fill;
using test::inferred_shape;
using test::message_of;
using test::run_reference;
using Floats = std::vector<float>;
using test::kInf;
using test::kNaN;
using test::kTypes;

RMSNorm2dOptions bare(EpsMode mode = EpsMode::add_inside, double eps = 1e-5) {
  RMSNorm2dOptions o;
  o.eps = eps;
  o.eps_mode = mode;
  o.weight = false;
  return o;
}

// Channel `c` of pixel `p` of image `n` is at ((n * C) + c) * pixels + p.
Floats pixel(const Floats& values, std::int64_t channels, std::int64_t pixels, std::int64_t n, std::int64_t p) {
  Floats out;
  for (std::int64_t c = 0; c < channels; ++c) out.push_back(values[static_cast<std::size_t>((n * channels + c) * pixels + p)]);
  return out;
}

Floats rounded_parameter(const Parameter* p, DType t) { return p == nullptr ? Floats{} : p->rounded(t); }

// Every element must be the formula's value, rounded once.
void expect_formula(const RMSNorm2d& layer, const Shape& shape, DType t, Format format, const Floats& x, const Floats& residual) {
  const RMSNorm2dOptions& o = layer.options();
  std::vector<test::Input> inputs{{shape, x}};
  if (o.residual != ResidualMode::none) inputs.push_back({shape, residual});
  const Floats y = run_reference(layer, inputs, t, format);
  const Floats weight = rounded_parameter(layer.weight(), t), bias = rounded_parameter(layer.bias(), t);
  const std::int64_t pixels = shape.h() * shape.w();
  for (std::int64_t n = 0; n < shape.n(); ++n) {
    for (std::int64_t p = 0; p < pixels; ++p) {
      const Floats in = pixel(x, shape.c(), pixels, n, p);
      const Floats second = o.residual == ResidualMode::none ? Floats{} : pixel(residual, shape.c(), pixels, n, p);
      const Floats got = pixel(y, shape.c(), pixels, n, p);
      const std::vector<test::NormResult> expected = test::norm_pixel(o, t, in, weight, bias, second);
      for (std::size_t c = 0; c < got.size(); ++c) {
        const auto truth = static_cast<double>(expected[c].y);
        // The reference's own double arithmetic is allowed a billionth of the last place.
        ASSERT_LE(std::abs(static_cast<double>(got[c]) - truth),
                  (0.5 + 1e-9) * test::ulp_at(t, truth) + 1e-14 * static_cast<double>(expected[c].largest))
            << layer.describe() << ' ' << shape << ' ' << t << ' ' << format << ": image " << n << ", pixel " << p << ", channel " << c
            << ", expected " << truth << ", got " << got[c];
      }
    }
  }
}

Floats values_for(const Shape& shape, DType t, Fill fill, std::uint64_t seed) {
  return test::random_values(static_cast<std::size_t>(shape.elements()), seed, fill, t, shape.c());
}

class EveryOption : public testing::TestWithParam<std::tuple<EpsMode, Rounding>> {};

TEST_P(EveryOption, EqualsTheFormula) {
  const auto [mode, rounding] = GetParam();
  const Shape shapes[] = {{1, 1, 1, 1}, {2, 3, 1, 5}, {1, 33, 2, 3}};
  std::uint64_t seed = 1;
  for (const double eps : {0.0, 1e-12, 1e-5, 0.5}) {
    for (const int affine : {0, 1, 2, 3}) {
      for (const Activation activation : test::kActivations) {
        for (const ResidualMode residual : test::kResidualModes) {
          RMSNorm2dOptions o = bare(mode, eps);
          o.rounding = rounding;
          o.weight = (affine & 1) != 0;
          o.bias = (affine & 2) != 0;
          o.activation = activation;
          o.residual = residual;
          for (const Shape& shape : shapes) {
            RMSNorm2d layer(shape.c(), o);
            init_random(layer, ++seed);
            for (const DType t : kTypes) {
              for (const Fill fill : {Fill::normal, Fill::mixed}) {
                const Format format = fill == Fill::normal ? Format::nchw : Format::nhwc;
                expect_formula(layer, shape, t, format, values_for(shape, t, fill, seed), values_for(shape, t, fill, seed + 1));
              }
            }
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(RMSNorm2d, EveryOption, testing::Combine(testing::ValuesIn(test::kEpsModes), testing::ValuesIn(test::kRoundings)),
                         [](const auto& info) {
                           return std::string(name(std::get<0>(info.param))) + "_rounds_" + std::string(name(std::get<1>(info.param)));
                         });

// eps decides here: mean squares around it, in each mode's own unit.
TEST(RMSNorm2dTest, EpsActsWhereTheModePutsIt) {
  // rms 1e-2: ms 1e-4, norm 2e-2 over four channels.
  const test::Input x{{1, 4, 1, 1}, {0.01F, -0.01F, 0.01F, -0.01F}};
  const auto first = [&](EpsMode mode, double eps) { return run_reference(RMSNorm2d(4, bare(mode, eps)), {x})[0]; };
  EXPECT_NEAR(first(EpsMode::none, 1e-5), 1.0, 1e-6);
  EXPECT_NEAR(first(EpsMode::add_inside, 1e-5), 1 / std::sqrt(1.1), 1e-6);
  EXPECT_NEAR(first(EpsMode::add_inside, 3e-4), 0.5, 1e-6);
  EXPECT_NEAR(first(EpsMode::clamp_mean_square, 9e-5), 1.0, 1e-6);
  EXPECT_NEAR(first(EpsMode::clamp_mean_square, 4e-4), 0.5, 1e-6);
  EXPECT_NEAR(first(EpsMode::clamp_norm, 1.9e-2), 1.0, 1e-6);
  EXPECT_NEAR(first(EpsMode::clamp_norm, 4e-2), 0.5, 1e-6);
  EXPECT_NEAR(first(EpsMode::add_to_rms, 1e-2), 0.5, 1e-6);
}

TEST(RMSNorm2dTest, APixelOfZerosIsNormalisedToZeros) {
  for (const EpsMode mode : test::kEpsModes) {
    for (const double eps : {0.0, 1e-12, 1e-5}) {
      for (const Rounding rounding : test::kRoundings) {
        for (const DType t : kTypes) {
          RMSNorm2dOptions o = bare(mode, eps);
          o.rounding = rounding;
          EXPECT_EQ(run_reference(RMSNorm2d(3, o), {{{1, 3, 1, 1}, {0, -0.0F, 0}}}, t), (Floats{0, 0, 0}))
              << name(mode) << ' ' << eps << ' ' << t;
          o.bias = true;
          RMSNorm2d biased(3, o);
          biased.parameters()[0]->values = {1, -2, 0.5F};
          EXPECT_EQ(run_reference(biased, {{{1, 3, 1, 1}, {0, 0, 0}}}, t), (Floats{1, -2, 0.5F})) << name(mode) << ' ' << eps << ' ' << t;
        }
      }
    }
  }
}

TEST(RMSNorm2dTest, OneHotGivesTheRootOfC) {
  for (const EpsMode mode : test::kEpsModes) {
    for (const DType t : kTypes) {
      Floats x(64, 0.0F), expected(64, 0.0F);
      x[17] = -3;
      expected[17] = -8;
      EXPECT_EQ(run_reference(RMSNorm2d(64, bare(mode, mode == EpsMode::clamp_norm ? 1e-12 : 0)), {{{1, 64, 1, 1}, x}}, t), expected)
          << name(mode) << ' ' << t;
    }
  }
}

// x^2 is past the largest number of every type here, or below the smallest.
TEST(RMSNorm2dTest, SquaresNeitherOverflowNorUnderflow) {
  for (const DType t : kTypes) {
    const auto most = static_cast<float>(max_finite(t)), least = static_cast<float>(min_subnormal(t));
    EXPECT_EQ(run_reference(RMSNorm2d(2, bare()), {{{1, 2, 1, 1}, {most, -most}}}, t), (Floats{1, -1})) << t;
    EXPECT_EQ(run_reference(RMSNorm2d(2, bare(EpsMode::none)), {{{1, 2, 1, 1}, {least, -least}}}, t), (Floats{1, -1})) << t;
    EXPECT_EQ(run_reference(RMSNorm2d(4, bare(EpsMode::clamp_norm, 1e-12)), {{{1, 4, 1, 1}, {most, 0, 0, 0}}}, t), (Floats{2, 0, 0, 0}))
        << t;
  }
  EXPECT_EQ(run_reference(RMSNorm2d(1, bare()), {{{1, 1, 1, 3}, {65504, -65504, 256}}}, DType::f16), (Floats{1, -1, 1}));
}

TEST(RMSNorm2dTest, NaNAndInfinityStayInTheirPixel) {
  for (const EpsMode mode : test::kEpsModes) {
    for (const Rounding rounding : test::kRoundings) {
      for (const DType t : kTypes) {
        RMSNorm2dOptions o = bare(mode);
        o.rounding = rounding;
        // Pixels: with an infinity, with a NaN, with both, plain.
        const Floats y = run_reference(RMSNorm2d(2, o), {{{1, 2, 1, 4}, {kInf, kNaN, kNaN, 3, 5, 5, -kInf, -3}}}, t);
        EXPECT_TRUE(std::isnan(y[0])) << "infinity over infinity";
        EXPECT_EQ(y[4], 0) << "a number over infinity";
        for (const std::size_t i : {1U, 5U, 2U, 6U}) EXPECT_TRUE(std::isnan(y[i])) << i;
        EXPECT_NEAR(y[3], 1, 0.01);
        EXPECT_NEAR(y[7], -1, 0.01);
      }
    }
  }
}

TEST(RMSNorm2dTest, TheSumWithTheResidualIsRoundedBeforeItIsNormalised) {
  RMSNorm2dOptions o = bare(EpsMode::none);
  o.residual = ResidualMode::before;
  const RMSNorm2d layer(1, o);
  // 2048 + 1 is 2048 in f16; past 65504 the sum is infinite, and infinity over infinity is NaN.
  EXPECT_EQ(run_reference(layer, {{{1, 1, 1, 1}, {-2048}}, {{1, 1, 1, 1}, {1}}}, DType::f16), Floats{-1});
  EXPECT_TRUE(std::isnan(run_reference(layer, {{{1, 1, 1, 1}, {65504}}, {{1, 1, 1, 1}, {65504}}}, DType::f16)[0]));
  EXPECT_EQ(run_reference(layer, {{{1, 1, 1, 1}, {65504}}, {{1, 1, 1, 1}, {65504}}}, DType::bf16), Floats{1});
}

TEST(RMSNorm2dTest, StepwiseRoundingDiffersFromOneRounding) {
  const Shape shape{1, 33, 8, 8};
  const Floats x = values_for(shape, DType::bf16, Fill::normal, 3);
  const auto result = [&](Rounding rounding, DType t) {
    RMSNorm2dOptions o;
    o.rounding = rounding;
    o.bias = true;
    RMSNorm2d layer(33, o);
    init_random(layer, 4);
    return run_reference(layer, {{shape, x}}, t);
  };
  EXPECT_EQ(result(Rounding::once, DType::f32), result(Rounding::wan, DType::f32)) << "no rounding points in f32";
  EXPECT_EQ(result(Rounding::once, DType::f32), result(Rounding::diffusers, DType::f32));
  for (const DType t : {DType::f16, DType::bf16}) {
    EXPECT_NE(result(Rounding::once, t), result(Rounding::diffusers, t)) << t;
    EXPECT_NE(result(Rounding::once, t), result(Rounding::wan, t)) << t;
    EXPECT_NE(result(Rounding::diffusers, t), result(Rounding::wan, t)) << t;
  }
}

TEST(RMSNorm2dTest, WritesInPlaceAndAnyStrides) {
  const Shape shape{1, 3, 2, 2};
  const Floats x{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  const RMSNorm2d layer(3, bare());
  const Floats expected = run_reference(layer, {{shape, x}});
  HostTensor t({shape, DType::f32}, x);
  TensorView view = t.view();
  layer.reference({{&view, 1}, {&view, 1}, DType::f32});
  EXPECT_EQ(t.floats(), expected) << "in place";
  // Every other element of a buffer, pixels right to left.
  Floats buffer(24, kNaN);
  Strides strides{};
  strides = {24, 8, 4, -2};
  const TensorView strided(buffer.data() + 2, shape, DType::f32, strides);
  from_floats(x, strided);
  layer.reference({{&strided, 1}, {&strided, 1}, DType::f32});
  EXPECT_EQ(to_floats(strided), expected);
}

TEST(RMSNorm2dTest, RefusesWhileTracing) {
  RMSNorm2dOptions o;
  o.residual = ResidualMode::before;
  const RMSNorm2d plain(4), with_residual(4, o);
  EXPECT_EQ(message_of<ShapeError>([&] {
              inferred_shape(plain, {{1, 3, 8, 8}});
            }),
            "RMSNorm2d expects 4 channels, got 3 (x [1,3,8,8] as [N,C,H,W])");
  EXPECT_THROW(inferred_shape(plain, {{4, 8, 8}}), ShapeError);
  EXPECT_THROW(inferred_shape(plain, {{1, 4, 8, 8, 1}}), ShapeError);
  EXPECT_THROW(inferred_shape(plain, {{0, 4, 8, 8}}), ShapeError);
  EXPECT_THROW(inferred_shape(plain, {{1, 4, 0, 8}}), ShapeError);
  EXPECT_THROW(inferred_shape(plain, {{1, 4, 8, 8}, {1, 4, 8, 8}}), ShapeError);
  EXPECT_THROW(inferred_shape(plain, {}), ShapeError);
  EXPECT_THROW(inferred_shape(with_residual, {{1, 4, 8, 8}}), ShapeError);
  EXPECT_EQ(message_of<ShapeError>([&] {
              inferred_shape(with_residual, {{1, 4, 8, 8}, {1, 4, 8, 1}});
            }),
            "RMSNorm2d expects a residual of x's shape, got x [1,4,8,8] and residual [1,4,8,1] as [N,C,H,W]");
  const TensorSpec mixed[] = {{{1, 4, 8, 8}, DType::f16}, {{1, 4, 8, 8}, DType::f32}};
  EXPECT_THROW(with_residual.infer(mixed), DTypeError);
  EXPECT_EQ(inferred_shape(with_residual, {{2, 4, 3, 5}, {2, 4, 3, 5}}), (Shape{2, 4, 3, 5}));
}

TEST(RMSNorm2dTest, RefusesOptionsThatMeanNothing) {
  for (const std::int64_t channels : {0, -1}) EXPECT_THROW(RMSNorm2d{channels}, OptionError) << channels;
  for (const double eps : {-1e-5, -std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity(),
                           std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THROW(RMSNorm2d(4, bare(EpsMode::add_inside, eps)), OptionError) << eps;
  }
  EXPECT_NO_THROW(RMSNorm2d(4, bare(EpsMode::add_inside, 0)));
  EXPECT_EQ(message_of<OptionError>([] { parse_eps_mode("outside"); }),
            "unknown eps_mode 'outside': expected one of add_inside, clamp_norm, clamp_mean_square, add_to_rms, none");
  EXPECT_EQ(message_of<OptionError>([] { parse_rounding("twice"); }), "unknown rounding 'twice': expected one of once, diffusers, wan");
  EXPECT_EQ(message_of<OptionError>([] { parse_residual_mode(""); }), "unknown residual '': expected one of none, before, after");
  for (const EpsMode mode : test::kEpsModes) EXPECT_EQ(parse_eps_mode(name(mode)), mode);
  for (const Rounding rounding : test::kRoundings) EXPECT_EQ(parse_rounding(name(rounding)), rounding);
  for (const ResidualMode mode : test::kResidualModes) EXPECT_EQ(parse_residual_mode(name(mode)), mode);
}

TEST(RMSNorm2dTest, CostIsWhatMustMove) {
  RMSNorm2dOptions o;
  o.residual = ResidualMode::after;
  const TensorSpec x{{2, 4, 3, 5}, DType::bf16};
  const TensorSpec pair[] = {x, x};
  EXPECT_EQ(RMSNorm2d(4, bare()).infer({&x, 1}).bytes, 2 * 120 * 2);
  EXPECT_EQ(RMSNorm2d(4, o).infer(pair).bytes, 3 * 120 * 2 + 4 * 2) << "with a residual and a weight";
}

class Checkpoint : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directory(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // The weight and bias that load() finds in a file of these tensors, each filled with 1, 2, 3, …
  std::pair<Floats, Floats> loaded(const std::vector<std::pair<std::string, Shape>>& tensors, std::int64_t channels, bool bias) {
    std::map<std::string, HostTensor> owned;
    for (const auto& [key, shape] : tensors) {
      Floats values = test::iota(static_cast<std::size_t>(shape.elements()));
      if (key == "bias" || key == "beta") {
        for (float& v : values) v = -v;
      }
      owned.emplace(key, HostTensor({shape, DType::f32}, values));
    }
    save_safetensors(folder_ / "w.safetensors", owned);
    RMSNorm2dOptions o;
    o.bias = bias;
    RMSNorm2d layer(channels, o);
    load(layer, Weights::open(folder_ / "w.safetensors"));
    return {layer.weight()->values, bias ? layer.bias()->values : Floats{}};
  }

 private:
  std::filesystem::path folder_ = std::filesystem::temp_directory_path() / ("frieze_norm_" + std::to_string(::getpid()));
};

TEST_F(Checkpoint, TakesEveryShapeAndNameThatShips) {
  const Floats up{0, 1, 2, 3}, down{0, -1, -2, -3};
  for (const Shape& shape : {Shape{4}, Shape{4, 1, 1}, Shape{1, 4, 1, 1}, Shape{4, 1, 1, 1}}) {
    for (const char* weight : {"weight", "gamma", "g"}) {
      EXPECT_EQ(loaded({{weight, shape}}, 4, false).first, up) << weight << ' ' << shape;
      for (const char* bias : {"bias", "beta"}) {
        EXPECT_EQ(loaded({{weight, shape}, {bias, shape}}, 4, true), std::pair(up, down)) << weight << ' ' << bias << ' ' << shape;
      }
    }
  }
  EXPECT_EQ(loaded({{"gamma", {1, 1, 1}}}, 1, false).first, Floats{0});
}

TEST_F(Checkpoint, RefusesTheRest) {
  EXPECT_THROW(loaded({{"weight", {5}}}, 4, false), WeightsError);
  EXPECT_THROW(loaded({{"weight", {2, 2}}}, 4, false), WeightsError) << "four numbers, but not one per channel";
  EXPECT_THROW(loaded({{"gamma", {4, 4, 1}}}, 4, false), WeightsError);
  EXPECT_THROW(loaded({{"scale", {4}}}, 4, false), WeightsError);
  EXPECT_THROW(loaded({{"weight", {4}}, {"gamma", {4}}}, 4, false), WeightsError) << "which of the two?";
  EXPECT_THROW(loaded({{"weight", {4}}, {"bias", {4}}}, 4, false), WeightsError) << "a bias that nothing would use";
  EXPECT_THROW(loaded({{"weight", {4}}}, 4, true), WeightsError) << "a bias that is missing";
}

// A?R?A? as a regular expression would say it.
bool one_pass(const std::string& steps) {
  std::size_t at = 0;
  for (const char step : {'A', 'R', 'A'}) at += at < steps.size() && steps[at] == step ? 1 : 0;
  return at == steps.size();
}

// All chains of up to three operations: the longest front that is an activation, an addition and an activation, each optional,
// behind what the options already do, with one residual in all.
TEST(RMSNorm2dTest, AbsorbsWhatOnePassCanCompute) {
  const EpilogueOp kinds[] = {{EpilogueOp::Kind::activation, Activation::silu}, {EpilogueOp::Kind::add, {}}, {EpilogueOp::Kind::mul, {}}};
  int longest_seen = 0;
  for (const Activation activation : {Activation::none, Activation::relu}) {
    for (const ResidualMode residual : test::kResidualModes) {
      RMSNorm2dOptions o;
      o.activation = activation;
      o.residual = residual;
      const RMSNorm2d layer(4, o);
      const std::string start = std::string(activation == Activation::none ? "" : "A") + (residual == ResidualMode::after ? "R" : "");
      for (int code = 0; code < 4 * 4 * 4; ++code) {  // in base 4, the digit 3 ends the chain
        std::vector<EpilogueOp> chain;
        for (int rest = code; chain.size() < 3 && rest % 4 != 3; rest /= 4) chain.push_back(kinds[rest % 4]);
        std::size_t expected = 0;
        std::string done = start;
        for (const EpilogueOp& op : chain) {
          done += op.kind == EpilogueOp::Kind::activation ? 'A' : op.kind == EpilogueOp::Kind::add ? 'R' : 'M';
          const bool second_residual = residual == ResidualMode::before && done.find('R') != std::string::npos;
          if (!one_pass(done) || second_residual) break;
          ++expected;
        }
        const TensorSpec x{{1, 4, 2, 2}, DType::f32};
        const TensorSpec in[] = {x, x};
        EXPECT_EQ(layer.absorbs(std::span(in, residual == ResidualMode::none ? 1 : 2), chain), expected)
            << layer.describe() << ", chain " << done;
        longest_seen = std::max(longest_seen, static_cast<int>(expected));
      }
    }
  }
  EXPECT_EQ(longest_seen, 3);
}

TEST(RMSNorm2dTest, DescribesItsOptions) {
  RMSNorm2dOptions o = bare(EpsMode::clamp_norm, 1e-12);
  EXPECT_EQ(RMSNorm2d(8, o).describe(), "8 channels, eps 1e-12 clamp_norm");
  o.bias = o.weight = true;
  o.rounding = Rounding::wan;
  o.activation = Activation::silu;
  o.residual = ResidualMode::after;
  EXPECT_EQ(RMSNorm2d(8, o).describe(), "8 channels, eps 1e-12 clamp_norm, weight, bias, rounds as wan, silu, residual after");
  EXPECT_EQ(RMSNorm2d(8, bare(EpsMode::none)).describe(), "8 channels, no eps");
}

}  // namespace
}  // namespace frieze
