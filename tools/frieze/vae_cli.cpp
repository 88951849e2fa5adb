// The options of `frieze dcae`.
#include "tools/frieze/dcae.h"

#include <frieze/models/dc_ae/config.h>

#include "tools/frieze/cli_options.h"

namespace frieze::tools {
namespace {

constexpr const char* kAbout =
    "Encode images to latents and decode latents to images with DC-AE, the deep compression autoencoder of SANA.\n"
    "--model is a Hugging Face folder: config.json and diffusion_pytorch_model.safetensors, sharded or not.";

std::string footer() {
  std::string text =
      "Pictures are PNG or JPEG, and converted to sRGB. A .safetensors file works at both ends: 'image' [N,3,H,W] in [-1,1], 'latent' "
      "[N,L,h,w], not scaled.\n"
      "Several --in, or a folder, need a folder as --out; all images of one size share one captured graph.\n"
      "Sizes that are no multiple of the model's patch are padded, and cropped back.\n\n"
      "Published variants, for --model with --weights random:SEED:\n ";
  for (const std::string& name : dc_ae_variants()) text += " " + name;
  return text;
}

void add_options(CLI::App* command, DcaeOptions& o, DcaeTask task) {
  command->parse_complete_callback([&o, task] { o.task = task; });
  add_text(command, "--model", o.model,
           "Folder with config.json and weights, of a pipeline or of Hugging Face's cache too; or a published variant's name")
      ->required();
  add_texts(command, "--in", o.in, "File or folder; may be repeated")->required()->type_name("PATH");
  CLI::Option* out = add_text(command, "--out", o.out, "File to write, or folder for several inputs");
  if (task != DcaeTask::roundtrip) out->required();
  add_text(command, "--weights", o.weights, "Weights from another file or folder, or random:SEED for random ones");
  add_text(command, "--variant", o.variant, "Of several checkpoints in a folder the one of this variant, e.g. fp16");
  add_text(command, "--device", o.device, "auto, cpu, cuda or cuda:N; auto takes the first GPU if there is one");
  add_text(command, "--dtype", o.dtype, "f32, f16 or bf16: the type of weights and values");
  constexpr int kMostPixels = 1 << 20;
  CLI::Option* tile = command->add_flag("--tile", o.tile, "Large images in tiles that are blended; changes the result slightly");
  add_whole(command, "--tile-size", o.tile_size, 1, kMostPixels, "Pixels along one side of a tile [512]")->needs(tile);
  add_whole(command, "--tile-stride", o.tile_stride, 1, kMostPixels, "Pixels from one tile to the next [448]")->needs(tile);
  command->add_flag("--exact", o.exact, "Keep every layer as the model has it: slower, rounds as the original does");
  command->add_flag("--tf32", o.tf32, "Let f32 matrix products on the GPU use TF32: faster, about three digits");
  command->add_flag("--no-tune", o.no_tune, "Default kernels, instead of the fastest found or cached");
  if (task != DcaeTask::decode) {
    add_reading_options(command, o.pictures);
    add_flatten_option(command, o.pictures);
  }
  if (task != DcaeTask::encode) add_quality_option(command, o.pictures);
  command->add_flag("--json", o.json, "Report as JSON");
  command->footer(footer());
}

}  // namespace

CLI::App* add_dcae(CLI::App& app, DcaeOptions& options) {
  CLI::App* dcae = app.add_subcommand("dcae", kAbout);
  dcae->require_subcommand(1);
  dcae->footer(footer());
  add_options(dcae->add_subcommand("encode", "Images to latents"), options, DcaeTask::encode);
  add_options(dcae->add_subcommand("decode", "Latents to images"), options, DcaeTask::decode);
  add_options(dcae->add_subcommand("roundtrip", "Images to latents and back; tells the PSNR"), options, DcaeTask::roundtrip);
  return dcae;
}

}  // namespace frieze::tools
