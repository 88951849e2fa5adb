#include <frieze/core/error.h>
#include <frieze/layers/channel_shortcut/channel_shortcut.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/pixel_shuffle/pixel_shuffle.h>
#include <frieze/layers/upsample/upsample.h>

#include "tools/frieze/layer_entries.h"

namespace frieze::tools {
namespace {

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
        {"padding", "N or NxN", "0; -1: same size, for odd kernels"},
        {"dilation", "N or NxN", "1"},
        {"groups", "N", "1"}},
       make_conv2d},
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
