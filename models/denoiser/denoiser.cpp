#include <frieze/models/denoiser/denoiser.h>

#include <frieze/core/load.h>

namespace frieze {

Denoiser::Denoiser(DenoiserOutput output) : output(output) {
  const auto fill = [](ModuleList<DenoiserBlock>& blocks, int channels) {
    for (int i = 0; i < 2; ++i) blocks.emplace_back(channels);
  };
  fill(enc0, 48), fill(enc1, 96), fill(enc2, 128), fill(middle, 192), fill(dec2, 128), fill(dec1, 96), fill(dec0, 48);
  add("stem", stem), add("head", head);
  add("down0", down0), add("down1", down1), add("down2", down2), add("up2", up2), add("up1", up1), add("up0", up0);
  add("enc0", enc0), add("enc1", enc1), add("enc2", enc2), add("middle", middle), add("dec2", dec2), add("dec1", dec1), add("dec0", dec0);
}

void load_trained(Denoiser& model) { load(model, Weights::view(denoiser_weights(), "the denoiser's weights in this program")); }

}  // namespace frieze
