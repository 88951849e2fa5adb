#include <frieze/layers/linear/linear.h>

#include <algorithm>
#include <cmath>

#include <frieze/core/error.h>
#include <frieze/layers/shared/matmul.h>

namespace frieze {
namespace {
constexpr std::size_t kMostOfEpilogue = 4;  // operations that the kernel applies at its store
}

Linear::Linear(std::int64_t in_features, std::int64_t out_features, LinearOptions options)
    : in_features_(in_features), out_features_(out_features), options_(options) {
  check<OptionError>(in_features >= 1 && out_features >= 1, "Linear: features must be at least 1, got ", in_features, " -> ", out_features);
  const Init init = Init::fan_in(in_features);
  add_parameter(weight_, "weight", {out_features, in_features}, init);
  if (options.bias) add_parameter(bias_, "bias", {out_features}, init);
}

Inferred Linear::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  const Shape& x = in[0].shape;
  check<ShapeError>(x.rank() >= 1, "Linear expects rank 1 to 8 as [...,features], got ", x, " of rank 0");
  check<ShapeError>(x[-1] == in_features_, "Linear expects ", in_features_, " input features, got ", x[-1], " (x ", x,
                    " as [...,features], weight ", weight_.shape, " as [out,in])");
  Inferred inferred;
  inferred.out = {{x.with(-1, out_features_), in[0].dtype}};
  const auto parameters = static_cast<double>(weight_.shape.elements() + (has_bias() ? out_features_ : 0));
  const double k = static_cast<double>(in_features_);
  inferred.flops = (2 * k - (has_bias() ? 0 : 1)) * static_cast<double>(inferred.out[0].shape.elements());
  inferred.bytes = static_cast<double>(in[0].bytes()) + static_cast<double>(inferred.out[0].bytes()) +
                   parameters * static_cast<double>(size_of(in[0].dtype));
  return inferred;
}

void Linear::reference(const ReferenceArgs& args) const {
  const std::vector<float> x = to_floats(args.in[0]);
  const std::vector<float> weight = weight_.rounded(args.run_dtype);
  const std::int64_t rows = args.in[0].shape.elements() / in_features_;
  std::vector<double> y(static_cast<std::size_t>(rows * out_features_));
  const bool add_bias = has_bias();
  if (add_bias) {
    const std::vector<float> bias = bias_.rounded(args.run_dtype);
    for (std::int64_t r = 0; r < rows; ++r) std::copy(bias.begin(), bias.end(), y.begin() + r * out_features_);
  }
  matmul(MatrixView<const float>(x.data(), rows, in_features_),
         MatrixView<const float>(weight.data(), out_features_, in_features_).transposed(),
         MatrixView<double>(y.data(), rows, out_features_), add_bias);
  from_doubles(y, args.out[0]);
}

std::size_t Linear::absorbs(std::span<const TensorSpec>, std::span<const EpilogueOp> chain) const {
  return std::min(chain.size(), kMostOfEpilogue);
}

FormatRule Linear::formats(std::span<const TensorSpec> in) const { return {.nchw = true, .nhwc = in[0].shape.rank() != 4, .prefers = {}}; }

// As for Conv2d, where the terms are derived: K products and the bias, summed in f32, partly by truncating tensor cores.
ErrorBudget Linear::budget(std::span<const TensorSpec>) const {
  const double k = static_cast<double>(in_features_) + 1;
  return {.roundings = 1.01, .terms = 8 + 4 * std::sqrt(k) + k / 8};
}

double Linear::typical_size(std::span<const TensorView> in) const {
  return std::sqrt(static_cast<double>(in_features_)) * root_mean_square(to_floats(in[0])) * root_mean_square(weight_.values);
}

std::string Linear::describe() const { return concat_text(in_features_, "->", out_features_, has_bias() ? "" : " no bias"); }

}  // namespace frieze
