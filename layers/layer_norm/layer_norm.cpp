#include <frieze/layers/layer_norm/layer_norm.h>

#include <algorithm>

#include <frieze/core/error.h>
#include <frieze/layers/shared/normalisation.h>

namespace frieze {
namespace {

std::string options_text(const LayerNormOptions& o) {
  return concat_text(", eps ", o.eps, !o.affine ? ", no affine" : o.bias ? "" : ", no bias");
}

// y[i] = y[i] * weight + bias, the parameters of element i being those of index(i).
template <class Index>
void scale_and_shift(std::vector<double>& y, const Parameter* weight, const Parameter* bias, DType run, Index index) {
  const std::vector<float> w = weight != nullptr ? weight->rounded(run) : std::vector<float>();
  const std::vector<float> b = bias != nullptr ? bias->rounded(run) : std::vector<float>();
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (!w.empty()) y[i] *= w[index(i)];
    if (!b.empty()) y[i] += b[index(i)];
  }
}

}  // namespace

LayerNorm::LayerNorm(const Shape& normalized_shape, LayerNormOptions options) : normalized_shape_(normalized_shape), options_(options) {
  check<OptionError>(normalized_shape.rank() >= 1, "LayerNorm expects a normalised shape of at least one axis, got ", normalized_shape);
  for (const std::int64_t extent : normalized_shape.extents()) {
    check<OptionError>(extent >= 1, "LayerNorm expects a normalised shape without empty axes, got ", normalized_shape);
  }
  check_eps("LayerNorm", options.eps);
  if (!options.affine) return;
  add_parameter(weight_, "weight", normalized_shape, Init::around(1, 0.1));
  if (options.bias) add_parameter(bias_, "bias", normalized_shape, Init::around(0, 0.1));
}

Inferred LayerNorm::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  const auto x = in[0].shape.extents(), own = normalized_shape_.extents();
  check<ShapeError>(x.size() >= own.size() && std::equal(own.rbegin(), own.rend(), x.rbegin()), type_name(),
                    " expects an input that ends with the axes ", normalized_shape_, ", got ", in[0].shape);
  return normalisation_cost(*this, in);
}

void LayerNorm::reference(const ReferenceArgs& args) const {
  const std::vector<float> x = to_floats(args.in[0]);
  const auto length = static_cast<std::size_t>(normalized_shape_.elements());
  std::vector<double> y(x.size());
  for (std::size_t first = 0; first < x.size(); first += length) standardise(x.data() + first, y.data() + first, length, 1, options_.eps);
  scale_and_shift(y, weight(), bias(), args.run_dtype, [&](std::size_t i) { return i % length; });
  from_doubles(y, args.out[0]);
}

std::size_t LayerNorm::absorbs(std::span<const TensorSpec>, std::span<const EpilogueOp> chain) const {
  return std::min(chain.size(), kMostOfNormEpilogue);
}

FormatRule LayerNorm::formats(std::span<const TensorSpec> in) const {
  return {.nchw = true, .nhwc = in[0].shape.rank() != 4, .prefers = {}};
}

ErrorBudget LayerNorm::budget(std::span<const TensorSpec>) const {
  return {.roundings = 1, .terms = standardise_terms(static_cast<std::size_t>(normalized_shape_.elements()))};
}

std::string LayerNorm::describe() const { return concat_text("over ", normalized_shape_, options_text(options_)); }

LayerNorm2d::LayerNorm2d(std::int64_t channels, LayerNormOptions options) : channels_(channels), options_(options) {
  check<OptionError>(channels >= 1, "LayerNorm2d expects at least 1 channel, got ", channels);
  check_eps("LayerNorm2d", options.eps);
  if (!options.affine) return;
  add_parameter(weight_, "weight", Shape{channels}, Init::around(1, 0.1));
  if (options.bias) add_parameter(bias_, "bias", Shape{channels}, Init::around(0, 0.1));
}

Inferred LayerNorm2d::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check_image(type_name(), in[0]);
  const Shape& x = in[0].shape;
  check<ShapeError>(x.c() == channels_, type_name(), " expects ", channels_, " channels, got ", x.c(), " (x ", x, " as [N,C,H,W])");
  return normalisation_cost(*this, in);
}

void LayerNorm2d::reference(const ReferenceArgs& args) const {
  const Shape& shape = args.in[0].shape;
  const std::vector<float> x = to_floats(args.in[0]);
  const auto channels = static_cast<std::size_t>(channels_), plane = static_cast<std::size_t>(shape.h() * shape.w());
  std::vector<double> y(x.size());
  for (std::size_t image = 0; image < x.size(); image += channels * plane) {
    for (std::size_t p = 0; p < plane; ++p) standardise(x.data() + image + p, y.data() + image + p, channels, plane, options_.eps);
  }
  scale_and_shift(y, weight(), bias(), args.run_dtype, [&](std::size_t i) { return i / plane % channels; });
  from_doubles(y, args.out[0]);
}

std::size_t LayerNorm2d::absorbs(std::span<const TensorSpec>, std::span<const EpilogueOp> chain) const {
  return std::min(chain.size(), kMostOfNormEpilogue);
}

ErrorBudget LayerNorm2d::budget(std::span<const TensorSpec>) const {
  return {.roundings = 1, .terms = standardise_terms(static_cast<std::size_t>(channels_))};
}

std::string LayerNorm2d::describe() const { return concat_text(channels_, " channels", options_text(options_)); }

Value layer_norm(Operand x, const Shape& normalized_shape, double eps) {
  return apply_new<LayerNorm>("layer_norm", {x}, normalized_shape, LayerNormOptions{.eps = eps, .affine = false});
}

}  // namespace frieze
