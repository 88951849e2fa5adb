// DC-AE for the commands about any model: "dcae-encoder:MODEL", "dcae-decoder:MODEL" and "dcae:MODEL", both halves as one graph.
#include <filesystem>

#include <frieze/core/error.h>
#include <frieze/models/dc_ae/checkpoint.h>

#include "tools/frieze/model_registry.h"
#include "tools/image/alpha.h"

namespace frieze::tools {
namespace {

namespace fs = std::filesystem;

std::vector<float> signed_planes(const Image& photo) {
  std::vector<float> values = to_rgb_planes(photo);
  for (float& v : values) v = 2 * v - 1;
  return values;
}

std::vector<float> no_latent(const Image&) { throw OptionError("the decoder's input is a latent, not a picture: use --size"); }

Image picture(const HostTensor& output) {
  const Shape& s = output.spec().shape;
  check<ShapeError>(s.rank() == 4 && s.n() == 1 && s.c() == 3, "the model's output is no picture: expected [1,3,H,W], got ", s);
  std::vector<float> values = output.floats();
  for (float& v : values) v = 0.5f * v + 0.5f;
  return from_planes(values, 3, static_cast<int>(s.h()), static_cast<int>(s.w()));
}

// The half of `model` that `part` names, as a module of its own that keeps the whole alive.
struct Half final : Module {
  DcAe whole;
  DcAeParts part;
  Half(DcAeConfig config, DcAeParts part) : whole(std::move(config), part), part(part) { add("dcae", whole); }
  Value forward(Value x) const override {
    if (part == DcAeParts::both) return whole(x);
    return part == DcAeParts::encoder ? (*whole.encoder)(x) : (*whole.decoder)(x);
  }
};

struct Kind {
  std::string_view prefix;
  DcAeParts part;
  ModelEntry entry;
};

const Kind kKinds[] = {
    {"dcae-encoder:", DcAeParts::encoder, {"dcae-encoder", "", nullptr, nullptr, signed_planes, picture}},
    {"dcae-decoder:", DcAeParts::decoder, {"dcae-decoder", "", nullptr, nullptr, no_latent, picture}},
    {"dcae:", DcAeParts::both, {"dcae", "", nullptr, nullptr, signed_planes, picture}},
};

// The files of the weights, or a published variant's name.
fs::path weights_of(const ModelOptions& options, const std::string& folder) {
  if (!options.weights.empty()) return options.weights;
  return fs::exists(folder) ? find_dc_ae(folder).weights : fs::path(folder);
}

void fill(DcAe& model, const ModelOptions& options, const std::string& folder, std::string& note) {
  check<OptionError>(options.weights.empty() || !options.random_seed, "--weights and --random-weights exclude each other");
  if (options.random_seed) {
    init_random(model, *options.random_seed);
    note = concat_text("random, seed ", *options.random_seed);
    return;
  }
  note = options.weights.empty() ? folder : options.weights;
  check<OptionError>(fs::exists(note), printable(note), ": a published variant's name needs --weights or --random-weights");
  load_dc_ae(model, open_dc_ae_weights(weights_of(options, folder), options.variant));
}

}  // namespace

std::optional<PreparedModel> prepare_dcae(const ModelOptions& options) {
  for (const Kind& kind : kKinds) {
    if (!options.model.starts_with(kind.prefix)) continue;
    const std::string name = options.model.substr(kind.prefix.size());
    const DcAeConfig config = fs::exists(name) ? read_dc_ae_config(find_dc_ae(name).config) : dc_ae_variant(name);
    check_variant(options.variant, options.variant.empty() || options.random_seed ? "" : weights_of(options, name));
    PreparedModel model;
    model.entry = &kind.entry;
    int width = options.width, height = options.height;
    if (!options.photo.empty()) {
      if (kind.part == DcAeParts::decoder) (void)no_latent({});
      const Image header = read_header(options.photo, options.pictures);
      width = header.width, height = header.height;
    }
    const int f = config.ratio();
    check<OptionError>(width % f == 0 && height % f == 0, "DC-AE takes widths and heights that are multiples of ", f, " here, got ", width,
                       "x", height);
    const bool latent = kind.part == DcAeParts::decoder;
    const int channels = latent ? config.latent_channels : config.in_channels, divide = latent ? f : 1;
    model.inputs = {{"x", {1, channels, height / divide, width / divide}, parse_float_dtype(options.dtype)}};
    std::unique_ptr<Half> half;
    const bool random = options.random_seed.has_value();
    if (!random && fs::exists(weights_of(options, name))) {
      check_dc_ae_blocks(config, kind.part, open_dc_ae_weights(weights_of(options, name), options.variant));
    }
    { half = std::make_unique<Half>(config, kind.part); }
    fill(half->whole, options, name, model.weights_note);
    model.module = std::move(half);
    if (options.photo.empty()) return model;
    check_fits(*model.module, model.inputs, pick_device(options.device), options);
    model.photo = with_hidden_filled(read_srgb_picture(options.photo, options.pictures));
    check<IoError>(model.photo.width == width && model.photo.height == height, printable(options.photo), ": changed while in use");
    return model;
  }
  return std::nullopt;
}

}  // namespace frieze::tools
