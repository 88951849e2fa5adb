#include <frieze/layers/reduce/reduce.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <frieze/core/error.h>
#include <frieze/layers/shared/views.h>

namespace frieze {
namespace {

double joined(Reduction f, double a, double b) {
  switch (f) {
    case Reduction::max: return a > b || std::isnan(a) ? a : b;
    case Reduction::min: return a < b || std::isnan(a) ? a : b;
    default: return a + b;
  }
}

double first(Reduction f) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  return f == Reduction::max ? -kInfinity : f == Reduction::min ? kInfinity : 0;
}

bool sums(Reduction f) { return f == Reduction::sum || f == Reduction::mean; }

}  // namespace

std::string_view name(Reduction f) {
  switch (f) {
    case Reduction::sum: return "sum";
    case Reduction::mean: return "mean";
    case Reduction::max: return "amax";
    default: return "amin";
  }
}

Reduce::Reduce(Reduction f, std::vector<int> axes, bool keep_dims) : f_(f), axes_(std::move(axes)), keep_dims_(keep_dims) {
  check<OptionError>(axes_.size() <= Shape::kMaxRank, name(f), " takes up to ", Shape::kMaxRank, " axes, got ", axes_.size());
}

std::vector<bool> Reduce::reduced(const Shape& x) const {
  std::vector<bool> over(static_cast<std::size_t>(x.rank()), axes_.empty());
  for (const int axis : axes_) {
    const auto at = static_cast<std::size_t>(checked_axis(type_name(), x, axis));
    check<OptionError>(!over[at], type_name(), " takes every axis once, got ", describe(), " for ", x);
    over[at] = true;
  }
  return over;
}

Inferred Reduce::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  const std::vector<bool> over = reduced(in[0].shape);
  std::vector<std::int64_t> extents;
  for (int axis = 0; axis < in[0].shape.rank(); ++axis) {
    if (!over[static_cast<std::size_t>(axis)]) {
      extents.push_back(in[0].shape[axis]);
    } else if (keep_dims_) {
      extents.push_back(1);
    }
  }
  const TensorSpec out{Shape(extents), in[0].dtype};
  Inferred inferred = elementwise_cost(in, out, 0);
  inferred.flops = static_cast<double>(in[0].shape.elements());
  return inferred;
}

void Reduce::reference(const ReferenceArgs& args) const {
  const Shape& shape = args.in[0].shape;
  const std::vector<bool> over = reduced(shape);
  // Of each axis, by how much the number of the output goes on.
  std::vector<std::int64_t> step(over.size(), 0);
  std::int64_t outputs = 1;
  for (std::size_t axis = over.size(); axis-- > 0;) {
    if (over[axis]) continue;
    step[axis] = outputs;
    outputs *= shape[static_cast<int>(axis)];
  }
  const std::vector<float> x = to_floats(args.in[0]);
  std::vector<double> y(static_cast<std::size_t>(outputs), first(f_));
  std::vector<std::int64_t> at(over.size(), 0);
  std::int64_t output = 0;
  for (const float v : x) {
    double& result = y[static_cast<std::size_t>(output)];
    result = joined(f_, result, static_cast<double>(v));
    for (std::size_t axis = over.size(); axis-- > 0;) {
      output += step[axis];
      if (++at[axis] < shape[static_cast<int>(axis)]) break;
      output -= step[axis] * at[axis];
      at[axis] = 0;
    }
  }
  if (f_ == Reduction::mean) {
    for (double& v : y) v /= static_cast<double>(x.size()) / static_cast<double>(outputs);
  }
  from_doubles(y, args.out[0]);
}

// A thread adds at most one number in 8 of its line to one sum, lines are split among 256 threads or more where they are long: partial sums
// of a few thousand numbers. Rounding to nearest is a random walk, of which sqrt(n) times one step is five deviations at n = 2^12.
ErrorBudget Reduce::budget(std::span<const TensorSpec> in) const {
  if (!sums(f_)) return {.roundings = 0, .terms = 0};
  double count = 1;
  const std::vector<bool> over = reduced(in[0].shape);
  for (std::size_t axis = 0; axis < over.size(); ++axis) count *= over[axis] ? static_cast<double>(in[0].shape[static_cast<int>(axis)]) : 1;
  return {.roundings = 1.01, .terms = 4 + 2 * std::sqrt(std::min(count, 4096.0))};
}

double Reduce::typical_size(std::span<const TensorView> in) const {
  if (!sums(f_)) return 0;
  double count = 1;
  const std::vector<bool> over = reduced(in[0].shape);
  for (std::size_t axis = 0; axis < over.size(); ++axis) count *= over[axis] ? static_cast<double>(in[0].shape[static_cast<int>(axis)]) : 1;
  const double sum = std::sqrt(count) * root_mean_square(to_floats(in[0]));
  return f_ == Reduction::sum ? sum : sum / count;
}

std::string Reduce::describe() const {
  std::string text;
  for (const int axis : axes_) text += concat_text(text.empty() ? "over [" : ",", axis);
  return concat_text(text.empty() ? "over all" : text + "]", keep_dims_ ? ", kept" : "");
}

Value sum(Operand x, std::vector<int> axes, bool keep_dims) { return apply_new<Reduce>("sum", {x}, Reduction::sum, axes, keep_dims); }
Value mean(Operand x, std::vector<int> axes, bool keep_dims) { return apply_new<Reduce>("mean", {x}, Reduction::mean, axes, keep_dims); }
Value amax(Operand x, std::vector<int> axes, bool keep_dims) { return apply_new<Reduce>("amax", {x}, Reduction::max, axes, keep_dims); }
Value amin(Operand x, std::vector<int> axes, bool keep_dims) { return apply_new<Reduce>("amin", {x}, Reduction::min, axes, keep_dims); }

}  // namespace frieze
