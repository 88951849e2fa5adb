#include <frieze/models/dc_ae/dc_ae.h>

#include <frieze/core/error.h>

namespace frieze {

using namespace dc_ae;

namespace {

void append_blocks(Sequential& to, const DcAeStage& stage, int head_dim) {
  for (int j = 0; j < stage.depth; ++j) {
    if (stage.block == DcAeBlock::residual) {
      to.emplace_back<ResBlock>(stage);
    } else {
      to.emplace_back<EfficientViTBlock>(stage, head_dim);
    }
  }
}

// The first stage that exists: an empty stage 0 leaves its resolution to the image's head.
const DcAeStage& finest(const std::vector<DcAeStage>& stages) { return stages[0].depth > 0 ? stages[0] : stages[1]; }

std::unique_ptr<Module> make_conv_in(const DcAeConfig& c) {
  const int width = finest(c.encoder).width;
  if (c.encoder[0].depth > 0) return std::make_unique<Conv2d>(c.in_channels, width, 3, Conv2dOptions{.padding = 1});
  return std::make_unique<DownBlock>(c.in_channels, width, c.pixel_unshuffle, false);
}

std::unique_ptr<Module> make_conv_out(const DcAeConfig& c) {
  const int width = finest(c.decoder).width;
  if (c.decoder[0].depth > 0) return std::make_unique<Conv2d>(width, c.in_channels, 3, Conv2dOptions{.padding = 1});
  return std::make_unique<UpBlock>(width, c.in_channels, c.pixel_shuffle, false);
}

Value activated(Activation f, Value x) { return f == Activation::relu ? relu(x) : silu(x); }

}  // namespace

DcAeEncoder::DcAeEncoder(const DcAeConfig& c)
    : config_(c), conv_in_(make_conv_in(c)), conv_out_(c.encoder.back().width, c.latent_channels, 3, {.padding = 1}) {
  for (std::size_t i = 0; i < c.encoder.size(); ++i) {
    Sequential& stage = down_blocks_.emplace_back();
    append_blocks(stage, c.encoder[i], c.head_dim);
    const bool resamples = i + 1 < c.encoder.size() && c.encoder[i].depth > 0;
    if (resamples) stage.emplace_back<DownBlock>(c.encoder[i].width, c.encoder[i + 1].width, c.pixel_unshuffle, true);
  }
  add("conv_in", *conv_in_), add("down_blocks", down_blocks_), add("conv_out", conv_out_);
}

Value DcAeEncoder::forward(Value image) const {
  const int f = config_.ratio();
  const Shape& s = image.shape();
  check<ShapeError>(s.rank() == 4 && s.c() == config_.in_channels, "DC-AE encodes [N,", config_.in_channels, ",H,W], got ", s);
  check<ShapeError>(s.h() % f == 0 && s.w() % f == 0, "DC-AE encodes images whose height and width are multiples of ", f, ", got ", s);
  const Value x = down_blocks_((*conv_in_)(image));
  return config_.encoder_out_shortcut ? conv_out_(x) + averaging_shortcut(x, config_.latent_channels, 1) : conv_out_(x);
}

DcAeDecoder::DcAeDecoder(const DcAeConfig& c)
    : config_(c),
      conv_in_(c.latent_channels, c.decoder.back().width, 3, {.padding = 1}),
      norm_out_(finest(c.decoder).width, {.eps = 1e-5, .bias = true}),
      conv_out_(make_conv_out(c)) {
  for (std::size_t i = 0; i < c.decoder.size(); ++i) {
    Sequential& stage = up_blocks_.emplace_back();
    const bool resamples = i + 1 < c.decoder.size() && c.decoder[i].depth > 0;
    if (resamples) stage.emplace_back<UpBlock>(c.decoder[i + 1].width, c.decoder[i].width, c.pixel_shuffle, true);
    append_blocks(stage, c.decoder[i], c.head_dim);
  }
  add("conv_in", conv_in_), add("up_blocks", up_blocks_), add("norm_out", norm_out_), add("conv_out", *conv_out_);
}

Value DcAeDecoder::forward(Value latent) const {
  const Shape& s = latent.shape();
  check<ShapeError>(s.rank() == 4 && s.c() == config_.latent_channels, "DC-AE decodes [N,", config_.latent_channels, ",h,w], got ", s);
  Value x = conv_in_(latent);
  if (config_.decoder_in_shortcut) x = x + duplicating_shortcut(latent, config_.decoder.back().width, 1);
  for (std::size_t i = up_blocks_.size(); i-- > 0;) x = up_blocks_[i](x);
  return (*conv_out_)(activated(config_.decoder_out_activation, norm_out_(x)));
}

DcAe::DcAe(DcAeConfig c, DcAeParts parts) : config(std::move(c)) {
  if (parts != DcAeParts::decoder) {
    encoder = std::make_unique<DcAeEncoder>(config);
    add("encoder", *encoder);
  }
  if (parts != DcAeParts::encoder) {
    decoder = std::make_unique<DcAeDecoder>(config);
    add("decoder", *decoder);
  }
}

Value DcAe::forward(Value image) const {
  check<OptionError>(encoder && decoder, "this DC-AE was made without its ", encoder ? "decoder" : "encoder");
  return (*decoder)((*encoder)(image));
}

}  // namespace frieze
