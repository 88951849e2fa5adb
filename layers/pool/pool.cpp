#include <frieze/layers/pool/pool.h>

#include <cmath>

namespace frieze {

Inferred GlobalAvgPool::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check_image(type_name(), in[0]);
  const Shape& x = in[0].shape;
  const Shape out = keep_dims_ ? Shape{x.n(), x.c(), 1, 1} : Shape{x.n(), x.c()};
  Inferred inferred = elementwise_cost(in, {out, in[0].dtype}, 1);
  inferred.flops = static_cast<double>(x.elements());
  return inferred;
}

void GlobalAvgPool::reference(const ReferenceArgs& args) const {
  const Shape& shape = args.in[0].shape;
  const std::vector<float> x = to_floats(args.in[0]);
  const std::size_t pixels = static_cast<std::size_t>(shape.h() * shape.w());
  std::vector<double> y(static_cast<std::size_t>(shape.n() * shape.c()));
  for (std::size_t row = 0; row < y.size(); ++row) {
    double sum = 0;
    for (std::size_t p = 0; p < pixels; ++p) sum += x[row * pixels + p];
    y[row] = sum / static_cast<double>(pixels);
  }
  from_doubles(y, args.out[0]);
}

// The errors of n additions are relative to the partial sums. For values of mixed sign these grow like sqrt(n), and so does the
// sum itself; the errors, independent of each other, add up to less than sqrt(n) * u of it even in one long chain, and the
// kernels' chains are far shorter. 4: the chain's own first steps, the division and the reference's rounding.
ErrorBudget GlobalAvgPool::budget(std::span<const TensorSpec> in) const {
  const Shape& x = in[0].shape;
  return {.roundings = 1, .terms = 4 + std::sqrt(static_cast<double>(x.h()) * static_cast<double>(x.w()))};
}

double GlobalAvgPool::typical_size(std::span<const TensorView> in) const {
  const Shape& x = in[0].shape;
  return root_mean_square(to_floats(in[0])) / std::sqrt(static_cast<double>(x.h()) * static_cast<double>(x.w()));
}

std::string GlobalAvgPool::describe() const { return keep_dims_ ? "keep dims" : ""; }

Value global_avg_pool(Operand x, bool keep_dims) { return apply_new<GlobalAvgPool>("global_avg_pool", {x}, keep_dims); }

}  // namespace frieze
