#include <frieze/layers/linear_attention2d/linear_attention2d.h>

#include <cmath>

#include <Eigen/Core>

#include <frieze/core/error.h>
#include <frieze/core/parallel.h>

namespace frieze {

LinearAttention2d::LinearAttention2d(int head_dim, double eps) : head_dim_(head_dim), eps_(eps) {
  check<OptionError>(head_dim >= 1 && head_dim <= kMaxHeadDim, "LinearAttention2d expects a head_dim from 1 to ", kMaxHeadDim, ", got ",
                     head_dim);
  check<OptionError>(std::isfinite(eps) && eps >= 0, "LinearAttention2d expects a finite eps of at least 0, got ", eps);
}

Inferred LinearAttention2d::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check_image(type_name(), in[0]);
  const Shape& x = in[0].shape;
  check<ShapeError>(x.c() % (3 * head_dim_) == 0, type_name(), " expects channels in groups of ", 3 * head_dim_, " (q, k and v of ",
                    head_dim_, " each), got ", x.c(), " (x ", x, " as [N,C,H,W])");
  return elementwise_cost(in, {x.with(1, x.c() / 3), in[0].dtype}, 4.0 * (head_dim_ + 1));
}

void LinearAttention2d::reference(const ReferenceArgs& args) const {
  using Rows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::Index d = head_dim_, tokens = args.out[0].shape.h() * args.out[0].shape.w();
  const std::vector<float> x = to_floats(args.in[0]);
  std::vector<double> y(static_cast<std::size_t>(args.out[0].shape.elements()));
  const auto relu = [](double v) { return activate(Activation::relu, v); };
  parallel_for(args.out[0].shape.elements() / (d * tokens), [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t group = first; group < last; ++group) {
      const Rows m = Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(
                         x.data() + group * 3 * d * tokens, 3 * d, tokens)
                         .cast<double>();
      const Rows q = m.topRows(d).unaryExpr(relu), k = m.middleRows(d, d).unaryExpr(relu);
      const Rows values = m.bottomRows(d) * k.transpose() * q;
      const Eigen::RowVectorXd sums = k.rowwise().sum().transpose() * q;
      Eigen::Map<Rows>(y.data() + group * d * tokens, d, tokens) = (values.array().rowwise() / (sums.array() + eps_)).matrix();
    }
  });
  from_doubles(y, args.out[0]);
}

// The weights are not negative, so the sums below the line are exact to a few units; those above cancel as the signs of v do: against
// the largest y, T values of random sign weigh sqrt(T), and so do the d products of the second sum.
ErrorBudget LinearAttention2d::budget(std::span<const TensorSpec> in) const {
  const double tokens = static_cast<double>(in[0].shape.h() * in[0].shape.w());
  return {.roundings = in[0].dtype == DType::f32 ? 4.0 : 1.01, .terms = 16 + 4 * std::sqrt(tokens) + 4 * std::sqrt(head_dim_)};
}

std::string LinearAttention2d::describe() const { return concat_text("heads of ", head_dim_, ", eps ", eps_); }

Value linear_attention2d(Operand x, int head_dim, double eps) {
  return apply_new<LinearAttention2d>("linear_attention2d", {x}, head_dim, eps);
}

}  // namespace frieze
