// The error budget of RMSNorm2d is neither too tight for honest f32 arithmetic nor so wide that a wrong kernel would pass.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include <frieze/layers/rms_norm2d/rms_norm2d.h>
#include "layers/rms_norm2d_formula.h"
#include "support/parity.h"
#include "support/parity_grid.h"

namespace frieze {
namespace {

using test::Fill;
using Floats = std::vector<float>;

float f32_activation(Activation a, float v) {
  switch (a) {
    case Activation::relu: return v < 0 ? 0 : v;
    case Activation::silu: return v / (1 + std::exp(-v));
    case Activation::gelu: return 0.5F * v * std::erfc(-v * 0.70710678F);
    case Activation::gelu_tanh: return 0.5F * v * (1 + std::tanh(0.79788456F * (v + 0.044715F * v * v * v)));
    case Activation::sigmoid: return 1 / (1 + std::exp(-v));
    default: return v;
  }
}

// Mistakes that a kernel could make.
enum class Mistake { none, no_eps, short_inverse, rounded_sum, channel_short, weight_off_by_one };

// What a GPU kernel computes, in f32: sums of 32 lanes, added pair by pair.
struct F32Kernel {
  RMSNorm2dOptions o;
  DType t;
  Mistake mistake = Mistake::none;

  Floats operator()(const Floats& x, const Floats& weight, const Floats& bias, const Floats& residual) const {
    const std::size_t c = x.size();
    const auto to_t = [this](float v) { return round_to(t, static_cast<double>(v)); };
    const auto at_point = [&](float v) { return o.rounding == Rounding::once ? v : to_t(v); };
    Floats in = x, lanes(32, 0.0F);
    if (o.residual == ResidualMode::before) {
      for (std::size_t i = 0; i < c; ++i) in[i] = to_t(in[i] + residual[i]);
    }
    const std::size_t summed = mistake == Mistake::channel_short ? c - 1 : c;
    for (std::size_t i = 0; i < summed; ++i) lanes[i % 32] = std::fma(in[i], in[i], lanes[i % 32]);
    for (std::size_t step = 16; step > 0; step /= 2) {
      for (std::size_t i = 0; i < step; ++i) lanes[i] += lanes[i + step];
    }
    float sum = lanes[0];
    if (mistake == Mistake::rounded_sum) sum = round_to(DType::bf16, static_cast<double>(sum));
    const auto count = static_cast<float>(c),
               eps = mistake == Mistake::no_eps ? 0.0F : static_cast<float>(o.eps.value_or(default_eps(o.eps_mode)));
    float rms = 0;
    switch (o.eps_mode) {
      case EpsMode::add_inside: rms = std::sqrt(sum / count + eps); break;
      case EpsMode::clamp_norm: rms = std::max(std::sqrt(sum), eps) / std::sqrt(count); break;
      case EpsMode::clamp_mean_square: rms = std::sqrt(std::max(sum / count, eps)); break;
      case EpsMode::add_to_rms: rms = std::sqrt(sum / count) + eps; break;
      case EpsMode::none: rms = std::sqrt(sum / count); break;
    }
    float r = 1 / rms;
    if (mistake == Mistake::short_inverse) r = to_t(r);
    const float root = std::sqrt(count);
    Floats y(c);
    for (std::size_t i = 0; i < c; ++i) {
      float v = o.rounding == Rounding::wan && t != DType::f32 ? at_point(at_point(in[i] * (r / root)) * root) : at_point(in[i] * r);
      if (!weight.empty()) v = at_point(v * weight[mistake == Mistake::weight_off_by_one ? (i + 1) % c : i]);
      if (!bias.empty()) v = at_point(v + bias[i]);
      v = f32_activation(o.activation, v);
      if (o.residual == ResidualMode::after) v += residual[i];
      y[i] = to_t(v);
    }
    return y;
  }
};

struct Sizes {
  std::int64_t channels, pixels;
};

// The largest share of the budget that the kernel takes, of images whose values are `scale` times those of `fill`.
double share_of_budget(const RMSNorm2dOptions& o, DType t, Sizes size, Fill fill, Mistake mistake = Mistake::none, double scale = 1) {
  const std::int64_t channels = size.channels, pixels = size.pixels;  // clang 14 captures no structured bindings
  RMSNorm2d layer(channels, o);
  init_random(layer, 3);
  const std::size_t count = static_cast<std::size_t>(channels * pixels);
  const auto values = [&](std::uint64_t seed) {
    Floats all = test::random_values(count, seed, fill, t, channels);
    for (float& v : all) v = round_to(t, v * scale);
    return all;
  };
  const Floats x = values(1), residual = o.residual == ResidualMode::none ? Floats{} : values(2);
  const Floats weight = o.weight ? layer.weight()->rounded(t) : Floats{}, bias = o.bias ? layer.bias()->rounded(t) : Floats{};
  const F32Kernel kernel{o, t, mistake};
  Floats got, expected;  // pixel by pixel; the order does not matter
  for (std::int64_t p = 0; p < pixels; ++p) {
    const auto pixel = [&](const Floats& all) {
      Floats out;
      for (std::size_t i = static_cast<std::size_t>(p); i < all.size(); i += static_cast<std::size_t>(pixels)) out.push_back(all[i]);
      return out;
    };
    const Floats in = pixel(x), second = pixel(residual), y = kernel(in, weight, bias, second);
    got.insert(got.end(), y.begin(), y.end());
    for (const test::NormResult& truth : test::norm_pixel(o, t, in, weight, bias, second)) {
      expected.push_back(static_cast<float>(truth.y));
    }
  }
  const TensorSpec spec{{1, channels, 1, pixels}, t};
  const TensorSpec in[] = {spec, spec};
  return test::compare(got, expected, t, layer.budget(std::span(in, residual.empty() ? 1 : 2))).share;
}

RMSNorm2dOptions affine(bool weight, bool bias) {
  RMSNorm2dOptions o;
  o.weight = weight;
  o.bias = bias;
  return o;
}

using test::kTypes;

TEST(RMSNorm2dBudget, HoldsForHonestArithmetic) {
  for (const DType t : kTypes) {
    double worst = 0;
    for (const Rounding rounding : test::kRoundings) {
      for (const EpsMode mode : test::kEpsModes) {
        for (const int affine_code : {0, 1, 2, 3}) {
          for (const Activation activation : test::kActivations) {
            for (const ResidualMode residual : test::kResidualModes) {
              RMSNorm2dOptions o = affine((affine_code & 1) != 0, (affine_code & 2) != 0);
              o.rounding = rounding;
              o.eps_mode = mode;
              o.activation = activation;
              o.residual = residual;
              for (const Sizes size : {Sizes{3, 16}, Sizes{33, 4}, Sizes{512, 1}}) {
                if (size.channels > 33 && mode != EpsMode::add_inside) continue;  // the modes differ in eps alone
                for (const Fill fill : {Fill::normal, Fill::mixed, Fill::one_hot, Fill::constant}) {
                  const double share = share_of_budget(o, t, size, fill);
                  EXPECT_LE(share, 1) << RMSNorm2d(size.channels, o).describe() << ' ' << t << " fill " << static_cast<int>(fill);
                  worst = std::max(worst, share);
                }
              }
            }
          }
        }
      }
    }
    EXPECT_GT(worst, 0.2) << t << ": a budget that nothing comes near";
  }
}

// Values of rms 0.01, where eps 1e-5 makes 5 %.
TEST(RMSNorm2dBudget, FindsAForgottenEps) {
  for (const DType t : kTypes) {
    for (const Rounding rounding : test::kRoundings) {
      RMSNorm2dOptions o = affine(true, true);
      o.rounding = rounding;
      EXPECT_LE(share_of_budget(o, t, {64, 32}, Fill::normal, Mistake::none, 0.01), 1) << t << ' ' << name(rounding);
      EXPECT_GT(share_of_budget(o, t, {64, 32}, Fill::normal, Mistake::no_eps, 0.01), t == DType::bf16 ? 1.2 : 2)
          << t << ' ' << name(rounding);
    }
  }
}

TEST(RMSNorm2dBudget, FindsOtherMistakes) {
  for (const DType t : kTypes) {
    for (const Activation activation : {Activation::none, Activation::relu, Activation::silu, Activation::gelu}) {
      for (const ResidualMode residual : test::kResidualModes) {
        RMSNorm2dOptions o = affine(true, false);
        o.activation = activation;
        o.residual = residual;
        const std::string what = RMSNorm2d(64, o).describe() + ' ' + std::string(name(t));
        EXPECT_GT(share_of_budget(o, t, {64, 64}, Fill::normal, Mistake::channel_short), 2) << what;
        EXPECT_GT(share_of_budget(o, t, {64, 64}, Fill::normal, Mistake::weight_off_by_one), 2) << what;
        if (t != DType::bf16) {
          EXPECT_GT(share_of_budget(o, t, {64, 64}, Fill::normal, Mistake::rounded_sum), 1) << what;
        }
        if (t != DType::f32) {
          EXPECT_GT(share_of_budget(o, t, {64, 64}, Fill::normal, Mistake::short_inverse), 1.2) << what;
        }
      }
    }
  }
}

// Three roundings where one was asked for.
TEST(RMSNorm2dBudget, FindsRoundingsThatNobodyAskedFor) {
  for (const DType t : {DType::f16, DType::bf16}) {
    RMSNorm2dOptions once = affine(true, true), stepwise = once;
    stepwise.rounding = Rounding::diffusers;
    RMSNorm2d layer(64, once);
    init_random(layer, 3);
    const Floats weight = layer.weight()->rounded(t), bias = layer.bias()->rounded(t);
    Floats got, expected;
    for (std::uint64_t p = 0; p < 64; ++p) {
      const Floats x = test::random_values(64, p, Fill::normal, t, 64), y = F32Kernel{stepwise, t}(x, weight, bias, {});
      got.insert(got.end(), y.begin(), y.end());
      for (const test::NormResult& truth : test::norm_pixel(once, t, x, weight, bias, {})) expected.push_back(static_cast<float>(truth.y));
    }
    const TensorSpec spec{{1, 64, 8, 8}, t};
    EXPECT_GT(test::compare(got, expected, t, layer.budget({&spec, 1})).share, 1.5) << t;
  }
}

}  // namespace
}  // namespace frieze
