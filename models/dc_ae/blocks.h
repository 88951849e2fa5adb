#pragma once
/// The blocks of DC-AE. Children are named as in diffusers' checkpoints, but for "qkv", which those keep as to_q, to_k and to_v.
#include <frieze/core/module_list.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/batch_norm2d/batch_norm2d.h>
#include <frieze/layers/channel_shortcut/channel_shortcut.h>
#include <frieze/layers/concat/concat.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/elementwise/elementwise.h>
#include <frieze/layers/gated_silu/gated_silu.h>
#include <frieze/layers/linear_attention2d/linear_attention2d.h>
#include <frieze/layers/pixel_shuffle/pixel_shuffle.h>
#include <frieze/layers/rms_norm2d/rms_norm2d.h>
#include <frieze/layers/upsample/upsample.h>
#include <frieze/models/dc_ae/config.h>

namespace frieze FRIEZE_API {
namespace dc_ae {

inline std::unique_ptr<Layer> make_norm(DcAeNorm norm, int c) {
  if (norm == DcAeNorm::batch) return std::make_unique<BatchNorm2d>(c);
  return std::make_unique<RMSNorm2d>(c, RMSNorm2dOptions{.eps = 1e-5, .bias = true});
}

/// x + norm(conv2(act(conv1(x))))
struct ResBlock final : Module {
  Conv2d conv1, conv2;
  ActivationLayer act;
  std::unique_ptr<Layer> norm;
  explicit ResBlock(const DcAeStage& s)
      : conv1(s.width, s.width, 3, {.padding = 1}),
        conv2(s.width, s.width, 3, {.padding = 1, .bias = false}),
        act(s.activation),
        norm(make_norm(s.norm, s.width)) {
    add("conv1", conv1), add("act", act), add("conv2", conv2), add("norm", *norm);
  }
  Value forward(Value x) const override { return x + (*norm)(conv2(act(conv1(x)))); }
};

/// One extra scale of q, k and v: k x k per channel, then d x d per head.
struct AttentionScale final : Module {
  Conv2d proj_in, proj_out;
  AttentionScale(int c, int kernel, int head_dim)
      : proj_in(c, c, kernel, {.padding = kernel / 2, .groups = c, .bias = false}),
        proj_out(c, c, 1, {.groups = c / head_dim, .bias = false}) {
    add("proj_in", proj_in), add("proj_out", proj_out);
  }
  Value forward(Value x) const override { return proj_out(proj_in(x)); }
};

/// x + norm_out(to_out(attention(qkv and its scales side by side)))
struct MultiscaleAttention final : Module {
  int head_dim;
  Conv2d qkv, to_out;
  ModuleList<AttentionScale> scales;
  std::unique_ptr<Layer> norm_out;
  MultiscaleAttention(const DcAeStage& s, int head_dim)
      : head_dim(head_dim),
        qkv(s.width, 3 * s.width, 1, {.bias = false}),
        to_out(s.width * (1 + static_cast<int>(s.multiscale.size())), s.width, 1, {.bias = false}),
        norm_out(make_norm(s.norm, s.width)) {
    for (const int kernel : s.multiscale) scales.emplace_back(3 * s.width, kernel, head_dim);
    add("qkv", qkv), add("to_qkv_multiscale", scales), add("to_out", to_out), add("norm_out", *norm_out);
  }
  Value forward(Value x) const override {
    std::vector<Value> m{qkv(x)};
    for (std::size_t i = 0; i < scales.size(); ++i) m.push_back(scales[i](m[0]));
    return x + (*norm_out)(to_out(linear_attention2d(m.size() == 1 ? m[0] : concat(m), head_dim)));
  }
};

/// x + norm(conv_point(value * silu(gate))), value and gate from conv_depth(silu(conv_inverted(x)))
struct GluMbConv final : Module {
  Conv2d conv_inverted, conv_depth, conv_point;
  RMSNorm2d norm;
  explicit GluMbConv(int c)
      : conv_inverted(c, 8 * c, 1),
        conv_depth(8 * c, 8 * c, 3, {.padding = 1, .groups = 8 * c}),
        conv_point(4 * c, c, 1, {.bias = false}),
        norm(c, {.eps = 1e-5, .bias = true}) {
    add("conv_inverted", conv_inverted), add("conv_depth", conv_depth), add("conv_point", conv_point), add("norm", norm);
  }
  Value forward(Value x) const override { return x + norm(conv_point(gated_silu(conv_depth(silu(conv_inverted(x)))))); }
};

struct EfficientViTBlock final : Module {
  MultiscaleAttention attn;
  GluMbConv conv_out;
  EfficientViTBlock(const DcAeStage& s, int head_dim) : attn(s, head_dim), conv_out(s.width) {
    add("attn", attn), add("conv_out", conv_out);
  }
  Value forward(Value x) const override { return conv_out(attn(x)); }
};

/// Half the resolution.
struct DownBlock final : Module {
  int out;
  bool unshuffle, shortcut;
  Conv2d conv;
  DownBlock(int in, int out, bool unshuffle, bool shortcut)
      : out(out),
        unshuffle(unshuffle),
        shortcut(shortcut),
        conv(in, unshuffle ? out / 4 : out, 3, {.stride = unshuffle ? 1 : 2, .padding = 1}) {
    add("conv", conv);
  }
  Value forward(Value x) const override {
    const Value y = unshuffle ? pixel_unshuffle(conv(x), 2) : conv(x);
    return shortcut ? y + averaging_shortcut(x, out, 2) : y;
  }
};

/// Twice the resolution.
struct UpBlock final : Module {
  int out;
  bool shuffle, shortcut;
  Conv2d conv;
  UpBlock(int in, int out, bool shuffle, bool shortcut)
      : out(out), shuffle(shuffle), shortcut(shortcut), conv(in, shuffle ? 4 * out : out, 3, {.padding = 1}) {
    add("conv", conv);
  }
  Value forward(Value x) const override {
    const Value y = shuffle ? pixel_shuffle(conv(x), 2) : conv(upsample(x, 2));
    return shortcut ? y + duplicating_shortcut(x, out, 2) : y;
  }
};

}  // namespace dc_ae
}  // namespace FRIEZE_API
