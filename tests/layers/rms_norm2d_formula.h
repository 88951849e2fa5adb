#pragma once
/// RMSNorm2d of one pixel in long double, written down step by step from the formulas that the code bases have: a second
/// opinion on the reference, and the truth for tensors that are too large for it.
#include <cmath>
#include <span>
#include <vector>

#include <frieze/layers/rms_norm2d/rms_norm2d.h>

namespace frieze::test {

inline constexpr EpsMode kEpsModes[] = {EpsMode::add_inside, EpsMode::clamp_norm, EpsMode::clamp_mean_square, EpsMode::add_to_rms,
                                        EpsMode::none};
inline constexpr Rounding kRoundings[] = {Rounding::once, Rounding::diffusers, Rounding::wan};
inline constexpr Activation kActivations[] = {Activation::none, Activation::relu,      Activation::silu,
                                              Activation::gelu, Activation::gelu_tanh, Activation::sigmoid};
inline constexpr ResidualMode kResidualModes[] = {ResidualMode::none, ResidualMode::before, ResidualMode::after};

inline long double apply_activation(Activation a, long double v) {
  const long double root_of_two = std::sqrt(2.0L), pi = std::acos(-1.0L);
  switch (a) {
    case Activation::none: return v;
    case Activation::relu: return std::isnan(v) || v > 0 ? v : 0.0L;
    case Activation::silu: return v / (1 + std::exp(-v));
    case Activation::gelu: return v * 0.5L * std::erfc(-v / root_of_two);
    case Activation::gelu_tanh: return 0.5L * v * (1 + std::tanh(std::sqrt(2 / pi) * (v + 0.044715L * v * v * v)));
    case Activation::sigmoid: return 1 / (1 + std::exp(-v));
    default: break;  // not among kActivations
  }
  return v;
}

/// One result, not yet rounded for the store, and the largest of the summands that it is the sum of: what errors are measured at.
struct NormResult {
  long double y = 0, largest = 0;
};

/// The channels `x` of one pixel; weight, bias and residual are empty where there are none.
inline std::vector<NormResult> norm_pixel(const RMSNorm2dOptions& o, DType t, std::span<const float> x, std::span<const float> weight,
                                          std::span<const float> bias, std::span<const float> residual) {
  const auto c = static_cast<long double>(x.size());
  const auto rounded = [t](long double v) { return static_cast<long double>(round_to(t, static_cast<double>(v))); };
  const auto at_point = [&](long double v) { return o.rounding == Rounding::once || t == DType::f32 ? v : rounded(v); };
  std::vector<long double> in(x.begin(), x.end());
  if (o.residual == ResidualMode::before) {
    for (std::size_t i = 0; i < in.size(); ++i) in[i] = rounded(in[i] + static_cast<long double>(residual[i]));
  }
  long double sum = 0;
  for (const long double v : in) sum += v * v;
  const long double eps = o.eps.value_or(default_eps(o.eps_mode)), norm = std::sqrt(sum);
  std::vector<NormResult> out(in.size());
  for (std::size_t i = 0; i < in.size(); ++i) {
    long double v = 0;
    switch (o.eps_mode) {
      case EpsMode::add_inside: v = in[i] / std::sqrt(sum / c + eps); break;
      case EpsMode::clamp_norm: v = in[i] / (norm < eps ? eps : norm) * std::sqrt(c); break;
      case EpsMode::clamp_mean_square: v = in[i] / std::sqrt(sum / c < eps ? eps : sum / c); break;
      case EpsMode::add_to_rms: v = in[i] / (std::sqrt(sum / c) + eps); break;
      case EpsMode::none: v = in[i] / std::sqrt(sum / c); break;
    }
    if (sum == 0) v = 0;
    if (o.rounding == Rounding::wan && t != DType::f32) {
      v = at_point(at_point(v / std::sqrt(c)) * static_cast<float>(std::sqrt(static_cast<double>(c))));
    } else {
      v = at_point(v);
    }
    if (!weight.empty()) v = at_point(v * static_cast<long double>(weight[i]));
    long double largest = std::abs(v);
    if (!bias.empty()) {
      v = at_point(v + static_cast<long double>(bias[i]));
      largest = std::max(largest, std::abs(static_cast<long double>(bias[i])));
    }
    v = apply_activation(o.activation, v);
    if (o.residual == ResidualMode::after) {
      v += static_cast<long double>(residual[i]);
      largest = std::max(largest, std::abs(static_cast<long double>(residual[i])));
    }
    out[i] = {v, std::max(largest, std::abs(v))};
  }
  return out;
}

/// Distance between neighbouring numbers of T at |v|.
inline double ulp_at(DType t, double v) {
  const double step = v == 0 ? 0 : std::ldexp(2 * unit_roundoff(t), std::ilogb(v));
  return std::max(step, min_subnormal(t));
}

}  // namespace frieze::test
