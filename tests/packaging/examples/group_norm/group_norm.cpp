#include "group_norm.h"

#include <cmath>

namespace own {
using namespace frieze;

GroupNorm::GroupNorm(int groups, int channels, double eps) : groups_(groups), channels_(channels), eps_(eps) {
  check<OptionError>(groups >= 1 && channels >= 1 && channels % groups == 0, "GroupNorm expects channels that the groups divide, got ",
                     channels, " and ", groups);
  add_parameter(weight_, "weight", {channels}, Init::around(1, 0.1));
  add_parameter(bias_, "bias", {channels}, Init::around(0, 0.1));
}

Inferred GroupNorm::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check_image(type_name(), in[0]);
  check<ShapeError>(in[0].shape.c() == channels_, "GroupNorm expects ", channels_, " channels, got ", in[0].shape);
  return elementwise_cost(in, {in[0].shape, in[0].dtype}, 6);
}

void GroupNorm::reference(const ReferenceArgs& args) const {
  const std::vector<float> x = to_floats(args.in[0]);  // row-major, whatever the strides are
  const std::vector<float> weight = weight_.rounded(args.run_dtype), bias = bias_.rounded(args.run_dtype);
  const Shape& s = args.in[0].shape;
  const auto plane = static_cast<std::size_t>(s.h() * s.w()), channels = static_cast<std::size_t>(channels_);
  const std::size_t group = plane * channels / static_cast<std::size_t>(groups_);
  std::vector<double> y(x.size());
  for (std::size_t first = 0; first < x.size(); first += group) {
    double mean = 0, variance = 0;
    for (std::size_t i = first; i < first + group; ++i) mean += x[i] / static_cast<double>(group);
    for (std::size_t i = first; i < first + group; ++i) variance += (x[i] - mean) * (x[i] - mean) / static_cast<double>(group);
    const double scale = 1 / std::sqrt(variance + eps_);
    for (std::size_t i = first; i < first + group; ++i) {
      const std::size_t c = i / plane % channels;
      y[i] = (x[i] - mean) * scale * weight[c] + bias[c];
    }
  }
  from_doubles(y, args.out[0]);
}

// A sum of `group` values by 256 threads, then by a tree; x - mean cancels.
ErrorBudget GroupNorm::budget(std::span<const TensorSpec> in) const {
  const double group = static_cast<double>(in[0].shape.elements() / in[0].shape.n() / groups_);
  return {.roundings = 1, .terms = 24 + group / 256};
}

std::shared_ptr<const Layer> GroupNorm::shared_copy() const { return sharing(std::make_shared<GroupNorm>(groups_, channels_, eps_)); }

std::string GroupNorm::describe() const { return concat_text(groups_, " groups"); }

}  // namespace own
