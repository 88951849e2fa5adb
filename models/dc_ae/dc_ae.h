#pragma once
/// DC-AE, the deep compression autoencoder (AutoencoderDC in diffusers): arXiv:2410.10733.
#include <frieze/models/dc_ae/blocks.h>
#include <frieze/models/dc_ae/config.h>

namespace frieze FRIEZE_API {

class Weights;

/// image [N,3,H,W] in [-1,1], H and W multiples of config.ratio() -> latent [N,L,H/f,W/f], not scaled.
struct DcAeEncoder final : Module {
  explicit DcAeEncoder(const DcAeConfig& config);
  Value forward(Value image) const override;

 private:
  DcAeConfig config_;
  std::unique_ptr<Module> conv_in_;
  ModuleList<Sequential> down_blocks_;
  Conv2d conv_out_;
};

/// latent [N,L,h,w], not scaled -> image [N,3,h*f,w*f], not clamped.
struct DcAeDecoder final : Module {
  explicit DcAeDecoder(const DcAeConfig& config);
  Value forward(Value latent) const override;

 private:
  DcAeConfig config_;
  Conv2d conv_in_;
  ModuleList<Sequential> up_blocks_;  // by stage: executed from the last to the first
  RMSNorm2d norm_out_;
  std::unique_ptr<Module> conv_out_;
};

enum class DcAeParts : std::uint8_t { both, encoder, decoder };

/// Both halves, or one of them where the other is not needed.
struct DcAe final : Module {
  DcAeConfig config;
  std::unique_ptr<DcAeEncoder> encoder;
  std::unique_ptr<DcAeDecoder> decoder;
  explicit DcAe(DcAeConfig config, DcAeParts parts = DcAeParts::both);
  /// decoder(encoder(image))
  Value forward(Value image) const override;
};

}  // namespace FRIEZE_API
