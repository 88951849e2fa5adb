#include <frieze/core/error.h>
#include <frieze/layers/batch_norm2d/batch_norm2d.h>
#include <frieze/layers/group_norm/group_norm.h>
#include <frieze/layers/layer_norm/layer_norm.h>
#include <frieze/layers/pool/pool.h>
#include <frieze/layers/pool2d/pool2d.h>
#include <frieze/layers/rms_norm/rms_norm.h>
#include <frieze/layers/rms_norm2d/rms_norm2d.h>

#include "tools/frieze/layer_entries.h"

namespace frieze::tools {
namespace {

std::shared_ptr<Layer> make_rms_norm2d(const Tensors& tensors, Settings& settings) {
  RMSNorm2dOptions o;
  o.eps_mode = parse_eps_mode(settings.text("eps_mode", std::string(name(o.eps_mode))));
  if (settings.has("eps")) o.eps = settings.number("eps", 0);
  o.weight = tensors.contains("weight") || tensors.contains("gamma") || tensors.contains("g");
  o.bias = tensors.contains("bias") || tensors.contains("beta");
  o.rounding = parse_rounding(settings.text("rounding", std::string(name(o.rounding))));
  o.activation = parse_activation(settings.text("activation", std::string(name(o.activation))));
  o.residual = parse_residual_mode(settings.text("residual", std::string(name(o.residual))));
  check<OptionError>(o.residual == ResidualMode::none || tensors.contains("residual"), "rms_norm2d: residual=", name(o.residual),
                     " needs a tensor 'residual'");
  return std::make_shared<RMSNorm2d>(shape_of(tensors, "x", 4, "rms_norm2d").c(), o);
}

std::shared_ptr<Layer> make_batch_norm2d(const Tensors& tensors, Settings& settings) {
  const std::int64_t channels = shape_of(tensors, "x", 4, "batch_norm2d").c();
  return settings.has("eps") ? std::make_shared<BatchNorm2d>(channels, settings.number("eps", 0)) : std::make_shared<BatchNorm2d>(channels);
}

const Shape& input_shape(const Tensors& tensors, const char* who) {
  const auto it = tensors.find("x");
  check<ShapeError>(it != tensors.end(), who, ": needs a tensor 'x'");
  return it->second.spec().shape;
}

LayerNormOptions layer_norm_options(const Tensors& tensors, Settings& settings) {
  LayerNormOptions o;
  o.eps = settings.number("eps", o.eps);
  o.affine = tensors.contains("weight");
  o.bias = tensors.contains("bias");
  check<OptionError>(o.affine || !o.bias, "layer_norm: a tensor 'bias' needs a tensor 'weight'");
  return o;
}

// Over the axes that the weight has, or the last ones.
std::shared_ptr<Layer> make_layer_norm(const Tensors& tensors, Settings& settings) {
  const LayerNormOptions options = layer_norm_options(tensors, settings);
  const Shape& x = input_shape(tensors, "layer_norm");
  const int axes = settings.integer("axes", options.affine ? tensors.at("weight").spec().shape.rank() : 1);
  check<OptionError>(axes >= 1 && axes <= x.rank(), "layer_norm: axes must be 1 to ", x.rank(), ", got ", axes);
  return std::make_shared<LayerNorm>(Shape(std::vector<std::int64_t>(x.extents().end() - axes, x.extents().end())), options);
}

std::shared_ptr<Layer> make_layer_norm2d(const Tensors& tensors, Settings& settings) {
  return std::make_shared<LayerNorm2d>(shape_of(tensors, "x", 4, "layer_norm2d").c(), layer_norm_options(tensors, settings));
}

std::shared_ptr<Layer> make_group_norm(const Tensors& tensors, Settings& settings) {
  check<OptionError>(settings.has("groups"), "group_norm: needs --set groups=N");
  const Shape& x = input_shape(tensors, "group_norm");
  check<ShapeError>(x.rank() >= 2, "group_norm: expects x of rank 2 or more, got ", x);
  GroupNormOptions o;
  o.eps = settings.number("eps", o.eps);
  o.affine = tensors.contains("weight");
  return std::make_shared<GroupNorm>(settings.integer("groups", 1), x[1], o);
}

std::shared_ptr<Layer> make_instance_norm2d(const Tensors& tensors, Settings& settings) {
  InstanceNorm2dOptions o;
  o.eps = settings.number("eps", o.eps);
  o.affine = tensors.contains("weight");
  return std::make_shared<InstanceNorm2d>(shape_of(tensors, "x", 4, "instance_norm2d").c(), o);
}

std::shared_ptr<Layer> make_rms_norm(const Tensors& tensors, Settings& settings) {
  const Shape& x = input_shape(tensors, "rms_norm");
  check<ShapeError>(x.rank() >= 1, "rms_norm: expects x of rank 1 or more, got ", x);
  RMSNormOptions o;
  o.eps = settings.number("eps", o.eps);
  o.weight = tensors.contains("weight");
  o.rounding = parse_rounding(settings.text("rounding", std::string(name(o.rounding))));
  return std::make_shared<RMSNorm>(x[x.rank() - 1], o);
}

std::optional<Size2d> stride_setting(Settings& settings) {
  return settings.has("stride") ? std::optional<Size2d>(size_setting(settings, "stride", 1)) : std::nullopt;
}

Size2d kernel_setting(Settings& settings, const char* who) {
  check<OptionError>(settings.has("kernel"), who, ": needs --set kernel=N or NxN");
  return size_setting(settings, "kernel", 1);
}

std::shared_ptr<Layer> make_max_pool2d(const Tensors&, Settings& settings) {
  MaxPool2dOptions o;
  o.stride = stride_setting(settings);
  o.padding = size_setting(settings, "padding", o.padding);
  o.dilation = size_setting(settings, "dilation", o.dilation);
  o.ceil_mode = settings.flag("ceil_mode", o.ceil_mode);
  return std::make_shared<MaxPool2d>(kernel_setting(settings, "max_pool2d"), o);
}

std::shared_ptr<Layer> make_avg_pool2d(const Tensors&, Settings& settings) {
  AvgPool2dOptions o;
  o.stride = stride_setting(settings);
  o.padding = size_setting(settings, "padding", o.padding);
  o.ceil_mode = settings.flag("ceil_mode", o.ceil_mode);
  o.count_include_pad = settings.flag("count_include_pad", o.count_include_pad);
  if (settings.has("divisor")) o.divisor_override = settings.integer("divisor", 1);
  return std::make_shared<AvgPool2d>(kernel_setting(settings, "avg_pool2d"), o);
}

template <class L>
std::shared_ptr<Layer> make_adaptive(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("output"), "needs --set output=N or NxN");
  return std::make_shared<L>(size_setting(settings, "output", 1));
}

std::shared_ptr<Layer> make_global_avg_pool(const Tensors&, Settings& settings) {
  return std::make_shared<GlobalAvgPool>(settings.flag("keep_dims", false));
}

}  // namespace

std::span<const LayerEntry> norm_entries() {
  static const std::vector<LayerEntry> entries = {
      {"rms_norm2d",
       "x / rms over the channels * weight + bias",
       "x [N,C,H,W], weight (or gamma, g) [C], bias (or beta) [C], with extents of 1 anywhere, residual like x; all but x optional",
       {{"eps", "NUMBER", "1e-5; 1e-12 with eps_mode=clamp_norm"},
        {"eps_mode", "add_inside|clamp_norm|clamp_mean_square|add_to_rms|none", "add_inside: sqrt(mean(x^2) + eps)"},
        {"rounding", "once|diffusers|wan", "once: only at the store"},
        {"activation", "none|relu|silu|gelu|gelu_tanh|sigmoid", "none"},
        {"residual", "none|before|after", "none; where the tensor 'residual' is added"}},
       make_rms_norm2d},
      {"batch_norm2d",
       "(x - running_mean) / sqrt(running_var + eps) * weight + bias",
       "x [N,C,H,W], weight, bias, running_mean, running_var [C]",
       {{"eps", "NUMBER", "1e-5"}},
       make_batch_norm2d},
      {"layer_norm",
       "(x - mean) / sqrt(variance + eps) * weight + bias over the last axes",
       "x, weight and bias with its last axes, both optional",
       {{"eps", "NUMBER", "1e-5"}, {"axes", "N", "as many as the weight has, or 1"}},
       make_layer_norm},
      {"layer_norm2d",
       "the same over the channels of every pixel",
       "x [N,C,H,W], weight [C], bias [C], both optional",
       {{"eps", "NUMBER", "1e-5"}},
       make_layer_norm2d},
      {"group_norm",
       "the same over the channels of a group and all pixels",
       "x [N,C,...], weight and bias [C], both or neither",
       {{"groups", "N", "required"}, {"eps", "NUMBER", "1e-5"}},
       make_group_norm},
      {"instance_norm2d",
       "the same over the pixels of every channel",
       "x [N,C,H,W], weight and bias [C], both or neither",
       {{"eps", "NUMBER", "1e-5"}},
       make_instance_norm2d},
      {"rms_norm",
       "x / sqrt(mean(x^2) + eps) * weight over the last axis",
       "x [...,C], weight [C] optional",
       {{"eps", "NUMBER", "2^-23"}, {"rounding", "once|diffusers|wan", "once: only at the store"}},
       make_rms_norm},
      {"max_pool2d",
       "the largest value of every window",
       "x [N,C,H,W]",
       {{"kernel", "N or NxN", "required"},
        {"stride", "N or NxN", "kernel"},
        {"padding", "N or NxN", "0"},
        {"dilation", "N or NxN", "1"},
        {"ceil_mode", "true|false", "false"}},
       make_max_pool2d},
      {"avg_pool2d",
       "the mean of every window",
       "x [N,C,H,W]",
       {{"kernel", "N or NxN", "required"},
        {"stride", "N or NxN", "kernel"},
        {"padding", "N or NxN", "0"},
        {"ceil_mode", "true|false", "false"},
        {"count_include_pad", "true|false", "true"},
        {"divisor", "N", "the number of positions"}},
       make_avg_pool2d},
      {"adaptive_avg_pool2d",
       "the mean of every bin",
       "x [N,C,H,W]",
       {{"output", "N or NxN", "required"}},
       make_adaptive<AdaptiveAvgPool2d>},
      {"adaptive_max_pool2d",
       "the largest value of every bin",
       "x [N,C,H,W]",
       {{"output", "N or NxN", "required"}},
       make_adaptive<AdaptiveMaxPool2d>},
      {"global_avg_pool",
       "the mean of all pixels",
       "x [N,C,H,W]",
       {{"keep_dims", "true|false", "false: y is [N,C]"}},
       make_global_avg_pool},
  };
  return entries;
}

}  // namespace frieze::tools
