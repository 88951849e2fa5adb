#pragma once
/// What layers that normalise by mean and variance share on the CPU: the truth, its budget, checks and cost.
#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>

#include <frieze/core/error.h>
#include <frieze/core/layer.h>

namespace frieze {

/// y[i] = (x[i] - mean) / sqrt(variance + eps) over `count` values `stride` apart, the variance over count; in double, in two passes.
inline void standardise(const float* x, double* y, std::size_t count, std::size_t stride, double eps) {
  const auto n = static_cast<double>(count);
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < count; ++i) sum += static_cast<double>(x[i * stride]);
  const double mean = sum / n;
  for (std::size_t i = 0; i < count; ++i) {
    const double d = static_cast<double>(x[i * stride]) - mean;
    squares += d * d;
  }
  const double deviation = std::sqrt(squares / n + eps);
  for (std::size_t i = 0; i < count; ++i) y[i * stride] = (static_cast<double>(x[i * stride]) - mean) / deviation;
}

/// f32 terms of the kernels' error, as ErrorBudget counts them. A deviation x - mean is exact up to a rounding each of x - pivot and of the
/// mean, at the scale of the largest deviation, which is max|y|: 4 u. The mean of n values and the sum of squares are summed in parts of at
/// most 32 and merged; their errors are independent of each other, which makes sqrt(n) / 8 for n values and no less than 4 each. Root,
/// quotient, weight and bias: 4. Weights that differ from channel to channel leave max|y| below max|deviation| * max|weight|: twice all
/// that.
inline double standardise_terms(std::size_t count) { return 2 * (16 + std::sqrt(static_cast<double>(count)) / 8); }

/// How long a chain their kernels apply at the store.
inline constexpr std::size_t kMostOfNormEpilogue = 4;

/// Throws OptionError, beginning with `who`.
inline void check_eps(std::string_view who, double eps) {
  check<OptionError>(std::isfinite(eps) && eps >= 0, who, " expects a finite eps of at least 0, got ", eps);
}

/// Of one application to in[0]: x in and y out, the parameters; six operations an element.
inline Inferred normalisation_cost(const Layer& layer, std::span<const TensorSpec> in) {
  Inferred inferred = elementwise_cost(in, {in[0].shape, in[0].dtype}, 6);
  for (const Parameter* p : layer.parameters()) {
    inferred.bytes += static_cast<double>(p->shape.elements()) * static_cast<double>(size_of(in[0].dtype));
  }
  return inferred;
}

}  // namespace frieze
