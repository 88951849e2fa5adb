#include <frieze/layers/batch_norm2d/batch_norm2d.h>

#include <cmath>

#include <frieze/core/error.h>

namespace frieze {

BatchNorm2d::BatchNorm2d(std::int64_t channels, double eps) : channels_(channels), eps_(eps) {
  check<OptionError>(channels >= 1, "BatchNorm2d expects at least 1 channel, got ", channels);
  check<OptionError>(std::isfinite(eps) && eps >= 0, "BatchNorm2d expects a finite eps of at least 0, got ", eps);
  add_parameter(weight_, "weight", Shape{channels}, Init::around(1, 0.1));
  add_parameter(bias_, "bias", Shape{channels}, Init::around(0, 0.1));
  add_parameter(running_mean_, "running_mean", Shape{channels}, Init::around(0, 0.1));
  add_parameter(running_var_, "running_var", Shape{channels}, Init::around(1, 0.1));
}

Inferred BatchNorm2d::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check_image(type_name(), in[0]);
  const Shape& x = in[0].shape;
  check<ShapeError>(x.c() == channels_, type_name(), " expects ", channels_, " channels, got ", x.c(), " (x ", x, " as [N,C,H,W])");
  Inferred inferred = elementwise_cost(in, {x, in[0].dtype}, 2);
  inferred.bytes += 2 * static_cast<double>(channels_) * static_cast<double>(size_of(in[0].dtype));
  return inferred;
}

BatchNorm2d::Factors BatchNorm2d::factors() const {
  Factors affine;
  for (std::size_t c = 0; c < weight_.values.size(); ++c) {
    affine.scale.push_back(weight_.values[c] / std::sqrt(running_var_.values[c] + eps_));
    affine.shift.push_back(bias_.values[c] - running_mean_.values[c] * affine.scale.back());
  }
  return affine;
}

void BatchNorm2d::reference(const ReferenceArgs& args) const {
  const Factors affine = factors();
  const std::vector<float> x = to_floats(args.in[0]);
  const auto pixels = static_cast<std::size_t>(args.out[0].shape.h() * args.out[0].shape.w());
  std::vector<double> y(x.size());
  for (std::size_t i = 0; i < y.size(); ++i) {
    const std::size_t c = i / pixels % affine.scale.size();
    y[i] = static_cast<double>(x[i]) * round_to(args.run_dtype, affine.scale[c]) + round_to(args.run_dtype, affine.shift[c]);
  }
  from_doubles(y, args.out[0]);
}

// One fused multiply-add in f32, on the factors that the reference takes too, and the store.
ErrorBudget BatchNorm2d::budget(std::span<const TensorSpec>) const { return {.roundings = 1, .terms = 0}; }

std::string BatchNorm2d::describe() const { return concat_text(channels_, " channels, eps ", eps_); }

}  // namespace frieze
