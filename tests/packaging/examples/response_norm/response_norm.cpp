#include "response_norm.h"

#include <cmath>

namespace own {
using namespace frieze;

GlobalResponseNorm::GlobalResponseNorm(int channels, double eps) : channels_(channels), eps_(eps) {
  check<OptionError>(channels >= 1, "GlobalResponseNorm expects at least 1 channel, got ", channels);
  add_parameter(weight_, "weight", {channels}, Init::around(0, 0.1));
  add_parameter(bias_, "bias", {channels}, Init::around(0, 0.1));
  weight_.aliases = {"gamma"}, bias_.aliases = {"beta"};
  weight_.squeeze = bias_.squeeze = true;
}

Inferred GlobalResponseNorm::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check_image(type_name(), in[0]);
  check<ShapeError>(in[0].shape.c() == channels_, "GlobalResponseNorm expects ", channels_, " channels, got ", in[0].shape);
  return elementwise_cost(in, {in[0].shape, in[0].dtype}, 5);
}

void GlobalResponseNorm::reference(const ReferenceArgs& args) const {
  const std::vector<float> x = to_floats(args.in[0]);  // row-major, whatever the strides are
  const std::vector<float> weight = weight_.rounded(args.run_dtype), bias = bias_.rounded(args.run_dtype);
  const Shape& s = args.in[0].shape;
  const auto plane = static_cast<std::size_t>(s.h() * s.w()), channels = static_cast<std::size_t>(channels_);
  std::vector<double> y(x.size()), norms(channels);
  for (std::size_t image = 0; image < x.size(); image += channels * plane) {
    double mean = 0;
    for (std::size_t c = 0; c < channels; ++c) {
      double squares = 0;
      for (std::size_t p = 0; p < plane; ++p) squares += static_cast<double>(x[image + c * plane + p]) * x[image + c * plane + p];
      norms[c] = std::sqrt(squares);
      mean += norms[c] / static_cast<double>(channels);
    }
    for (std::size_t i = image; i < image + channels * plane; ++i) {
      const std::size_t c = (i - image) / plane;
      y[i] = x[i] + weight[c] * x[i] * (norms[c] / (mean + eps_)) + bias[c];
    }
  }
  from_doubles(y, args.out[0]);
}

// A sum of squares by 256 threads, then by a tree; a mean of roots in the same way; terms of either sign are added to x.
ErrorBudget GlobalResponseNorm::budget(std::span<const TensorSpec> in) const {
  const double plane = static_cast<double>(in[0].shape.h() * in[0].shape.w());
  return {.roundings = 1, .terms = 24 + plane / 256 + channels_ / 256.0};
}

std::shared_ptr<const Layer> GlobalResponseNorm::shared_copy() const {
  return sharing(std::make_shared<GlobalResponseNorm>(channels_, eps_));
}

std::string GlobalResponseNorm::describe() const { return concat_text(channels_, " channels"); }

}  // namespace own
