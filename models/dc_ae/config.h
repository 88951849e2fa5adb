#pragma once
/// What a DC-AE checkpoint is built like: the fields of AutoencoderDC's config.json, checked.
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

enum class DcAeBlock : std::uint8_t { residual, efficient_vit };
enum class DcAeNorm : std::uint8_t { rms, batch };

/// One resolution of an encoder or decoder. Stage 0 has the image's resolution; each further one has half of it.
struct DcAeStage {
  DcAeBlock block = DcAeBlock::residual;
  int width = 0;                ///< channels
  int depth = 0;                ///< blocks; 0 only in stage 0, which then does not exist
  std::vector<int> multiscale;  ///< kernel of each extra scale of the attention, odd
  DcAeNorm norm = DcAeNorm::rms;
  Activation activation = Activation::silu;
};

struct DcAeConfig {
  std::string name = "AutoencoderDC";  ///< of the published variant, if it is one
  int in_channels = 3, latent_channels = 32, head_dim = 32;
  std::vector<DcAeStage> encoder, decoder;  ///< from stage 0 on
  bool pixel_unshuffle = true;              ///< down blocks; false: strided convolution
  bool pixel_shuffle = true;                ///< up blocks; false: nearest upsampling
  bool encoder_out_shortcut = true, decoder_in_shortcut = true;
  Activation decoder_out_activation = Activation::relu;
  double scaling_factor = 1;

  /// Pixels along one edge of the patch that a latent stands for.
  int ratio() const { return 1 << (encoder.size() - 1); }
};

/// The variants that were published: "f32c32-sana-1.0", …; "dc-ae-" in front is also understood.
const std::vector<std::string>& dc_ae_variants();
/// Throws OptionError listing the names there are.
DcAeConfig dc_ae_variant(std::string_view name);

/// The config.json of a diffusers AutoencoderDC, or an original one that names its variant ("model_name"). Fields that are absent have
/// the defaults of AutoencoderDC; names that begin with "_" are ignored but for "_class_name".
/// Throws OptionError naming `source` and the field: unknown fields and values, wrong types, lists of other lengths than the
/// stages', widths that heads, shortcuts or pixel shuffles cannot divide.
DcAeConfig parse_dc_ae_config(std::string_view json, const std::string& source);
/// The same from a file, or from config.json of a folder. Throws IoError if it cannot be read.
DcAeConfig read_dc_ae_config(const std::filesystem::path& path);

}  // namespace FRIEZE_API
