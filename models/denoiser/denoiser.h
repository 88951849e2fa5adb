#pragma once
/// The denoiser: a compact residual U-Net that removes Gaussian noise from photographs, of which it need not know the strength.
/// Its weights are part of the library; models/denoiser/README.md says how they were made and how good they are.
#include <cstddef>
#include <cstdint>
#include <span>

#include <frieze/core/module_list.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/elementwise/elementwise.h>
#include <frieze/layers/pixel_shuffle/pixel_shuffle.h>
#include <frieze/layers/rms_norm2d/rms_norm2d.h>

namespace frieze FRIEZE_API {

/// A gated depthwise block, then a gated pointwise block, both residual:
///   n = norm1(x), x + project(silu(mix(value(n))) * gate(n)); then n = norm2(x), x + down(silu(a(n)) * b(n)).
struct DenoiserBlock final : Module {
  RMSNorm2d norm1, norm2;
  Conv2d value, mix, gate, project, a, b, down;
  explicit DenoiserBlock(int c)
      : norm1(c),
        norm2(c),
        value(c, c, 1),
        mix(c, c, 3, {.padding = 1, .groups = c}),
        gate(c, c, 1),
        project(c, c, 1),
        a(c, c, 1),
        b(c, c, 1),
        down(c, c, 1) {
    add("norm1", norm1), add("norm2", norm2), add("value", value), add("mix", mix), add("gate", gate), add("project", project);
    add("a", a), add("b", b), add("down", down);
  }
  Value forward(Value x) const override {
    // The depthwise convolution comes first: it can take the activation and the gate into its store, which leaves a plain product.
    Value n = norm1(x), inner = silu(mix(value(n)));
    x = x + project(inner * gate(n));
    n = norm2(x);
    inner = silu(a(n));
    return x + down(inner * b(n));
  }
};

/// What a denoiser gives: the picture, or what has to be added to its input to get it. A change is some hundredths of the range: a 16-bit
/// type holds it ten times as finely as the picture, so callers that add in f32 lose less, as PhotoDenoiser does.
enum class DenoiserOutput : std::uint8_t { picture, change };

/// change = head(…), picture = x + change: x and both [N,3,H,W], RGB in [0,1]; not clamped. H and W are multiples of kStride (ShapeError
/// otherwise). 48 channels at 1/2 of the size, 96 at 1/4, 128 at 1/8, 192 at 1/16; 1.48 million parameters, 92 GFLOP a megapixel. The
/// strength of the noise is not an input: the network sees it in the picture.
/// Sources: U-Net arXiv:1505.04597; gated blocks after NAFNet arXiv:2204.04676 and GLU arXiv:2002.05202; half the size
/// from the first layer on, FFDNet arXiv:1710.04026.
struct Denoiser final : Module {
  static constexpr int kStride = 16;
  DenoiserOutput output;
  Conv2d stem{12, 48, 3, {.padding = 1}}, head{48, 12, 3, {.padding = 1}};
  Conv2d down0{4 * 48, 96, 1}, down1{4 * 96, 128, 1}, down2{4 * 128, 192, 1};
  Conv2d up2{192, 4 * 128, 1}, up1{128, 4 * 96, 1}, up0{96, 4 * 48, 1};
  ModuleList<DenoiserBlock> enc0, enc1, enc2, middle, dec2, dec1, dec0;
  explicit Denoiser(DenoiserOutput output = DenoiserOutput::picture);
  Value forward(Value x) const override {
    const Value s0 = enc0(stem(pixel_unshuffle(x, 2)));
    const Value s1 = enc1(down0(pixel_unshuffle(s0, 2)));
    const Value s2 = enc2(down1(pixel_unshuffle(s1, 2)));
    Value h = middle(down2(pixel_unshuffle(s2, 2)));
    h = dec2(s2 + pixel_shuffle(up2(h), 2));
    h = dec1(s1 + pixel_shuffle(up1(h), 2));
    h = dec0(s0 + pixel_shuffle(up0(h), 2));
    const Value change = pixel_shuffle(head(h), 2);
    return output == DenoiserOutput::change ? change : x + change;
  }
};

/// The trained weights, a safetensors file that was linked into the program.
std::span<const std::byte> denoiser_weights();

/// Fills `model` with the trained weights.
void load_trained(Denoiser& model);

}  // namespace FRIEZE_API
