#include <frieze/core/error.h>
#include <frieze/layers/batch_norm2d/batch_norm2d.h>
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
  };
  return entries;
}

}  // namespace frieze::tools
