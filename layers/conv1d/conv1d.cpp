#include <frieze/layers/conv1d/conv1d.h>

#include <frieze/core/error.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/conv_transpose2d/conv_transpose2d.h>
#include <frieze/layers/reshape/reshape.h>

namespace frieze {
namespace {

Conv2d flat_convolution(std::int64_t in, std::int64_t out, int kernel, const Conv1dOptions& o) {
  const Padding2d padding(o.padding.left, o.padding.right, 0, 0);
  return {in, out, Size2d(1, kernel), {{1, o.stride}, padding, {1, o.dilation}, o.groups, o.bias, o.padding_mode}};
}

ConvTranspose2d flat_convolution(std::int64_t in, std::int64_t out, int kernel, const ConvTranspose1dOptions& o) {
  return {in, out, Size2d(1, kernel), {{1, o.stride}, {0, o.padding}, {0, o.output_padding}, {1, o.dilation}, o.groups, o.bias}};
}

// The layer on x [N,C,L] as [N,C,1,L], with the values of weight and bias, as a step of the module at `path`.
Value apply_flat(Layer& layer, const Module& module, const Parameter& weight, const Parameter& bias, bool has_bias, Value x) {
  const Shape& shape = x.shape();
  check<ShapeError>(shape.rank() == 3, module.place(), " expects rank 3 as [N,C,L], got ", shape, " of rank ", shape.rank());
  const std::vector<Parameter*>& parameters = layer.Module::parameters();
  parameters[0]->values = weight.values;
  if (has_bias) parameters[1]->values = bias.values;
  const Value image = reshape(x, {shape[0], shape[1], 1, shape[2]});
  const Value y = only_output(x.tracer().step(layer.shared_copy(), module.path(), {&image, 1}), module.place());
  return reshape(y, {y.shape().n(), y.shape().c(), y.shape().w()});
}

// One axis less: [O,C,1,K] as [O,C,K].
Shape flat_kernel(const Shape& kernel) { return {kernel[0], kernel[1], kernel[3]}; }

}  // namespace

Conv1d::Conv1d(std::int64_t in_channels, std::int64_t out_channels, int kernel, Conv1dOptions options)
    : in_channels_(in_channels), out_channels_(out_channels), kernel_(kernel), options_(options) {
  const Conv2d checked = flat_convolution(in_channels, out_channels, kernel, options);
  add_parameter(weight_, "weight", flat_kernel(checked.weight().shape), checked.weight().init);
  if (options.bias) add_parameter(bias_, "bias", {out_channels}, checked.bias().init);
}

Value Conv1d::forward(Value x) const {
  Conv2d layer = flat_convolution(in_channels_, out_channels_, kernel_, options_);
  return apply_flat(layer, *this, weight_, bias_, options_.bias, x);
}

ConvTranspose1d::ConvTranspose1d(std::int64_t in_channels, std::int64_t out_channels, int kernel, ConvTranspose1dOptions options)
    : in_channels_(in_channels), out_channels_(out_channels), kernel_(kernel), options_(options) {
  const ConvTranspose2d checked = flat_convolution(in_channels, out_channels, kernel, options);
  add_parameter(weight_, "weight", flat_kernel(checked.weight().shape), checked.weight().init);
  if (options.bias) add_parameter(bias_, "bias", {out_channels}, checked.bias().init);
}

Value ConvTranspose1d::forward(Value x) const {
  ConvTranspose2d layer = flat_convolution(in_channels_, out_channels_, kernel_, options_);
  return apply_flat(layer, *this, weight_, bias_, options_.bias, x);
}

}  // namespace frieze
