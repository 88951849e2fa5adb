#include "tools/frieze/layer_registry.h"

#include <frieze/core/error.h>
#include <frieze/graph/report/text_table.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/batch_norm2d/batch_norm2d.h>
#include <frieze/layers/channel_shortcut/channel_shortcut.h>
#include <frieze/layers/concat/concat.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/elementwise/elementwise.h>
#include <frieze/layers/gated_silu/gated_silu.h>
#include <frieze/layers/linear/linear.h>
#include <frieze/layers/linear_attention2d/linear_attention2d.h>
#include <frieze/layers/pixel_shuffle/pixel_shuffle.h>
#include <frieze/layers/rms_norm2d/rms_norm2d.h>
#include <frieze/layers/slice/slice.h>
#include <frieze/layers/upsample/upsample.h>

namespace frieze::tools {
namespace {

const Shape& shape_of(const Tensors& tensors, const std::string& name, int rank, const char* who) {
  const auto it = tensors.find(name);
  check<ShapeError>(it != tensors.end(), who, ": needs a tensor '", name, "'");
  const Shape& shape = it->second.spec().shape;
  check<ShapeError>(shape.rank() == rank, who, ": expects a '", name, "' of rank ", rank, ", got ", shape);
  return shape;
}

Size2d size_setting(Settings& settings, const std::string& key, const Size2d& fallback) {
  if (!settings.has(key)) return fallback;
  const auto [rows, columns] = settings.pair(key, 0);
  return {rows, columns};
}

template <Activation kFunction>
std::shared_ptr<Layer> make_activation(const Tensors&, Settings&) {
  return std::make_shared<ActivationLayer>(kFunction);
}

template <class L>
std::shared_ptr<Layer> make_plain(const Tensors&, Settings&) {
  return std::make_shared<L>();
}

std::shared_ptr<Layer> make_scale(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("factor"), "scale: needs --set factor=NUMBER");
  return std::make_shared<Scale>(static_cast<float>(settings.number("factor", 1)));
}

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

std::shared_ptr<Layer> make_conv2d(const Tensors& tensors, Settings& settings) {
  const Shape weight = shape_of(tensors, "weight", 4, "conv2d");
  Conv2dOptions o;
  o.stride = size_setting(settings, "stride", o.stride);
  o.padding = size_setting(settings, "padding", o.padding);
  o.dilation = size_setting(settings, "dilation", o.dilation);
  o.groups = settings.integer("groups", o.groups);
  o.bias = tensors.contains("bias");
  check<OptionError>(o.groups >= 1, "conv2d: groups must be at least 1, got ", o.groups);
  return std::make_shared<Conv2d>(checked_mul(weight.c(), o.groups, "conv2d: input channels"), weight.n(),
                                  Size2d(static_cast<int>(weight.h()), static_cast<int>(weight.w())), o);
}

std::shared_ptr<Layer> make_linear(const Tensors& tensors, Settings&) {
  const Shape weight = shape_of(tensors, "weight", 2, "linear");
  return std::make_shared<Linear>(weight[1], weight[0], LinearOptions{.bias = tensors.contains("bias")});
}

// A layer made from one whole number that has no default.
template <class L>
std::shared_ptr<Layer> make_with_factor(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("factor"), "needs --set factor=N");
  return std::make_shared<L>(settings.integer("factor", 1));
}

std::shared_ptr<Layer> make_slice(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("begin") && settings.has("end"), "slice: needs --set begin=N and --set end=N");
  return std::make_shared<Slice>(settings.integer("begin", 0), settings.integer("end", 0));
}

template <class L>
std::shared_ptr<Layer> make_shortcut(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("channels") && settings.has("factor"), "needs --set channels=N and --set factor=N");
  return std::make_shared<L>(settings.integer("channels", 1), settings.integer("factor", 1));
}

// Settings that are not given take the default of the layer's own constructor.
std::shared_ptr<Layer> make_linear_attention2d(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("head_dim"), "linear_attention2d: needs --set head_dim=N");
  const int head_dim = settings.integer("head_dim", 1);
  return settings.has("eps") ? std::make_shared<LinearAttention2d>(head_dim, settings.number("eps", 0))
                             : std::make_shared<LinearAttention2d>(head_dim);
}

std::shared_ptr<Layer> make_batch_norm2d(const Tensors& tensors, Settings& settings) {
  const std::int64_t channels = shape_of(tensors, "x", 4, "batch_norm2d").c();
  return settings.has("eps") ? std::make_shared<BatchNorm2d>(channels, settings.number("eps", 0)) : std::make_shared<BatchNorm2d>(channels);
}

const std::vector<LayerEntry>& table() {
  static const std::vector<LayerEntry> entries = {
      {"relu", "max(x, 0)", "x", {}, make_activation<Activation::relu>},
      {"silu", "x * sigmoid(x)", "x", {}, make_activation<Activation::silu>},
      {"gelu", "x * Phi(x), by erf", "x", {}, make_activation<Activation::gelu>},
      {"gelu_tanh", "the tanh form of gelu", "x", {}, make_activation<Activation::gelu_tanh>},
      {"sigmoid", "1 / (1 + exp(-x))", "x", {}, make_activation<Activation::sigmoid>},
      {"add", "x + x2, with broadcasting", "x, x2", {}, make_plain<Add>},
      {"mul", "x * x2, with broadcasting", "x, x2", {}, make_plain<Mul>},
      {"scale", "factor * x", "x", {{"factor", "NUMBER", "required"}}, make_scale},
      {"rms_norm2d",
       "x / rms over the channels * weight + bias",
       "x [N,C,H,W], weight (or gamma, g) [C], bias (or beta) [C], with extents of 1 anywhere, residual like x; all but x optional",
       {{"eps", "NUMBER", "1e-5; 1e-12 with eps_mode=clamp_norm"},
        {"eps_mode", "add_inside|clamp_norm|clamp_mean_square|add_to_rms|none", "add_inside: sqrt(mean(x^2) + eps)"},
        {"rounding", "once|diffusers|wan", "once: only at the store"},
        {"activation", "none|relu|silu|gelu|gelu_tanh|sigmoid", "none"},
        {"residual", "none|before|after", "none; where the tensor 'residual' is added"}},
       make_rms_norm2d},
      {"conv2d",
       "cross-correlation, as PyTorch's Conv2d",
       "x [N,C,H,W], weight [M,C/groups,KH,KW], bias [M] optional",
       {{"stride", "N or NxN", "1"},
        {"padding", "N or NxN", "0; -1: same size, for odd kernels"},
        {"dilation", "N or NxN", "1"},
        {"groups", "N", "1"}},
       make_conv2d},
      {"concat", "the inputs side by side along the channels", "x, x2, x3, ... x9", {}, make_plain<Concat>},
      {"slice", "channels begin to end - 1", "x", {{"begin", "N", "required"}, {"end", "N", "required"}}, make_slice},
      {"pixel_shuffle", "channels to space", "x [N,C*f*f,H,W]", {{"factor", "N", "required"}}, make_with_factor<PixelShuffle>},
      {"pixel_unshuffle", "space to channels", "x [N,C,H*f,W*f]", {{"factor", "N", "required"}}, make_with_factor<PixelUnshuffle>},
      {"upsample", "every pixel repeated factor x factor times", "x [N,C,H,W]", {{"factor", "N", "required"}}, make_with_factor<Upsample>},
      {"averaging_shortcut",
       "pixel_unshuffle by factor, then the mean of neighbouring channels",
       "x [N,C,H*f,W*f]",
       {{"channels", "N", "required: of y"}, {"factor", "N", "required"}},
       make_shortcut<AveragingShortcut>},
      {"duplicating_shortcut",
       "every channel several times in a row, then pixel_shuffle by factor",
       "x [N,C,H,W]",
       {{"channels", "N", "required: of y"}, {"factor", "N", "required"}},
       make_shortcut<DuplicatingShortcut>},
      {"gated_silu", "first half of the channels * silu(second half)", "x [N,2C,...]", {}, make_plain<GatedSiLU>},
      {"linear_attention2d",
       "ReLU linear attention over the pixels, q, k and v side by side for each head",
       "x [N,3*head_dim*heads,H,W]",
       {{"head_dim", "N", "required"}, {"eps", "NUMBER", "1e-15"}},
       make_linear_attention2d},
      {"batch_norm2d",
       "(x - running_mean) / sqrt(running_var + eps) * weight + bias",
       "x [N,C,H,W], weight, bias, running_mean, running_var [C]",
       {{"eps", "NUMBER", "1e-5"}},
       make_batch_norm2d},
      {"linear", "x * weight^T + bias", "x [...,K], weight [M,K], bias [M] optional", {}, make_linear},
  };
  return entries;
}

}  // namespace

std::span<const LayerEntry> layers() { return table(); }

const LayerEntry& find_layer(std::string_view name) {
  std::string names;
  for (const LayerEntry& entry : table()) {
    if (entry.name == name) return entry;
    names += (names.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw OptionError(concat_text("unknown layer '", name, "': expected ", names));
}

std::string setting_keys(const LayerEntry& entry) {
  std::string keys;
  for (const SettingHelp& s : entry.settings) keys += (keys.empty() ? "" : ", ") + std::string(s.key);
  return keys.empty() ? "none" : keys;
}

std::string layer_table() {
  std::string text;
  for (const LayerEntry& entry : table()) {
    text += concat_text(entry.name, ": y = ", entry.formula, "\n    tensors: ", entry.tensors, '\n');
    for (const SettingHelp& s : entry.settings) text += concat_text("    --set ", s.key, '=', s.values, "   (", s.meaning, ")\n");
  }
  return text + concat_text("after any layer: --then STEP, of ", kThenHelp, "; add and mul take the tensor 'residual'\n");
}

}  // namespace frieze::tools
