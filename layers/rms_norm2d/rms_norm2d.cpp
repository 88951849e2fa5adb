#include <frieze/layers/rms_norm2d/rms_norm2d.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include <Eigen/Core>

#include <frieze/core/error.h>
#include <frieze/layers/rms_norm2d/cpu/inverse_rms.h>

namespace frieze {
namespace {

template <class E>
using Names = std::initializer_list<std::pair<E, std::string_view>>;
const Names<EpsMode> kEpsModes = {{EpsMode::add_inside, "add_inside"},
                                  {EpsMode::clamp_norm, "clamp_norm"},
                                  {EpsMode::clamp_mean_square, "clamp_mean_square"},
                                  {EpsMode::add_to_rms, "add_to_rms"},
                                  {EpsMode::none, "none"}};
const Names<Rounding> kRoundings = {{Rounding::once, "once"}, {Rounding::diffusers, "diffusers"}, {Rounding::wan, "wan"}};
const Names<ResidualMode> kResidualModes = {{ResidualMode::none, "none"}, {ResidualMode::before, "before"}, {ResidualMode::after, "after"}};

template <class E>
std::string_view find_name(const Names<E>& names, E value) {
  for (const auto& [known, text] : names) {
    if (known == value) return text;
  }
  return "?";
}

template <class E>
E parse(const Names<E>& names, const char* what, std::string_view text) {
  std::string expected;
  for (const auto& [value, known] : names) {
    if (known == text) return value;
    expected += (expected.empty() ? "" : ", ") + std::string(known);
  }
  throw OptionError(concat_text("unknown ", what, " '", text, "': expected one of ", expected));
}

}  // namespace

std::string_view name(EpsMode mode) { return find_name(kEpsModes, mode); }
EpsMode parse_eps_mode(std::string_view text) { return parse(kEpsModes, "eps_mode", text); }
double default_eps(EpsMode mode) { return mode == EpsMode::clamp_norm ? 1e-12 : 1e-5; }
std::string_view name(Rounding rounding) { return find_name(kRoundings, rounding); }
Rounding parse_rounding(std::string_view text) { return parse(kRoundings, "rounding", text); }
std::string_view name(ResidualMode mode) { return find_name(kResidualModes, mode); }
ResidualMode parse_residual_mode(std::string_view text) { return parse(kResidualModes, "residual", text); }

RMSNorm2d::RMSNorm2d(std::int64_t channels, RMSNorm2dOptions options) : channels_(channels), options_(options) {
  check<OptionError>(channels >= 1, "RMSNorm2d expects at least 1 channel, got ", channels);
  const double eps = options.eps.value_or(default_eps(options.eps_mode));
  options_.eps = eps;
  check<OptionError>(std::isfinite(eps) && eps >= 0, "RMSNorm2d expects a finite eps of at least 0, got ", eps);
  check<OptionError>(!has_parameter(options.activation), "RMSNorm2d expects an activation without a parameter, got ",
                     name(options.activation));
  if (options_.weight) {
    add_parameter(weight_, "weight", Shape{channels}, Init::around(1, 0.1));
    weight_.aliases = {"gamma", "g"};
    weight_.squeeze = true;
  }
  if (options_.bias) {
    add_parameter(bias_, "bias", Shape{channels}, Init::around(0, 0.1));
    bias_.aliases = {"beta"};
    bias_.squeeze = true;
  }
}

Inferred RMSNorm2d::infer(std::span<const TensorSpec> in) const {
  const bool residual = options_.residual != ResidualMode::none;
  check_inputs(type_name(), in, residual ? 2 : 1);
  const TensorSpec& x = in[0];
  check_image(type_name(), x);
  check<ShapeError>(x.shape.c() == channels_, type_name(), " expects ", channels_, " channels, got ", x.shape.c(), " (x ", x.shape,
                    " as [N,C,H,W])");
  if (residual) {
    check<ShapeError>(in[1].shape == x.shape, type_name(), " expects a residual of x's shape, got x ", x.shape, " and residual ",
                      in[1].shape, " as [N,C,H,W]");
  }
  Inferred inferred = elementwise_cost(in, {x.shape, x.dtype}, options_.weight ? 4 : 3);
  for (const Parameter* p : parameters())
    inferred.bytes += static_cast<double>(p->shape.elements()) * static_cast<double>(size_of(x.dtype));
  return inferred;
}

void RMSNorm2d::reference(const ReferenceArgs& args) const {
  const TensorView& view = args.in[0];
  const DType run = args.run_dtype;
  const bool rounds = run != DType::f32;
  const auto round = [run](double v) { return static_cast<double>(round_to(run, v)); };
  const Eigen::Index n = view.shape.n(), c = channels_, pixels = view.shape.h() * view.shape.w();

  using Plane = Eigen::Array<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;  // [C, H*W] of one image
  Eigen::VectorXd weight = Eigen::VectorXd::Ones(c), bias = Eigen::VectorXd::Zero(c);
  const auto fill = [&](const Parameter& p, Eigen::VectorXd& to) {
    const std::vector<float> values = p.rounded(run);
    to = Eigen::Map<const Eigen::VectorXf>(values.data(), c).cast<double>();
  };
  if (options_.weight) fill(weight_, weight);
  if (options_.bias) fill(bias_, bias);

  const std::vector<float> x = to_floats(view);
  const std::vector<float> residual = options_.residual != ResidualMode::none ? to_floats(args.in[1]) : std::vector<float>();
  std::vector<double> y(x.size());
  const auto image = [&](const std::vector<float>& from, Eigen::Index i) {
    return Eigen::Map<const Eigen::Array<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(from.data() + i * c * pixels, c, pixels)
        .cast<double>();
  };
  for (Eigen::Index i = 0; i < n; ++i) {
    Plane t = image(x, i);
    if (options_.residual == ResidualMode::before) t = (t + image(residual, i)).unaryExpr(round);
    const Eigen::ArrayXd r = t.square().colwise().sum().transpose().unaryExpr(
        [&](double sum) { return inverse_rms(options_.eps_mode, *options_.eps, sum, static_cast<double>(c)); });
    const bool wan = rounds && options_.rounding == Rounding::wan;
    const bool stepwise = rounds && options_.rounding != Rounding::once;
    const double root = std::sqrt(static_cast<double>(c));
    for (Eigen::Index ch = 0; ch < c; ++ch) {
      auto row = t.row(ch);
      if (wan) {  // the factor sqrt(C) is applied by itself, as an f32 number
        row = ((row * r.transpose() / root).unaryExpr(round) * static_cast<double>(static_cast<float>(root))).unaryExpr(round).eval();
      } else {
        row *= r.transpose();
        if (stepwise) row = row.unaryExpr(round).eval();
      }
      if (options_.weight) row *= weight[ch];
      if (options_.weight && stepwise) row = row.unaryExpr(round).eval();
      if (options_.bias) row += bias[ch];
      if (options_.bias && stepwise) row = row.unaryExpr(round).eval();
    }
    if (options_.activation != Activation::none) {
      t = t.unaryExpr([this](double v) { return activate(options_.activation, v); }).eval();
    }
    if (options_.residual == ResidualMode::after) t += image(residual, i);
    Eigen::Map<Plane>(y.data() + i * c * pixels, c, pixels) = t;
  }
  from_doubles(y, args.out[0]);
}

std::size_t RMSNorm2d::absorbs(std::span<const TensorSpec>, std::span<const EpilogueOp> chain) const {
  // The kernel's store computes second(first(t) + residual); what the options take is not free for the chain.
  bool first_free = options_.activation == Activation::none && options_.residual != ResidualMode::after;
  bool second_free = true;
  bool add_free = options_.residual == ResidualMode::none;
  std::size_t taken = 0;
  for (const EpilogueOp& op : chain) {
    if (has_parameter(op.activation)) break;  // the kernels' arguments hold none
    if (op.kind == EpilogueOp::Kind::activation && first_free) {
      first_free = false;
    } else if (op.kind == EpilogueOp::Kind::activation && second_free) {
      second_free = add_free = false;
    } else if (op.kind == EpilogueOp::Kind::add && add_free) {
      first_free = add_free = false;
    } else {
      break;
    }
    ++taken;
  }
  return taken;
}

// f32: half the error of the sum, of the mean and of + eps, then one rounding each of r and of x*r, which makes 4 u; one more of *weight.
// Measured over ten seeds, right kernels take 0.56 of that: one u more leaves them under a half.
// Additions round at the scale of their summands. An activation passes on an error of t as |t * f'(t)|, which stays below max|f(t)|
// (relative to f(t) it grows with t^2 in the tail of gelu), and rounds 1 + tanh in the tail of the tanh form at the scale of 1.
// In 16 bits the store dominates; an earlier rounding point may fall on the other side of a tie and moves the result by one unit of T,
// at the scale of the summands, 2 u and a little where it is multiplied on. More than two of them in one element do not happen: one does
// in some of 10^4 elements.
ErrorBudget RMSNorm2d::budget(std::span<const TensorSpec> in) const {
  const DType t = in[0].dtype;
  const bool sums = options_.bias || options_.residual == ResidualMode::after;
  const bool activated = options_.activation != Activation::none && options_.activation != Activation::relu;
  const double terms = (sums ? 4.0 : 0.0) + (activated ? 8.0 : 0.0);
  if (t == DType::f32) return {.roundings = 5.0 + (options_.weight ? 1 : 0) + (activated ? 16 : 0), .terms = terms};
  if (options_.rounding == Rounding::once) return {.roundings = 1.05, .terms = terms};
  const int points = 1 + (options_.rounding == Rounding::wan ? 1 : 0) + (options_.weight ? 1 : 0) + (options_.bias ? 1 : 0);
  const double moved = 2.5 * std::min(points, 2), unit = unit_roundoff(t) / unit_roundoff(DType::f32);
  return {.roundings = 1.05 + moved, .terms = sums || activated ? terms + moved * unit : 0.0};
}

std::string RMSNorm2d::describe() const {
  std::string text = concat_text(channels_, " channels, ");
  text += options_.eps_mode == EpsMode::none ? std::string("no eps") : concat_text("eps ", *options_.eps, " ", name(options_.eps_mode));
  if (options_.weight) text += ", weight";
  if (options_.bias) text += ", bias";
  if (options_.rounding != Rounding::once) text += concat_text(", rounds as ", name(options_.rounding));
  if (options_.activation != Activation::none) text += concat_text(", ", name(options_.activation));
  if (options_.residual != ResidualMode::none) text += concat_text(", residual ", name(options_.residual));
  return text;
}

}  // namespace frieze
