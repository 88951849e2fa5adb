#include <frieze/models/dc_ae/config.h>

#include <set>
#include <sstream>

#include <nlohmann/json.hpp>

#include <frieze/core/checkpoint_files.h>
#include <frieze/core/error.h>
#include <frieze/core/input_file.h>

namespace frieze {
namespace {

using Json = nlohmann::json;

constexpr int kMaxChannels = 1 << 16, kMaxDepth = 256, kMaxDimension = 16;  // beyond any model; keeps every product in range
constexpr std::size_t kMaxFileBytes = 1 << 20, kMaxStages = 16;

// Nothing here is nested more than two deep: what is, is refused before it can be deep enough to hurt.
Json parse_shallow(std::string_view text, const std::string& source) {
  const auto limit = [&](int depth, Json::parse_event_t, Json&) {
    check<OptionError>(depth <= kMaxDimension, source, ": nested more than ", kMaxDimension, " deep");
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), limit);
  } catch (const Json::exception& e) {
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    const bool other = first != std::string_view::npos && text[first] != '{' && text[first] != '[';
    const std::string kind = other ? foreign_kind(text.substr(0, kSniffedBytes)) : std::string();
    check<OptionError>(kind.empty(), source, ": ", kind);
    throw OptionError(concat_text(source, ": no valid JSON: ", printable(e.what(), 200)));
  }
}

// The fields of one config, each with what it must be; remembers which were asked for.
class Fields {
 public:
  Fields(const Json& json, const std::string& source) : json_(json), source_(source) {
    check<OptionError>(json.is_object(), source, ": expected a JSON object, got ", json.type_name());
  }

  const Json* find(const std::string& name) {
    asked_.insert(name);
    const auto it = json_.find(name);
    return it == json_.end() ? nullptr : &*it;
  }

  [[noreturn]] void fail(const std::string& field, const std::string& expected, const Json& got) const {
    const std::string text = got.dump(-1, ' ', true, Json::error_handler_t::replace);
    throw OptionError(concat_text(source_, ": field '", field, "': expected ", expected, ", got ", printable(text, 80)));
  }

  int whole(const std::string& field, const Json& value, int least, int most) const {
    const bool fits = value.is_number_integer() && (!value.is_number_unsigned() || value.get<std::uint64_t>() <= kMaxChannels);
    const std::int64_t v = fits ? value.get<std::int64_t>() : -1;
    if (!fits || v < least || v > most) fail(field, concat_text("a whole number from ", least, " to ", most), value);
    return static_cast<int>(v);
  }
  int integer(const std::string& field, int fallback, int least, int most) {
    const Json* value = find(field);
    return value == nullptr ? fallback : whole(field, *value, least, most);
  }
  bool boolean(const std::string& field, bool fallback) {
    const Json* value = find(field);
    if (value != nullptr && !value->is_boolean()) fail(field, "true or false", *value);
    return value == nullptr ? fallback : value->get<bool>();
  }
  double positive(const std::string& field, double fallback) {
    const Json* value = find(field);
    if (value != nullptr && !(value->is_number() && value->get<double>() > 0)) fail(field, "a positive number", *value);
    return value == nullptr ? fallback : value->get<double>();
  }
  std::string text(const std::string& field, const std::string& fallback) {
    const Json* value = find(field);
    if (value != nullptr && !value->is_string()) fail(field, "a text", *value);
    return value == nullptr ? fallback : value->get<std::string>();
  }

  /// One value per stage: body(element, its field's name, stage). A text stands for all stages; absent: body is not called.
  template <class Body>
  void per_stage(const std::string& field, std::size_t stages, bool one_for_all, Body&& body) {
    const Json* value = find(field);
    if (value == nullptr) return;
    if (one_for_all && value->is_string()) {
      for (std::size_t i = 0; i < stages; ++i) body(*value, field, i);
      return;
    }
    if (!value->is_array() || value->size() != stages) fail(field, concat_text("a list of ", stages, ", one for each stage"), *value);
    for (std::size_t i = 0; i < stages; ++i) body((*value)[i], concat_text(field, "[", i, "]"), i);
  }

  /// Throws if the file has a field that nobody asked for.
  void finish() const {
    for (const auto& [name, value] : json_.items()) {
      check<OptionError>(name.starts_with("_") || asked_.contains(name), source_, ": unknown field '", printable(name, 80), "'");
    }
  }
  const std::string& source() const { return source_; }

 private:
  const Json& json_;
  const std::string& source_;
  std::set<std::string> asked_;
};

template <class E>
E choice(const Fields& fields, const std::string& field, const Json& value, std::initializer_list<std::pair<const char*, E>> known) {
  std::string names;
  for (const auto& [name, meaning] : known) {
    if (value.is_string() && value.get<std::string>() == name) return meaning;
    names += (names.empty() ? "" : " or ") + std::string(name);
  }
  fields.fail(field, names, value);
}

Activation activation(const Fields& fields, const std::string& field, const Json& value) {
  return choice<Activation>(fields, field, value, {{"relu", Activation::relu}, {"silu", Activation::silu}});
}

// The stages of "encoder" or "decoder", `least` to `most` of them; what is absent has the defaults of AutoencoderDC.
std::vector<DcAeStage> parse_stages(Fields& fields, const std::string& side, std::size_t least, std::size_t most) {
  const std::string widths = side + "_block_out_channels";
  std::vector<DcAeStage> stages(6);
  if (const Json* value = fields.find(widths)) {
    if (!value->is_array() || value->size() < least || value->size() > most) {
      fields.fail(widths,
                  least == most ? concat_text("a list of ", least, " widths, as the encoder has")
                                : concat_text("a list of ", least, " to ", most, " widths"),
                  *value);
    }
    stages.resize(value->size());
  }
  constexpr int kWidths[] = {128, 256, 512, 512, 1024, 1024};
  const bool six = stages.size() == std::size(kWidths);
  for (std::size_t i = 0; i < stages.size() && six; ++i) {
    stages[i].width = kWidths[i];
    stages[i].depth = side == "encoder" && i < 3 ? 2 : 3;
    if (i >= 3) stages[i].multiscale = {5};
  }
  for (const std::string& field : {side + "_layers_per_block", side + "_qkv_multiscales"}) {
    check<OptionError>(six || fields.find(field) != nullptr, fields.source(), ": field '", field,
                       "': missing, and its default is for 6 stages");
  }
  fields.per_stage(widths, stages.size(), false, [&](const Json& v, const std::string& field, std::size_t i) {
    stages[i].width = fields.whole(field, v, 1, kMaxChannels);
  });
  fields.per_stage(side + "_layers_per_block", stages.size(), false, [&](const Json& v, const std::string& field, std::size_t i) {
    stages[i].depth = fields.whole(field, v, i == 0 ? 0 : 1, kMaxDepth);
  });
  fields.per_stage(side + "_block_types", stages.size(), true, [&](const Json& v, const std::string& field, std::size_t i) {
    stages[i].block =
        choice<DcAeBlock>(fields, field, v, {{"ResBlock", DcAeBlock::residual}, {"EfficientViTBlock", DcAeBlock::efficient_vit}});
  });
  fields.per_stage(side + "_qkv_multiscales", stages.size(), false, [&](const Json& v, const std::string& field, std::size_t i) {
    if (!v.is_array() || v.size() > kMaxStages) fields.fail(field, "a list of kernel sizes", v);
    stages[i].multiscale.clear();
    for (const Json& kernel : v) {
      stages[i].multiscale.push_back(fields.whole(field, kernel, 1, 63));
      if (stages[i].multiscale.back() % 2 == 0) fields.fail(field, "odd kernel sizes", v);
    }
  });
  return stages;
}

void require(bool ok, const Fields& fields, const std::string& field, const std::string& what) {
  check<OptionError>(ok, fields.source(), ": field '", field, "': ", what);
}

// Everything that a later division or shortcut relies on.
void check_widths(const DcAeConfig& c, const Fields& fields) {
  require(c.encoder.size() == c.decoder.size(), fields, "decoder_block_out_channels",
          concat_text("expected as many stages as the encoder has, ", c.encoder.size(), ", got ", c.decoder.size()));
  for (const bool encoder : {true, false}) {
    const std::string field = encoder ? "encoder_block_out_channels" : "decoder_block_out_channels";
    const std::vector<DcAeStage>& stages = encoder ? c.encoder : c.decoder;
    for (std::size_t i = 0; i < stages.size(); ++i) {
      const DcAeStage& s = stages[i];
      const std::string at = concat_text(field, "[", i, "]");
      require(s.block == DcAeBlock::residual || s.width % c.head_dim == 0, fields, at,
              concat_text("expected a multiple of attention_head_dim ", c.head_dim, ", got ", s.width));
      const bool resamples = i > (stages[0].depth == 0 ? 1U : 0U);
      const int finer = i > 0 ? stages[i - 1].width : 0;
      require(!resamples || 4 * finer % s.width == 0, fields, at,
              concat_text("expected a divisor of 4 times the width before it, 4 * ", finer, ", got ", s.width));
      const bool unshuffles = encoder && c.pixel_unshuffle && i > 0;
      require(!unshuffles || s.width % 4 == 0, fields, at, concat_text("expected a multiple of 4 for pixel_unshuffle, got ", s.width));
    }
    const bool shortcut = encoder ? c.encoder_out_shortcut : c.decoder_in_shortcut;
    require(!shortcut || stages.back().width % c.latent_channels == 0, fields, "latent_channels",
            concat_text("expected a divisor of the ", encoder ? "encoder" : "decoder", "'s last width ", stages.back().width, ", got ",
                        c.latent_channels));
  }
}

}  // namespace

DcAeConfig parse_dc_ae_config(std::string_view json, const std::string& source) {
  const Json root = parse_shallow(json, source);
  Fields fields(root, source);
  if (const Json* variant = fields.find("model_name")) {
    if (!variant->is_string()) fields.fail("model_name", "a text", *variant);
    try {
      DcAeConfig config = dc_ae_variant(variant->get<std::string>());
      fields.finish();
      return config;
    } catch (const OptionError& e) {
      throw OptionError(concat_text(source, ": field 'model_name': ", e.what()));
    }
  }
  for (const char* other : {"architectures", "model_type"}) {  // of the transformers library
    const Json* value = fields.find(other);
    const std::string text = value == nullptr ? std::string() : value->dump(-1, ' ', true, Json::error_handler_t::replace);
    check<OptionError>(value == nullptr, source, ": the config of another model, ", other, " ", printable(text, 80),
                       ", expected AutoencoderDC");
  }
  const std::string kind = fields.text("_class_name", "AutoencoderDC");
  check<OptionError>(kind == "AutoencoderDC", source, ": field '_class_name': expected AutoencoderDC, got '", printable(kind, 80), "'");

  DcAeConfig c;
  c.in_channels = fields.integer("in_channels", 3, 1, kMaxChannels);
  c.latent_channels = fields.integer("latent_channels", 32, 1, kMaxChannels);
  c.head_dim = fields.integer("attention_head_dim", 32, 1, 64);
  c.encoder = parse_stages(fields, "encoder", 2, kMaxStages);
  c.decoder = parse_stages(fields, "decoder", c.encoder.size(), c.encoder.size());
  fields.per_stage("decoder_norm_types", c.decoder.size(), true, [&](const Json& v, const std::string& field, std::size_t i) {
    c.decoder[i].norm = choice<DcAeNorm>(fields, field, v, {{"rms_norm", DcAeNorm::rms}, {"batch_norm", DcAeNorm::batch}});
  });
  fields.per_stage("decoder_act_fns", c.decoder.size(), true,
                   [&](const Json& v, const std::string& field, std::size_t i) { c.decoder[i].activation = activation(fields, field, v); });
  // AutoencoderDC compares with one name and takes every other for the other kind; here both have to be names that are in use.
  if (const Json* v = fields.find("downsample_block_type")) {
    c.pixel_unshuffle = choice<bool>(fields, "downsample_block_type", *v, {{"pixel_unshuffle", true}, {"conv", false}, {"Conv", false}});
  }
  if (const Json* v = fields.find("upsample_block_type")) {
    c.pixel_shuffle = choice<bool>(fields, "upsample_block_type", *v, {{"pixel_shuffle", true}, {"interpolate", false}});
  }
  c.encoder_out_shortcut = fields.boolean("encoder_out_shortcut", true);
  c.decoder_in_shortcut = fields.boolean("decoder_in_shortcut", true);
  if (const Json* v = fields.find("decoder_conv_act_fn")) c.decoder_out_activation = activation(fields, "decoder_conv_act_fn", *v);
  c.scaling_factor = fields.positive("scaling_factor", 1);
  fields.finish();
  check_widths(c, fields);
  return c;
}

DcAeConfig read_dc_ae_config(const std::filesystem::path& path) {
  const std::filesystem::path file = std::filesystem::is_directory(path) ? path / "config.json" : path;
  const std::string name = printable(file.string());
  const std::vector<std::byte> bytes = read_file(file, kMaxFileBytes);
  check<IoError>(!bytes.empty(), name, ": the file is empty");
  return parse_dc_ae_config({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, name);
}

}  // namespace frieze
