#include <algorithm>
#include <cmath>
#include <limits>

#include <frieze/core/error.h>
#include <frieze/graph/verify.h>

namespace frieze {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Distance between neighbours of T at |v|; subnormals all lie min_subnormal apart.
double spacing(DType t, double v) {
  if (v == 0) return min_subnormal(t);
  return std::max(std::ldexp(2 * unit_roundoff(t), std::ilogb(v)), min_subnormal(t));
}

// |got - ref|, where equal non-finite values are no difference and all other non-finite ones an infinite difference.
double distance(float got, float ref, DType t, double allowed) {
  if (std::isnan(got) || std::isnan(ref)) return std::isnan(got) && std::isnan(ref) ? 0 : kInfinity;
  if (got == ref) return 0;
  if (std::isinf(got) && std::isfinite(ref)) {
    if (!std::isfinite(allowed)) return kInfinity;
    // The reference comes unrounded: past the largest number of T, infinity is the right answer.
    const double farthest = static_cast<double>(ref) + std::copysign(allowed, static_cast<double>(got));
    return round_to(t, farthest) == got ? 0 : kInfinity;
  }
  const double d = std::abs(static_cast<double>(got) - static_cast<double>(ref));
  return std::isnan(d) ? kInfinity : d;
}

// What an error keeps once the store is taken out, which moves a value by half a unit at most; and what it may keep. The
// reference was rounded to f32 itself.
double excess_share(double d, double got, double size, DType t, const ErrorBudget& budget, double allowed) {
  if (budget.roundings < 1 || !std::isfinite(d)) return d / allowed;
  const double own = d - spacing(t, std::abs(got)) / 2;
  if (own <= 0) return 0;
  return own / (allowed - unit_roundoff(t) * size + unit_roundoff(DType::f32) * size);
}

double ratio(double part, double whole) { return part == 0 ? 0 : part / whole; }

double lipschitz(const EpilogueOp& op) {
  if (op.kind != EpilogueOp::Kind::activation) return 1;  // mul: the operand's size is in the scale, see reference_step
  switch (op.activation) {
    case Activation::silu: return 1.0999;
    case Activation::gelu: return 1.1290;
    case Activation::gelu_tanh: return 1.1290;
    case Activation::sigmoid: return 0.25;
    case Activation::mish: return 1.0885;
    case Activation::hardswish: return 1.5;
    case Activation::leaky_relu:
    case Activation::elu: return std::max(1.0, std::abs(static_cast<double>(op.parameter)));
    default: return 1;
  }
}

}  // namespace

Difference difference(std::span<const float> got, std::span<const float> ref, DType dtype, const ErrorBudget& budget, double scale) {
  check<ShapeError>(got.size() == ref.size(), "comparing ", got.size(), " values with ", ref.size(), " of the reference");
  double largest = 0, energy = 0, error_energy = 0;
  for (const float r : ref) {
    if (!std::isfinite(r)) continue;
    largest = std::max(largest, std::abs(static_cast<double>(r)));
    energy += static_cast<double>(r) * static_cast<double>(r);
  }
  // Among the smallest numbers every f32 operation is off by up to half a step, whatever the size.
  const double each = unit_roundoff(DType::f32) * std::max(largest, scale) + min_subnormal(DType::f32);
  const double anywhere = budget.terms * each + min_subnormal(dtype);
  Difference found;
  found.budget = budget.roundings * unit_roundoff(dtype) * largest + anywhere;
  for (std::size_t i = 0; i < ref.size(); ++i) {
    const double size = std::isfinite(ref[i]) ? std::abs(static_cast<double>(ref[i])) : 0;
    const double allowed = budget.roundings * unit_roundoff(dtype) * size + anywhere;
    const double d = distance(got[i], ref[i], dtype, allowed);
    if (d == 0) continue;
    found.max_abs = std::max(found.max_abs, d);
    found.max_ulp = std::max(found.max_ulp, d / spacing(dtype, size));
    error_energy += d * d;
    const double excess = excess_share(d, static_cast<double>(got[i]), size, dtype, budget, allowed);
    found.excess = std::isnan(excess) ? kInfinity : std::max(found.excess, excess);
    // A budget that is NaN, or an infinite difference within an infinite budget, excuses nothing.
    const double share = std::isnan(d / allowed) ? kInfinity : d / allowed;
    if (share > found.share) {
      found.share = share;
      found.budget = allowed;
      found.worst_index = static_cast<std::int64_t>(i);
    }
  }
  found.max_rel = ratio(found.max_abs, largest);
  found.nmse = ratio(error_energy, energy);
  return found;
}

Difference difference(std::span<const std::int64_t> got, std::span<const std::int64_t> ref) {
  check<ShapeError>(got.size() == ref.size(), "comparing ", got.size(), " values with ", ref.size(), " of the reference");
  double largest = 0, energy = 0, error_energy = 0;
  Difference found;
  for (std::size_t i = 0; i < ref.size(); ++i) {
    const double r = static_cast<double>(ref[i]);
    largest = std::max(largest, std::abs(r));
    energy += r * r;
    if (got[i] == ref[i]) continue;
    const double d = std::max(1.0, std::abs(static_cast<double>(got[i]) - r));  // of large neighbours the doubles may be equal
    if (found.max_abs == 0) found.worst_index = static_cast<std::int64_t>(i);
    found.max_abs = found.max_ulp = std::max(found.max_abs, d);
    found.share = found.excess = kInfinity;
    error_energy += d * d;
  }
  found.max_rel = ratio(found.max_abs, largest);
  found.nmse = ratio(error_energy, energy);
  return found;
}

ErrorBudget widened_for_tf32(ErrorBudget budget) {
  budget.terms *= 0x1p13;
  return budget;
}

ErrorBudget step_budget(const Plan& plan, const Step& step) {
  std::vector<TensorSpec> in;
  for (std::size_t i = 0; i < step.layer_inputs(); ++i) in.push_back(plan.spec(step.inputs[i]));
  ErrorBudget budget = step.layer->budget(in);
  if (step.epilogue.empty()) return budget;

  // The layer's last rounding moves to the end of the chain. What it rounds to T before that, if anything, passes through
  // the chain like every other error, so it is counted in f32 terms of the chain's scale.
  const TensorSpec& out = plan.spec(step.outputs.front());
  const TensorSpec between{out.shape, DType::f32, out.format};
  const TensorSpec pair[] = {between, between};
  budget.terms += std::max(0.0, budget.roundings - 1) * unit_roundoff(out.dtype) / unit_roundoff(DType::f32);
  budget.roundings = std::min(budget.roundings, 1.0);
  for (const FusedOp& fused : step.epilogue) {
    const bool unary = fused.op.kind == EpilogueOp::Kind::activation;
    const ErrorBudget own = fused.layer->budget(std::span(pair, unary ? 1 : 2));
    constexpr double kBetween = 1;  // the reference's own rounding of the value in between to f32
    budget.terms = lipschitz(fused.op) * (budget.terms + kBetween) + own.roundings + own.terms;
    budget.roundings = std::max(budget.roundings, std::min(own.roundings, 1.0));
  }
  return budget;
}

}  // namespace frieze
