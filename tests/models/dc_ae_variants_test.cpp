// The published variants against the sizes that are known of them, without their weights.
#include <gtest/gtest.h>

#include <frieze/core/error.h>
#include <frieze/graph/plan.h>
#include <frieze/models/dc_ae/checkpoint.h>

#include "support/reference.h"

namespace frieze::test {
namespace {

struct Sizes {
  const char* name;
  int ratio, latent_channels;
  double scaling_factor;
  std::int64_t encoder_parameters, decoder_parameters;  // without the statistics of batch norm
  std::size_t encoder_tensors, decoder_tensors;         // of the state dict, with them and num_batches_tracked
};

const Sizes kSizes[] = {
    {"f32c32-sana-1.0", 32, 32, 0.41407, 153027104, 159223171, 179, 196},
    {"f32c32-in-1.0", 32, 32, 0.3189, 123172384, 200184076, 150, 212},
    {"f64c128-in-1.0", 64, 128, 0.2889, 264550528, 412345612, 178, 240},
    {"f128c512-in-1.0", 128, 512, 0.4883, 415661056, 705021196, 206, 268},
    {"lite-f32c32-sana-1.1", 32, 32, 0.41407, 153027104, 268154124, 179, 114},
};

std::pair<std::int64_t, std::size_t> count(const DcAeConfig& config, DcAeParts part) {
  const DcAe model(config, part);
  std::int64_t parameters = 0;
  std::size_t tensors = 0;
  for (const DcAeTensor& t : dc_ae_tensors(model)) {
    if (t.name.find(".running_") == std::string::npos) parameters += t.shape.elements();
    tensors += t.name.ends_with(".running_var") ? 2 : 1;  // num_batches_tracked is in the files too
  }
  return {parameters, tensors};
}

TEST(DcAeVariants, HaveTheirPublishedSizes) {
  for (const Sizes& s : kSizes) {
    const DcAeConfig config = dc_ae_variant(s.name);
    EXPECT_EQ(config.ratio(), s.ratio) << s.name;
    EXPECT_EQ(config.latent_channels, s.latent_channels) << s.name;
    EXPECT_EQ(config.scaling_factor, s.scaling_factor) << s.name;
    EXPECT_EQ(count(config, DcAeParts::encoder), std::pair(s.encoder_parameters, s.encoder_tensors)) << s.name;
    EXPECT_EQ(count(config, DcAeParts::decoder), std::pair(s.decoder_parameters, s.decoder_tensors)) << s.name;
  }
}

TEST(DcAeVariants, RewritingTheUpBlocksSavesTheirProducts) {
  const DcAe model(dc_ae_variant("dc-ae-f32c32-sana-1.1"), DcAeParts::decoder);
  const auto flops = [&](bool rewrite) {
    double sum = 0;
    for (const Step& step : optimize(trace(*model.decoder, {{"latent", {1, 32, 16, 16}, DType::bf16}}), {.rewrite = rewrite}).steps) {
      sum += step.flops;
    }
    return sum;
  };
  // 2092.15 GFLOP of products at 512x512; norms, activations and sums add less than a hundredth.
  EXPECT_NEAR(flops(false) / 2092.15e9, 1, 0.01);
  EXPECT_NEAR(flops(true) / 1845.2e9, 1, 0.01);
}

// Two configs as diffusers' conversion of the original models writes them.
constexpr const char* kSana = R"({"_class_name": "AutoencoderDC", "_diffusers_version": "0.32.0", "in_channels": 3, "latent_channels": 32,
  "attention_head_dim": 32, "decoder_act_fns": "silu", "decoder_norm_types": "rms_norm",
  "encoder_block_types": ["ResBlock", "ResBlock", "ResBlock", "EfficientViTBlock", "EfficientViTBlock", "EfficientViTBlock"],
  "decoder_block_types": ["ResBlock", "ResBlock", "ResBlock", "EfficientViTBlock", "EfficientViTBlock", "EfficientViTBlock"],
  "encoder_block_out_channels": [128, 256, 512, 512, 1024, 1024], "decoder_block_out_channels": [128, 256, 512, 512, 1024, 1024],
  "encoder_layers_per_block": [2, 2, 2, 3, 3, 3], "decoder_layers_per_block": [3, 3, 3, 3, 3, 3],
  "encoder_qkv_multiscales": [[], [], [], [5], [5], [5]], "decoder_qkv_multiscales": [[], [], [], [5], [5], [5]],
  "downsample_block_type": "Conv", "upsample_block_type": "interpolate", "scaling_factor": 0.41407})";
constexpr const char* kIn = R"({"_class_name": "AutoencoderDC", "latent_channels": 128,
  "encoder_block_types": ["ResBlock", "ResBlock", "ResBlock", "EfficientViTBlock", "EfficientViTBlock", "EfficientViTBlock", "EfficientViTBlock"],
  "decoder_block_types": ["ResBlock", "ResBlock", "ResBlock", "EfficientViTBlock", "EfficientViTBlock", "EfficientViTBlock", "EfficientViTBlock"],
  "encoder_block_out_channels": [128, 256, 512, 512, 1024, 1024, 2048], "decoder_block_out_channels": [128, 256, 512, 512, 1024, 1024, 2048],
  "encoder_layers_per_block": [0, 4, 8, 2, 2, 2, 2], "decoder_layers_per_block": [0, 5, 10, 2, 2, 2, 2],
  "encoder_qkv_multiscales": [[], [], [], [], [], [], []], "decoder_qkv_multiscales": [[], [], [], [], [], [], []],
  "decoder_norm_types": ["batch_norm", "batch_norm", "batch_norm", "rms_norm", "rms_norm", "rms_norm", "rms_norm"],
  "decoder_act_fns": ["relu", "relu", "relu", "silu", "silu", "silu", "silu"], "scaling_factor": 0.2889})";

void expect_same(const DcAeConfig& a, const DcAeConfig& b) {
  EXPECT_EQ(a.in_channels, b.in_channels);
  EXPECT_EQ(a.latent_channels, b.latent_channels);
  EXPECT_EQ(a.head_dim, b.head_dim);
  EXPECT_EQ(a.pixel_unshuffle, b.pixel_unshuffle);
  EXPECT_EQ(a.pixel_shuffle, b.pixel_shuffle);
  EXPECT_EQ(a.encoder_out_shortcut, b.encoder_out_shortcut);
  EXPECT_EQ(a.decoder_in_shortcut, b.decoder_in_shortcut);
  EXPECT_EQ(a.decoder_out_activation, b.decoder_out_activation);
  EXPECT_EQ(a.scaling_factor, b.scaling_factor);
  for (const auto half : {&DcAeConfig::encoder, &DcAeConfig::decoder}) {
    ASSERT_EQ((a.*half).size(), (b.*half).size());
    for (std::size_t i = 0; i < (a.*half).size(); ++i) {
      const DcAeStage &s = (a.*half)[i], &t = (b.*half)[i];
      EXPECT_EQ(s.block, t.block) << i;
      EXPECT_EQ(s.width, t.width) << i;
      EXPECT_EQ(s.depth, t.depth) << i;
      EXPECT_EQ(s.multiscale, t.multiscale) << i;
      EXPECT_EQ(s.norm, t.norm) << i;
      EXPECT_EQ(s.activation, t.activation) << i;
    }
  }
}

TEST(DcAeVariants, AreWhatTheirConfigsSay) {
  expect_same(dc_ae_variant("f32c32-sana-1.0"), parse_dc_ae_config(kSana, "sana"));
  expect_same(dc_ae_variant("f64c128-in-1.0"), parse_dc_ae_config(kIn, "in"));
  const DcAeConfig original = parse_dc_ae_config(R"({"model_name": "dc-ae-f32c32-mix-1.0"})", "mix");
  expect_same(dc_ae_variant("f32c32-mix-1.0"), original);
  EXPECT_EQ(original.name, "f32c32-mix-1.0");
  EXPECT_EQ(dc_ae_variants().size(), 9U);
}

TEST(DcAeVariants, AnEmptyConfigHasTheDefaultsOfAutoencoderDC) {
  const DcAeConfig c = parse_dc_ae_config("{}", "empty");
  EXPECT_TRUE(c.pixel_unshuffle && c.pixel_shuffle && c.encoder_out_shortcut && c.decoder_in_shortcut);
  EXPECT_EQ(c.scaling_factor, 1);
  EXPECT_EQ(c.encoder.size(), 6U);
  EXPECT_EQ(c.encoder[2].depth, 2);
  EXPECT_EQ(c.encoder[3].depth, 3);
  EXPECT_EQ(c.decoder[5].width, 1024);
  EXPECT_EQ(c.decoder[5].block, DcAeBlock::residual);
  EXPECT_THROW(parse_dc_ae_config(R"({"encoder_block_out_channels": [8, 16]})", "x"), OptionError) << "its other defaults are for 6 stages";
}

TEST(DcAe, RefusesShapesThatDoNotFit) {
  const DcAeConfig small = read_dc_ae_config(FRIEZE_SOURCE_DIR "/tests/golden/dc_ae/in");
  const DcAe model(small);
  EXPECT_NE(message_of<ShapeError>([&] { trace(*model.encoder, {{"x", {1, 3, 12, 8}}}); }).find("multiples of 8"), std::string::npos);
  EXPECT_NE(message_of<ShapeError>([&] { trace(*model.encoder, {{"x", {1, 4, 8, 8}}}); }).find("[N,3,H,W]"), std::string::npos);
  EXPECT_NE(message_of<ShapeError>([&] { trace(*model.decoder, {{"x", {1, 3, 8, 8}}}); }).find("[N,8,h,w]"), std::string::npos);
  const DcAe half(small, DcAeParts::encoder);
  EXPECT_THROW(trace(half, {{"x", {1, 3, 8, 8}}}), OptionError);
}

}  // namespace
}  // namespace frieze::test
