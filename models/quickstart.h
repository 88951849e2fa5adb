#pragma once
/// The example to read first: an image-to-image network composed of layers. Nothing here was trained: sharpen() sets every
/// weight by hand, so that what each layer does can be seen in the picture.
#include <frieze/core/module_list.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/elementwise/elementwise.h>
#include <frieze/layers/rms_norm2d/rms_norm2d.h>

namespace frieze FRIEZE_API {

/// y = x + conv2(silu(conv1(norm(x)))): [N,C,H,W] in and out.
struct QuickstartBlock final : Module {
  RMSNorm2d norm;
  Conv2d conv1, conv2;
  explicit QuickstartBlock(int c) : norm(c), conv1(c, c, 3, {.padding = 1}), conv2(c, c, 3, {.padding = 1}) {
    add("norm", norm), add("conv1", conv1), add("conv2", conv2);  // a module's path is its weights' key: "blocks.0.conv1.weight"
  }
  Value forward(Value x) const override { return x + conv2(silu(conv1(norm(x)))); }
};

/// y = x + head(blocks(stem(x))): x, y [N,3,H,W], colours in [0,1]. Any size, f32, f16 or bf16.
struct Quickstart final : Module {
  static constexpr int kChannels = 16;
  Conv2d stem{3, kChannels, 5, {.padding = 2}}, head{kChannels, 3, 3, {.padding = 1}};
  ModuleList<QuickstartBlock> blocks;
  explicit Quickstart(int depth = 2) {
    for (int i = 0; i < depth; ++i) blocks.emplace_back(kChannels);
    add("stem", stem), add("blocks", blocks), add("head", head);
  }
  Value forward(Value x) const override { return x + head(blocks(stem(x))); }
};

/// Weights that sharpen with automatic gain: the stem finds detail, each block adds detail divided by its root mean square,
/// which lifts faint texture more than strong edges, and the head puts it back into the picture.
void sharpen(Quickstart& model);

}  // namespace FRIEZE_API
