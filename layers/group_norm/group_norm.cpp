#include <frieze/layers/group_norm/group_norm.h>

#include <algorithm>

#include <frieze/core/error.h>
#include <frieze/layers/shared/normalisation.h>

namespace frieze {
namespace {

Inferred infer_as(const Layer& layer, std::span<const TensorSpec> in, std::int64_t channels) {
  const Shape& x = in[0].shape;
  check<ShapeError>(x[1] == channels, layer.type_name(), " expects ", channels, " channels, got ", x[1], " (x ", x, " as [N,C,...])");
  return normalisation_cost(layer, in);
}

void reference_as(const ReferenceArgs& args, std::int64_t groups, double eps, const Parameter* weight, const Parameter* bias) {
  const Shape& shape = args.in[0].shape;
  const std::vector<float> x = to_floats(args.in[0]);  // row-major, whatever the strides are
  const auto channels = static_cast<std::size_t>(shape[1]), plane = x.size() / static_cast<std::size_t>(shape[0]) / channels;
  const std::size_t group = channels / static_cast<std::size_t>(groups) * plane;
  std::vector<double> y(x.size());
  for (std::size_t first = 0; first < x.size(); first += group) standardise(x.data() + first, y.data() + first, group, 1, eps);
  if (weight != nullptr) {
    const std::vector<float> w = weight->rounded(args.run_dtype), b = bias->rounded(args.run_dtype);
    for (std::size_t i = 0; i < y.size(); ++i) {
      const std::size_t c = i / plane % channels;
      y[i] = y[i] * w[c] + b[c];
    }
  }
  from_doubles(y, args.out[0]);
}

ErrorBudget budget_as(std::span<const TensorSpec> in, std::int64_t groups) {
  const Shape& x = in[0].shape;
  return {.roundings = 1, .terms = standardise_terms(static_cast<std::size_t>(x.elements() / x[0] / groups))};
}

}  // namespace

GroupNorm::GroupNorm(std::int64_t groups, std::int64_t channels, GroupNormOptions options)
    : groups_(groups), channels_(channels), options_(options) {
  check<OptionError>(groups >= 1 && channels >= 1 && channels % groups == 0, "GroupNorm expects channels that the groups divide, got ",
                     channels, " channels and ", groups, " groups");
  check_eps("GroupNorm", options.eps);
  if (!options.affine) return;
  add_parameter(weight_, "weight", Shape{channels}, Init::around(1, 0.1));
  add_parameter(bias_, "bias", Shape{channels}, Init::around(0, 0.1));
}

Inferred GroupNorm::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check<ShapeError>(in[0].shape.rank() >= 2, type_name(), " expects x of rank 2 or more as [N,C,...], got ", in[0].shape);
  return infer_as(*this, in, channels_);
}

void GroupNorm::reference(const ReferenceArgs& args) const { reference_as(args, groups_, options_.eps, weight(), bias()); }

std::size_t GroupNorm::absorbs(std::span<const TensorSpec>, std::span<const EpilogueOp> chain) const {
  return std::min(chain.size(), kMostOfNormEpilogue);
}

ErrorBudget GroupNorm::budget(std::span<const TensorSpec> in) const { return budget_as(in, groups_); }

std::string GroupNorm::describe() const {
  return concat_text(groups_, " groups of ", channels_, " channels, eps ", options_.eps, options_.affine ? "" : ", no affine");
}

InstanceNorm2d::InstanceNorm2d(std::int64_t channels, InstanceNorm2dOptions options) : channels_(channels), options_(options) {
  check<OptionError>(channels >= 1, "InstanceNorm2d expects at least 1 channel, got ", channels);
  check_eps("InstanceNorm2d", options.eps);
  check<OptionError>(!options.track_running_stats,
                     "InstanceNorm2d takes the statistics of each image: with track_running_stats a trained layer is a BatchNorm2d");
  if (!options.affine) return;
  add_parameter(weight_, "weight", Shape{channels}, Init::around(1, 0.1));
  add_parameter(bias_, "bias", Shape{channels}, Init::around(0, 0.1));
}

Inferred InstanceNorm2d::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check_image(type_name(), in[0]);
  return infer_as(*this, in, channels_);
}

void InstanceNorm2d::reference(const ReferenceArgs& args) const { reference_as(args, channels_, options_.eps, weight(), bias()); }

std::size_t InstanceNorm2d::absorbs(std::span<const TensorSpec>, std::span<const EpilogueOp> chain) const {
  return std::min(chain.size(), kMostOfNormEpilogue);
}

ErrorBudget InstanceNorm2d::budget(std::span<const TensorSpec> in) const { return budget_as(in, channels_); }

std::string InstanceNorm2d::describe() const {
  return concat_text(channels_, " channels, eps ", options_.eps, options_.affine ? ", affine" : "");
}

namespace {
// The channels of x; 1 where it has none, which infer() refuses.
std::int64_t channels_of(const Operand& x) { return x.value.shape().rank() >= 2 ? x.value.shape()[1] : 1; }
}  // namespace

Value group_norm(Operand x, std::int64_t groups, double eps) {
  const auto made = [&] {
    return std::make_shared<const GroupNorm>(x.value.shape().rank() >= 2 ? groups : 1, channels_of(x),
                                             GroupNormOptions{.eps = eps, .affine = false});
  };
  return apply_made(made, "group_norm", {x});
}

Value instance_norm(Operand x, double eps) {
  const auto made = [&] { return std::make_shared<const InstanceNorm2d>(channels_of(x), InstanceNorm2dOptions{.eps = eps}); };
  return apply_made(made, "instance_norm", {x});
}

}  // namespace frieze
