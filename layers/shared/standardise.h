#pragma once
/// The truth of layers that normalise by mean and variance.
#include <cmath>
#include <cstddef>
#include <span>

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

}  // namespace frieze
