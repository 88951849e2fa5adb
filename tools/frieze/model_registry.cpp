#include "tools/frieze/model_registry.h"

#include <filesystem>
#include <utility>

#include <frieze/core/error.h>
#include <frieze/core/host_memory.h>
#include <frieze/core/integers.h>
#include <frieze/core/load.h>
#include <frieze/core/tuning_cache.h>
#include <frieze/graph/memory_bill.h>
#include <frieze/models/denoiser/denoise.h>
#include <frieze/models/denoiser/denoiser.h>
#include <frieze/models/quickstart.h>

#include "tools/frieze/json.h"
#include "tools/frieze/outputs.h"
#include "tools/image/alpha.h"
#include "tools/image/colour.h"

namespace frieze::tools {
namespace {

std::vector<InputSpec> one_rgb_picture(int width, int height, DType dtype) { return {{"x", {1, 3, height, width}, dtype}}; }

Image picture(const HostTensor& output) {
  const Shape& shape = output.spec().shape;
  check<ShapeError>(shape.rank() == 4 && shape.n() == 1, "the model's output is no picture: expected [1,C,H,W], got ", shape);
  return from_planes(output.floats(), static_cast<int>(shape.c()), static_cast<int>(shape.h()), static_cast<int>(shape.w()));
}

std::unique_ptr<Module> make_quickstart() {
  auto model = std::make_unique<Quickstart>();
  sharpen(*model);
  return model;
}

std::unique_ptr<Module> make_denoiser() {
  auto model = std::make_unique<Denoiser>();
  load_trained(*model);
  return model;
}

// Sizes are rounded up to the stride, and the picture that comes out is as much larger; the commands cut it again.
std::int64_t to_stride(std::int64_t extent) { return round_up(extent, int{Denoiser::kStride}); }
std::vector<InputSpec> denoiser_input(int width, int height, DType dtype) {
  return {{"x", {1, 3, to_stride(height), to_stride(width)}, dtype}};
}
std::vector<float> to_padded_planes(const Image& photo) {
  return padded(to_rgb_planes(photo), {photo.height, photo.width},
                {static_cast<int>(to_stride(photo.height)), static_cast<int>(to_stride(photo.width))});
}

constexpr ModelEntry kModels[] = {
    {"denoiser", "removes noise from photographs, with trained weights; see also `frieze denoise`", make_denoiser, denoiser_input,
     to_padded_planes, picture},
    {"quickstart", "sharpens a picture with weights set by hand: the example to read first, models/quickstart.h", make_quickstart,
     one_rgb_picture, to_rgb_planes, picture},
};

}  // namespace

std::span<const ModelEntry> models() { return kModels; }

const ModelEntry& find_model(std::string_view name) {
  std::string names;
  for (const ModelEntry& entry : kModels) {
    if (entry.name == name) return entry;
    names += std::string(entry.name) + ", ";
  }
  names += "dcae:MODEL, dcae-encoder:MODEL, dcae-decoder:MODEL";
  throw OptionError(concat_text("unknown model '", name, "': expected ", names));
}

PreparedModel prepare_model(const ModelOptions& options) {
  if (std::optional<PreparedModel> dcae = prepare_dcae(options)) {
    const LoadOptions& o = options.load;
    check<OptionError>(o.prefix.empty() && o.ignore.empty() && o.rename.empty() && !o.allow_unused,
                       "--prefix, --ignore, --rename and --allow-unused are for other models: DC-AE finds its tensors by itself");
    return std::move(*dcae);
  }
  PreparedModel model;
  model.entry = &find_model(options.model);
  const DType dtype = parse_float_dtype(options.dtype);
  check_variant(options.variant, options.random_seed ? "" : options.weights);
  int width = options.width, height = options.height;
  if (!options.photo.empty()) {
    const Image header = read_header(options.photo, options.pictures);
    width = header.width;
    height = header.height;
  }
  model.inputs = model.entry->inputs(width, height, dtype);
  model.module = model.entry->make();
  if (!options.weights.empty()) {
    check<OptionError>(!options.random_seed, "--weights and --random-weights exclude each other");
    load(*model.module, Weights::open(options.weights, options.variant), options.load);
    model.weights_note = printable(options.weights);
  } else if (options.random_seed) {
    init_random(*model.module, *options.random_seed);
    model.weights_note = concat_text("random, seed ", *options.random_seed);
  } else {
    model.weights_note = "the model's own";
  }
  if (options.photo.empty()) return model;
  check_fits(*model.module, model.inputs, pick_device(options.device), options);
  model.photo = with_hidden_filled(read_picture(options.photo, options.pictures));
  check<IoError>(model.photo.width == width && model.photo.height == height, printable(options.photo), ": changed while in use");
  // The answer has three colours: what a grey picture's profile says of one is said in sRGB.
  if (model.photo.channels <= 2) model.photo = to_srgb(std::move(model.photo));
  tell_notes(options.photo, std::exchange(model.photo.notes, {}));
  return model;
}

void check_variant(const std::string& variant, const std::filesystem::path& weights) {
  std::error_code ignored;
  check<OptionError>(variant.empty() || std::filesystem::is_directory(weights, ignored), "--variant ", variant,
                     ": names one of several checkpoints in a folder, and these weights are in none");
}

void check_fits(const Module& model, const std::vector<InputSpec>& inputs, const Device& device, const ModelOptions& options) {
  if (device.is_cuda()) return;
  const Plan plan = optimize(trace(model, inputs), {.without = options.no_rewrites});
  MemoryBill bill;
  bill.arena = plan_memory(plan, {}).arena_bytes;
  for (const auto* ports : {&plan.inputs, &plan.outputs}) {
    for (const PlanPort& port : *ports) bill.ports += plan.spec(port.value).bytes();
  }
  check_memory(bill.total(), "a model with inputs and outputs of ", readable_bytes(bill.ports), " and intermediate values of ",
               readable_bytes(bill.arena));
  model.visit_parameters([&](const std::string&, const Parameter& p) { bill.weights += 4 * p.shape.elements(); });
  check_bill(bill, options.max_memory);
}

void announce_model(const ModelOptions& options, Outputs& outputs) {
  if (!options.photo.empty()) outputs.reads(options.photo);
  if (!options.weights.empty()) outputs.reads_checkpoint(options.weights);
  // "dcae:FOLDER"; of a published variant's name there is no such file.
  if (const std::size_t colon = options.model.find(':'); colon != std::string::npos) {
    outputs.reads_checkpoint(options.model.substr(colon + 1));
  }
}

Image PreparedModel::picture(const HostTensor& output) const {
  Image image = entry->to_image(output);
  const Shape& in = inputs.front().shape;
  const bool padded = in.h() > photo.height || in.w() > photo.width, as_large = image.height == in.h() && image.width == in.w();
  return padded && as_large ? top_left(image, photo.width, photo.height) : image;
}

std::string PreparedModel::json(const std::string& dtype, const std::string& report) const {
  return JsonObject().add("model", entry->name).add("dtype", dtype).add("weights", weights_note).raw("report", report).text();
}

void fill_input(const PreparedModel& model, Session& net) {
  if (model.has_photo()) return net.input().copy_from(model.photo_input());
  // Not zeros: a device draws less power on zeros and runs faster than on anything real.
  std::vector<float> values(static_cast<std::size_t>(net.input().spec().shape.elements()));
  std::uint32_t state = 1;
  for (float& v : values) {
    state = state * 1664525u + 1013904223u;
    v = static_cast<float>(state >> 8) / static_cast<float>(1 << 24);
  }
  net.input().copy_from(values);
}

Device pick_device(const std::string& text) {
  if (text == "auto") return Device::cuda_count() > 0 ? Device::cuda() : Device::cpu();
  return Device::parse(text);
}

CompileOptions compile_options(const ModelOptions& options, const Device& device) {
  check<OptionError>(!options.tf32 || device.is_cuda(), "--tf32 needs a CUDA device, this run is on the CPU");
  CompileOptions compile;
  compile.passes.without = options.no_rewrites;
  compile.allow_tf32 = options.tf32;
  compile.tune = !options.no_tune;
  compile.tuning_cache = default_tuning_cache_file().string();
  compile.max_memory = options.max_memory;
  return compile;
}

}  // namespace frieze::tools
