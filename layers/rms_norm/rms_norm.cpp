#include <frieze/layers/rms_norm/rms_norm.h>

#include <cmath>

#include <frieze/core/error.h>

namespace frieze {
namespace {

RMSNorm2dOptions as_2d(const RMSNormOptions& o) {
  RMSNorm2dOptions options;
  options.eps = o.eps;
  options.weight = o.weight;
  options.rounding = o.rounding;
  return options;
}

TensorSpec as_image(const TensorSpec& x, std::int64_t features) { return {Shape{x.shape.elements() / features, features, 1, 1}, x.dtype}; }

}  // namespace

RMSNorm::RMSNorm(std::int64_t features, RMSNormOptions options) : features_(features), options_(options) {
  check<OptionError>(features >= 1, "RMSNorm expects at least 1 feature, got ", features);
  check<OptionError>(std::isfinite(options.eps) && options.eps >= 0, "RMSNorm expects a finite eps of at least 0, got ", options.eps);
  if (options.weight) add_parameter(weight_, "weight", Shape{features}, Init::around(1, 0.1));
}

std::shared_ptr<const RMSNorm2d> RMSNorm::as_pixels() const {
  auto made = std::make_shared<RMSNorm2d>(features_, as_2d(options_));
  if (options_.weight) made->Module::parameters().front()->values = weight_.values;
  return made;
}

Inferred RMSNorm::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  const Shape& x = in[0].shape;
  check<ShapeError>(x.rank() >= 1 && x[x.rank() - 1] == features_, type_name(), " expects a last axis of ", features_, ", got ", x);
  const TensorSpec image = as_image(in[0], features_);
  Inferred inferred = as_pixels()->infer({&image, 1});
  inferred.out[0].shape = x;
  return inferred;
}

void RMSNorm::reference(const ReferenceArgs& args) const {
  const TensorSpec in = as_image({args.in[0].shape, args.in[0].dtype}, features_), out{in.shape, args.out[0].dtype};
  const HostTensor x(in, to_floats(args.in[0])), y(out);
  const TensorView x_view = x.view(), y_view = y.view();
  as_pixels()->reference({{&x_view, 1}, {&y_view, 1}, args.run_dtype});
  from_floats(y.floats(), args.out[0]);  // of y's own type: exact
}

std::size_t RMSNorm::absorbs(std::span<const TensorSpec> in, std::span<const EpilogueOp> chain) const {
  return as_pixels()->absorbs(in, chain);
}

FormatRule RMSNorm::formats(std::span<const TensorSpec> in) const { return {.nchw = true, .nhwc = in[0].shape.rank() != 4, .prefers = {}}; }

ErrorBudget RMSNorm::budget(std::span<const TensorSpec> in) const { return as_pixels()->budget(in); }

std::string RMSNorm::describe() const {
  return concat_text(features_, " features, eps ", options_.eps, options_.weight ? "" : ", no weight",
                     options_.rounding == Rounding::once ? "" : ", rounds as ",
                     options_.rounding == Rounding::once ? "" : name(options_.rounding));
}

Value rms_norm(Operand x, double eps) {
  const auto made = [&] {
    const Shape& shape = x.value.shape();  // without axes: infer() refuses it
    return std::make_shared<const RMSNorm>(shape.rank() >= 1 ? shape[shape.rank() - 1] : 1, RMSNormOptions{.eps = eps, .weight = false});
  };
  return apply_made(made, "rms_norm", {x});
}

}  // namespace frieze
