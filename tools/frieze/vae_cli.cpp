// The options of `frieze vae`.
#include "tools/frieze/vae.h"

#include <frieze/models/dc_ae/config.h>

#include "tools/frieze/cli_options.h"

namespace frieze::tools {
namespace {

constexpr const char* kAbout =
    "Encode images to latents and decode latents to images with an autoencoder: today DC-AE, the deep compression autoencoder of SANA.\n"
    "--model is a Hugging Face folder: config.json, which says what the model is, and diffusion_pytorch_model.safetensors, sharded or not.";

std::string footer() {
  std::string text =
      "Pictures are PNG or JPEG, and converted to sRGB. A .safetensors file works at both ends: 'image' [N,3,H,W] in [-1,1], 'latent' "
      "[N,L,h,w], not scaled.\n"
      "Several --in, or a folder, need a folder as --out; all images of one size share one captured graph.\n"
      "With --batch, an image has the same bits beside whatever neighbours: what is missing in a last batch is filled up and dropped.\n"
      "Sizes that are no multiple of the model's patch are padded, and cropped back.\n\n"
      "Published variants, for --model with --weights random:SEED:\n ";
  for (const std::string& name : dc_ae_variants()) text += " " + name;
  return text;
}

void add_options(CLI::App* command, VaeOptions& o, VaeTask task) {
  command->parse_complete_callback([&o, task] { o.task = task; });
  add_text(command, "--model", o.model,
           "Folder with config.json and weights, of a pipeline or of Hugging Face's cache too; or a published variant's name")
      ->required();
  add_texts(command, "--in", o.in, "File or folder; may be repeated")->required()->type_name("PATH");
  CLI::Option* out = add_text(command, "--out", o.out, "File to write, or folder for several inputs");
  if (task != VaeTask::roundtrip) out->required();
  add_text(command, "--weights", o.weights, "Weights from another file or folder, or random:SEED for random ones");
  add_text(command, "--variant", o.variant, "Of several checkpoints in a folder the one of this variant, e.g. fp16");
  add_text(command, "--device", o.device, "auto, cpu, cuda or cuda:N; auto takes the first GPU if there is one");
  add_text(command, "--dtype", o.dtype, "f32, f16 or bf16: the type of weights and values");
  add_whole(command, "--batch", o.batch, 1, 4096,
            "Images that go through the graph at once; of a folder, those of one size [as many as a file holds]");
  add_bytes(command, "--max-memory", o.max_memory, "Refuse, with the bill, a graph that would hold more on the device, e.g. 512M or 1.5G");
  constexpr int kMostPixels = 1 << 20;
  CLI::Option* tile = command->add_flag("--tile", o.tile, "Large images in tiles that are blended; changes the result slightly");
  add_whole(command, "--tile-size", o.tile_size, 1, kMostPixels, "Pixels along one side of a tile [512]")->needs(tile);
  add_whole(command, "--tile-stride", o.tile_stride, 1, kMostPixels, "Pixels from one tile to the next [448]")->needs(tile);
  command->add_flag("--exact", o.exact, "Keep every layer as the model has it: slower, rounds as the original does");
  add_no_rewrite(command, o.no_rewrites);
  command->add_flag("--tf32", o.tf32, "Let f32 matrix products on the GPU use TF32: faster, about three digits");
  command->add_flag("--no-tune", o.no_tune, "Default kernels, instead of the fastest found or cached");
  if (task != VaeTask::decode) {
    add_reading_options(command, o.pictures);
    add_flatten_option(command, o.pictures);
  }
  if (task != VaeTask::encode) add_quality_option(command, o.pictures);
  command->add_flag("--json", o.json, "Report as JSON");
  command->footer(footer());
}

}  // namespace

CLI::App* add_vae(CLI::App& app, VaeOptions& options) {
  CLI::App* vae = app.add_subcommand("vae", kAbout);
  vae->require_subcommand(1);
  vae->footer(footer());
  add_options(vae->add_subcommand("encode", "Images to latents"), options, VaeTask::encode);
  add_options(vae->add_subcommand("decode", "Latents to images"), options, VaeTask::decode);
  add_options(vae->add_subcommand("roundtrip", "Images to latents and back; tells the PSNR"), options, VaeTask::roundtrip);
  return vae;
}

}  // namespace frieze::tools
