#include <algorithm>
#include <charconv>

#include <frieze/core/error.h>
#include <frieze/layers/channel_shortcut/channel_shortcut.h>
#include <frieze/layers/conv1d/conv1d.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/conv_transpose2d/conv_transpose2d.h>
#include <frieze/layers/interpolate/interpolate.h>
#include <frieze/layers/pad/pad.h>
#include <frieze/layers/pixel_shuffle/pixel_shuffle.h>
#include <frieze/layers/upsample/upsample.h>

#include "tools/frieze/layer_entries.h"

namespace frieze::tools {
namespace {

// "1", "1x2" (rows x columns) or "left,right,top,bottom".
Padding2d padding_setting(Settings& settings, const char* who) {
  const std::string text = settings.text("padding", "0");
  if (text.find(',') == std::string::npos) return size_setting(settings, "padding", 0);
  std::vector<int> sides;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    int side = 0;
    const auto [end, error] = std::from_chars(text.data() + at, text.data() + comma, side);
    check<OptionError>(error == std::errc() && end == text.data() + comma, who, ": padding is N, NxN or left,right,top,bottom, got '",
                       printable(text, 80), "'");
    sides.push_back(side);
    at = comma + 1;
  }
  check<OptionError>(sides.size() == 4, who, ": padding is N, NxN or left,right,top,bottom, got ", sides.size(), " sides");
  return {sides[0], sides[1], sides[2], sides[3]};
}

std::shared_ptr<Layer> make_pad(const Tensors&, Settings& settings) {
  const Padding2d padding = padding_setting(settings, "pad");
  return std::make_shared<Pad>(padding, parse_pad_mode(settings.text("mode", "zeros")), settings.number("value", 0));
}

std::shared_ptr<Layer> make_interpolate(const Tensors&, Settings& settings) {
  InterpolateOptions o;
  o.size = size_setting(settings, "size", o.size);
  o.scale_factor = {settings.number("scale_h", settings.number("scale", 0)), settings.number("scale_w", settings.number("scale", 0))};
  o.mode = parse_interpolate_mode(settings.text("mode", "nearest"));
  o.align_corners = settings.flag("align_corners", false);
  o.antialias = settings.flag("antialias", false);
  o.recompute_scale_factor = settings.flag("recompute_scale_factor", false);
  return std::make_shared<Interpolate>(o);
}

std::shared_ptr<Layer> make_conv_transpose2d(const Tensors& tensors, Settings& settings) {
  const Shape weight = shape_of(tensors, "weight", 4, "conv_transpose2d");
  ConvTranspose2dOptions o;
  o.stride = size_setting(settings, "stride", o.stride);
  o.padding = size_setting(settings, "padding", o.padding);
  o.output_padding = size_setting(settings, "output_padding", o.output_padding);
  o.dilation = size_setting(settings, "dilation", o.dilation);
  o.groups = settings.integer("groups", o.groups);
  o.bias = tensors.contains("bias");
  check<OptionError>(o.groups >= 1, "conv_transpose2d: groups must be at least 1, got ", o.groups);
  return std::make_shared<ConvTranspose2d>(weight.n(), checked_mul(weight.c(), o.groups, "conv_transpose2d: output channels"),
                                           Size2d(static_cast<int>(weight.h()), static_cast<int>(weight.w())), o);
}

std::shared_ptr<Module> make_conv1d(const Tensors& tensors, Settings& settings) {
  const Shape weight = shape_of(tensors, "weight", 3, "conv1d");
  Conv1dOptions o;
  o.stride = settings.integer("stride", o.stride);
  o.padding = {settings.integer("left", settings.integer("padding", 0)), settings.integer("right", settings.integer("padding", 0))};
  o.dilation = settings.integer("dilation", o.dilation);
  o.groups = settings.integer("groups", o.groups);
  o.padding_mode = parse_pad_mode(settings.text("padding_mode", "zeros"));
  o.bias = tensors.contains("bias");
  check<OptionError>(o.groups >= 1, "conv1d: groups must be at least 1, got ", o.groups);
  return std::make_shared<Conv1d>(checked_mul(weight[1], o.groups, "conv1d: input channels"), weight[0], static_cast<int>(weight[2]), o);
}

std::shared_ptr<Module> make_conv_transpose1d(const Tensors& tensors, Settings& settings) {
  const Shape weight = shape_of(tensors, "weight", 3, "conv_transpose1d");
  ConvTranspose1dOptions o;
  o.stride = settings.integer("stride", o.stride);
  o.padding = settings.integer("padding", o.padding);
  o.output_padding = settings.integer("output_padding", o.output_padding);
  o.dilation = settings.integer("dilation", o.dilation);
  o.groups = settings.integer("groups", o.groups);
  o.bias = tensors.contains("bias");
  check<OptionError>(o.groups >= 1, "conv_transpose1d: groups must be at least 1, got ", o.groups);
  return std::make_shared<ConvTranspose1d>(weight[0], checked_mul(weight[1], o.groups, "conv_transpose1d: output channels"),
                                           static_cast<int>(weight[2]), o);
}

std::shared_ptr<Layer> make_conv2d(const Tensors& tensors, Settings& settings) {
  const Shape weight = shape_of(tensors, "weight", 4, "conv2d");
  Conv2dOptions o;
  o.stride = size_setting(settings, "stride", o.stride);
  o.padding = padding_setting(settings, "conv2d");
  o.padding_mode = parse_pad_mode(settings.text("padding_mode", "zeros"));
  o.dilation = size_setting(settings, "dilation", o.dilation);
  o.groups = settings.integer("groups", o.groups);
  o.bias = tensors.contains("bias");
  check<OptionError>(o.groups >= 1, "conv2d: groups must be at least 1, got ", o.groups);
  return std::make_shared<Conv2d>(checked_mul(weight.c(), o.groups, "conv2d: input channels"), weight.n(),
                                  Size2d(static_cast<int>(weight.h()), static_cast<int>(weight.w())), o);
}

template <class L>
std::shared_ptr<Layer> make_shortcut(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("channels") && settings.has("factor"), "needs --set channels=N and --set factor=N");
  return std::make_shared<L>(settings.integer("channels", 1), settings.integer("factor", 1));
}

}  // namespace

std::span<const LayerEntry> spatial_entries() {
  static const std::vector<LayerEntry> entries = {
      {"conv2d",
       "cross-correlation, as PyTorch's Conv2d",
       "x [N,C,H,W], weight [M,C/groups,KH,KW], bias [M] optional",
       {{"stride", "N or NxN", "1"},
        {"padding", "N, NxN or left,right,top,bottom", "0; -1: same size, for odd kernels"},
        {"padding_mode", "zeros|reflect|replicate|circular", "zeros"},
        {"dilation", "N or NxN", "1"},
        {"groups", "N", "1"}},
       make_conv2d},
      {"conv_transpose2d",
       "transposed convolution, as PyTorch's ConvTranspose2d",
       "x [N,C,H,W], weight [C,M/groups,KH,KW], bias [M] optional",
       {{"stride", "N or NxN", "1"},
        {"padding", "N or NxN", "0"},
        {"output_padding", "N or NxN", "0"},
        {"dilation", "N or NxN", "1"},
        {"groups", "N", "1"}},
       make_conv_transpose2d},
      {"conv1d",
       "cross-correlation, as PyTorch's Conv1d",
       "x [N,C,L], weight [M,C/groups,K], bias [M] optional",
       {{"stride", "N", "1"},
        {"padding", "N", "0; -1: same size, for odd kernels"},
        {"left", "N", "padding"},
        {"right", "N", "padding"},
        {"padding_mode", "zeros|reflect|replicate|circular", "zeros"},
        {"dilation", "N", "1"},
        {"groups", "N", "1"}},
       nullptr,
       make_conv1d},
      {"conv_transpose1d",
       "transposed convolution, as PyTorch's ConvTranspose1d",
       "x [N,C,L], weight [C,M/groups,K], bias [M] optional",
       {{"stride", "N", "1"}, {"padding", "N", "0"}, {"output_padding", "N", "0"}, {"dilation", "N", "1"}, {"groups", "N", "1"}},
       nullptr,
       make_conv_transpose1d},
      {"pad",
       "values added around the last two axes",
       "x, rank 1 to 8",
       {{"padding", "N, NxN or left,right,top,bottom", "0"},
        {"mode", "zeros|reflect|replicate|circular", "zeros"},
        {"value", "number", "0; for mode zeros"}},
       make_pad},
      {"interpolate",
       "another size, as PyTorch's interpolate",
       "x [N,C,H,W]",
       {{"size", "N or NxN", "either this"},
        {"scale", "number", "or this; scale_h and scale_w for one axis"},
        {"scale_h", "number", "scale"},
        {"scale_w", "number", "scale"},
        {"mode", "nearest|nearest_exact|bilinear|bicubic", "nearest"},
        {"align_corners", "true|false", "false"},
        {"antialias", "true|false", "false"},
        {"recompute_scale_factor", "true|false", "false"}},
       make_interpolate},
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
  };
  return entries;
}

}  // namespace frieze::tools
