#include <algorithm>
#include <charconv>

#include <frieze/core/error.h>
#include <frieze/layers/channel_shortcut/channel_shortcut.h>
#include <frieze/layers/conv2d/conv2d.h>
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
        {"align_corners", "0|1", "0"},
        {"antialias", "0|1", "0"},
        {"recompute_scale_factor", "0|1", "0"}},
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
