// The published variants: section "Numbers" of their papers and repositories.
// Source: mit-han-lab/efficientvit efficientvit/models/efficientvit/dc_ae.py; huggingface/diffusers
// scripts/convert_dcae_to_diffusers.py (scaling factors); dc-ai-projects/DC-Gen dc_ai/aecore/models/dc_ae.py (sana-1.1, lite).
#include <algorithm>

#include <frieze/core/error.h>
#include <frieze/models/dc_ae/config.h>

namespace frieze {
namespace {

struct Variant {
  const char* name;
  std::size_t stages;
  double scaling_factor;
};

constexpr Variant kVariants[] = {
    {"f32c32-in-1.0", 6, 0.3189},    {"f32c32-mix-1.0", 6, 0.4552},   {"f32c32-sana-1.0", 6, 0.41407},
    {"f32c32-sana-1.1", 6, 0.41407}, {"f64c128-in-1.0", 7, 0.2889},   {"f64c128-mix-1.0", 7, 0.4538},
    {"f128c512-in-1.0", 8, 0.4883},  {"f128c512-mix-1.0", 8, 0.3620}, {"lite-f32c32-sana-1.1", 6, 0.41407},
};

// Three stages of residual blocks, then transformer blocks unless `all_residual`; depths past the end repeat the last one.
std::vector<DcAeStage> stages(std::size_t count, const std::vector<int>& depths, bool all_residual, std::vector<int> multiscale) {
  constexpr int kWidths[] = {128, 256, 512, 512, 1024, 1024, 2048, 2048};
  std::vector<DcAeStage> out(count);
  for (std::size_t i = 0; i < count; ++i) {
    const bool residual = all_residual || i < 3;
    out[i].block = residual ? DcAeBlock::residual : DcAeBlock::efficient_vit;
    out[i].width = kWidths[i];
    out[i].depth = depths[std::min(i, depths.size() - 1)];
    if (!residual) out[i].multiscale = multiscale;
  }
  return out;
}

}  // namespace

const std::vector<std::string>& dc_ae_variants() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const Variant& v : kVariants) list.emplace_back(v.name);
    return list;
  }();
  return names;
}

DcAeConfig dc_ae_variant(std::string_view name) {
  const std::string_view asked = name;
  if (name.starts_with("dc-ae-")) name.remove_prefix(6);
  const auto* found = std::find_if(std::begin(kVariants), std::end(kVariants), [&](const Variant& v) { return v.name == name; });
  std::string names;
  for (const Variant& v : kVariants) names += (names.empty() ? "" : ", ") + std::string(v.name);
  check<OptionError>(found != std::end(kVariants), "unknown DC-AE variant '", printable(asked, 80), "': expected ", names);

  const std::size_t n = found->stages;
  const bool lite = name.starts_with("lite"), sana = name.find("sana") != std::string_view::npos;
  DcAeConfig config;
  config.name = found->name;
  config.scaling_factor = found->scaling_factor;
  config.latent_channels = n == 6 ? 32 : n == 7 ? 128 : 512;
  config.encoder = sana ? stages(n, {2, 2, 2, 3}, false, {5}) : stages(n, {0, 4, 8, 2}, false, {});
  config.pixel_unshuffle = !sana;
  config.pixel_shuffle = lite || !sana;
  if (lite) {
    config.decoder = stages(n, {0, 3, 5, 4}, true, {});
    config.decoder_out_activation = Activation::silu;
  } else if (sana) {
    config.decoder = stages(n, {3}, false, {5});
  } else {
    config.decoder = stages(n, {0, 5, 10, 2}, false, {});
    for (std::size_t i = 0; i < 3; ++i) {
      config.decoder[i].norm = DcAeNorm::batch;
      config.decoder[i].activation = Activation::relu;
    }
  }
  return config;
}

}  // namespace frieze
