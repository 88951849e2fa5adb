#include <frieze/models/dc_ae/checkpoint.h>

#include <algorithm>
#include <set>
#include <span>

#include <frieze/core/error.h>
#include <frieze/core/load.h>
#include <frieze/core/mapped_file.h>

namespace frieze {
namespace {

namespace fs = std::filesystem;

bool replace(std::string& text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  if (at == std::string::npos) return false;
  text.replace(at, from.size(), to);
  return true;
}

// Where a parameter of the model comes from: one tensor, or the rows of three.
std::vector<std::string> diffusers_names(const std::string& key) {
  const std::string qkv = "attn.qkv.weight";
  if (!key.ends_with(qkv)) return {key};
  const std::string prefix = key.substr(0, key.size() - qkv.size());
  return {prefix + "attn.to_q.weight", prefix + "attn.to_k.weight", prefix + "attn.to_v.weight"};
}

// 1x1 convolutions of attention are matrices in diffusers.
Shape diffusers_shape(const std::string& key, Shape shape) {
  if (key.ends_with("attn.qkv.weight")) return Shape{shape[0] / 3, shape[1]};
  return key.ends_with("attn.to_out.weight") ? Shape{shape[0], shape[1]} : shape;
}

std::int64_t extent_or_one(const Shape& s, int axis) { return axis < s.rank() ? s[axis] : 1; }

// Equal but for extents of 1 at the end.
bool same_shape(const Shape& a, const Shape& b) {
  for (int i = 0; i < std::max(a.rank(), b.rank()); ++i) {
    if (extent_or_one(a, i) != extent_or_one(b, i)) return false;
  }
  return true;
}

bool has_batch_count(const std::set<std::string>& used, const std::string& name) {
  const std::string suffix = "num_batches_tracked";
  return name.ends_with(suffix) && used.contains(name.substr(0, name.size() - suffix.size()) + "running_var");
}

// A folder of Hugging Face's cache, "models--owner--name": the snapshot that its branch main names, or the only one.
fs::path snapshot_of(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> found;
  for (fs::directory_iterator it(folder / "snapshots", error), end; !error && it != end; it.increment(error)) found.push_back(it->path());
  if (found.size() == 1) return found.front();
  try {
    const MappedFile file(folder / "refs" / "main");
    constexpr std::uint64_t kMostBytes = 100;
    std::string commit(static_cast<std::size_t>(std::min(file.size(), kMostBytes)), '\0');
    file.read(0, std::as_writable_bytes(std::span(commit)));
    while (!commit.empty() && (commit.back() == '\n' || commit.back() == ' ')) commit.pop_back();
    for (const fs::path& path : found) {
      if (path.filename() == commit) return path;
    }
  } catch (const IoError&) {  // no such branch here
  }
  throw IoError(
      concat_text(printable(folder.string()), ": ", found.size(), " snapshots, and refs/main names none of them: give the folder of one"));
}

// The names that the half which `model` lacks would have: those of one with the same blocks and next to no channels.
std::vector<std::string> other_half(const DcAe& model) {
  if (model.encoder && model.decoder) return {};
  DcAeConfig narrow = model.config;
  for (auto* stages : {&narrow.encoder, &narrow.decoder}) {
    for (DcAeStage& stage : *stages) stage.width = 4 * narrow.head_dim;
  }
  narrow.latent_channels = 1;
  std::vector<std::string> names;
  for (const DcAeTensor& t : dc_ae_tensors(DcAe(narrow, model.encoder ? DcAeParts::decoder : DcAeParts::encoder))) names.push_back(t.name);
  return names;
}

}  // namespace

std::vector<DcAeTensor> dc_ae_tensors(const DcAe& model) {
  std::vector<DcAeTensor> tensors;
  const Module& root = model;
  root.visit_parameters([&](const std::string& key, const Parameter& p) {
    for (const std::string& name : diffusers_names(key)) tensors.push_back({name, diffusers_shape(key, p.shape)});
  });
  return tensors;
}

std::string dc_ae_original_name(const std::string& diffusers_name, const DcAeConfig& config) {
  std::string name = diffusers_name;
  const bool encoder = name.starts_with("encoder.");
  // The heads.
  const std::string in = encoder ? "encoder.conv_in." : "decoder.conv_in.", out = encoder ? "encoder.conv_out." : "decoder.conv_out.";
  if (name.starts_with(in)) {
    replace(name, in, encoder ? "encoder.project_in.conv." : "decoder.project_in.main.conv.");
    return name;
  }
  if (name.starts_with(out)) {
    replace(name, out, encoder ? "encoder.project_out.main.op_list.0.conv." : "decoder.project_out.op_list.2.conv.");
    return name;
  }
  if (replace(name, "decoder.norm_out.", "decoder.project_out.op_list.0.")) return name;

  replace(name, encoder ? ".down_blocks." : ".up_blocks.", ".stages.");
  const std::size_t stage_at = std::string("encoder.stages.").size();  // as long as "decoder.stages."
  replace(name, name.substr(stage_at, name.find('.', stage_at) - stage_at) + ".",
          name.substr(stage_at, name.find('.', stage_at) - stage_at) + ".op_list.");
  const bool attention = name.find(".attn.") != std::string::npos, glu = name.find(".conv_out.") != std::string::npos;
  if (attention) {
    for (const char* part : {".to_q.", ".to_k.", ".to_v."}) replace(name, part, ".qkv.conv.");
    replace(name, ".attn.norm_out.", ".attn.proj.norm."), replace(name, ".to_out.", ".proj.conv.");
    replace(name, ".to_qkv_multiscale.", ".aggreg.");
    replace(name, ".proj_in.", ".0."), replace(name, ".proj_out.", ".1.");
    replace(name, ".attn.", ".context_module.main.");
  } else if (glu) {
    replace(name, ".conv_inverted.", ".inverted_conv.conv."), replace(name, ".conv_depth.", ".depth_conv.conv.");
    replace(name, ".conv_point.", ".point_conv.conv."), replace(name, ".conv_out.norm.", ".conv_out.point_conv.norm.");
    replace(name, ".conv_out.", ".local_module.main.");
  } else if (name.find(".conv1.") != std::string::npos) {
    replace(name, ".conv1.", ".main.conv1.conv.");
  } else if (name.find(".conv2.") != std::string::npos) {
    replace(name, ".conv2.", ".main.conv2.conv.");
  } else if (!replace(name, ".norm.", ".main.conv2.norm.")) {
    const bool plain = encoder && !config.pixel_unshuffle;  // a strided convolution; every other kind wraps its own
    replace(name, ".conv.", plain ? ".main.conv." : ".main.conv.conv.");
  }
  return name;
}

DcAeFiles find_dc_ae(const fs::path& path) {
  std::error_code ignored;
  const std::string name = printable(path.string());
  if (!fs::is_directory(path, ignored)) {
    if (path.filename() == "model_index.json") return find_dc_ae(path.has_parent_path() ? path.parent_path() : fs::path("."));
    if (path.extension() == ".json" && !path.filename().string().ends_with(".safetensors.index.json")) {
      return {path, path.has_parent_path() ? path.parent_path() : fs::path(".")};
    }
    const fs::path config = path.parent_path() / "config.json";
    check<IoError>(
        !fs::exists(path, ignored) || fs::exists(config, ignored), name,
        ": a file of weights needs the config.json of its folder, which is not there: give the folder, or a published variant's name "
        "and these weights");
    return {config, path};
  }
  if (fs::exists(path / "config.json", ignored)) return {path / "config.json", path};
  if (fs::exists(path / "vae" / "config.json", ignored)) return {path / "vae" / "config.json", path / "vae"};
  if (fs::is_directory(path / "snapshots", ignored)) return find_dc_ae(snapshot_of(path));
  check<IoError>(!fs::exists(path / "model_index.json", ignored), name,
                 ": a pipeline without a folder vae that has a config.json: download that folder too");
  throw IoError(name + ": no config.json in this folder, nor in a folder vae of it");
}

Weights open_dc_ae_weights(const fs::path& path, const std::string& variant) {
  std::error_code ignored;
  fs::path at = path;
  if (fs::is_directory(at, ignored) && fs::is_directory(at / "snapshots", ignored)) at = snapshot_of(at);
  if (fs::is_directory(at, ignored) && fs::exists(at / "vae" / "config.json", ignored)) at /= "vae";
  for (const char* name : {"diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model.safetensors", "model.safetensors"}) {
    if (variant.empty() && fs::exists(at / name, ignored)) return Weights::open(at / name);
  }
  return Weights::open(at, variant);
}

void check_dc_ae_blocks(const DcAeConfig& config, DcAeParts parts, const Weights& weights) {
  std::size_t blocks = 0;
  const auto count = [&](const std::vector<DcAeStage>& stages) {
    for (const DcAeStage& stage : stages) blocks += static_cast<std::size_t>(stage.depth) * (1 + stage.multiscale.size());
  };
  if (parts != DcAeParts::decoder) count(config.encoder);
  if (parts != DcAeParts::encoder) count(config.decoder);
  check<WeightsError>(blocks <= weights.tensors().size(), weights.source(), ": ", weights.tensors().size(),
                      " tensors, but config.json claims ", blocks, " blocks, each of several tensors");
}

void load_dc_ae(DcAe& model, const Weights& file) {
  std::set<std::string> expected;
  for (const DcAeTensor& t : dc_ae_tensors(model)) {
    expected.insert(t.name);
    expected.insert(dc_ae_original_name(t.name, model.config));
  }
  const Weights weights = without_foreign_prefix(file, expected);
  const auto& tensors = weights.tensors();
  const bool original = std::any_of(tensors.begin(), tensors.end(), [](const auto& t) {
    return t.first.starts_with("encoder.stages.") || t.first.starts_with("decoder.stages.") || t.first.starts_with("encoder.project_") ||
           t.first.starts_with("decoder.project_");
  });
  std::set<std::string> used;
  std::vector<std::pair<Parameter*, std::vector<std::string>>> sources;
  Module& root = model;
  root.visit_parameters([&](const std::string& key, Parameter& p) {
    std::vector<std::string> names = diffusers_names(key);
    Shape expected = diffusers_shape(key, p.shape);
    if (original) {
      names = {dc_ae_original_name(names.front(), model.config)};
      expected = p.shape;
    }
    for (const std::string& name : names) {
      check<WeightsError>(weights.contains(name), weights.source(), ": no tensor '", name, "', expected with shape ", expected);
      const Shape& got = weights.at(name).shape;
      check<WeightsError>(same_shape(got, expected), weights.source(), ": tensor '", name, "': expected shape ", expected, ", got ", got);
      used.insert(name);
    }
    sources.emplace_back(&p, std::move(names));
  });
  const char* lacked = model.encoder ? "decoder." : "encoder.";
  const bool whole_file = std::any_of(tensors.begin(), tensors.end(), [&](const auto& t) { return t.first.starts_with(lacked); });
  for (std::string name : whole_file ? other_half(model) : std::vector<std::string>()) {
    if (original) name = dc_ae_original_name(name, model.config);
    check<WeightsError>(weights.contains(name), weights.source(), ": no tensor '", name, "'");
    used.insert(std::move(name));
  }
  for (const auto& [name, tensor] : tensors) {
    check<WeightsError>(used.contains(name) || has_batch_count(used, name), weights.source(), ": tensor '", printable(name), "' of shape ",
                        tensor.shape, " is not part of this model (", model.config.name, ")");
  }
  fill_parameters(sources, weights);
}

}  // namespace frieze
