// libFuzzer target for the config.json of a DC-AE folder. Mutates values and names of the parsed text; what the reader accepts must be a
// network that can be built, by the rules written down a second time here.
#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include <frieze/core/error.h>
#include <frieze/models/dc_ae/config.h>

#include "fuzz.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

using frieze::fuzz::require;
using Json = nlohmann::json;
using Rng = std::minstd_rand;

std::size_t below(Rng& rng, std::size_t n) { return rng() % n; }

Json strange_value(Rng& rng) {
  static const std::vector<Json> values = {0,
                                           1,
                                           -1,
                                           2,
                                           3,
                                           7,
                                           32,
                                           256,
                                           65536,
                                           65537,
                                           1e300,
                                           -0.5,
                                           true,
                                           false,
                                           nullptr,
                                           "",
                                           "rms_norm",
                                           "silu",
                                           "relu",
                                           "pixel_shuffle",
                                           "conv",
                                           "EfficientViTBlock",
                                           "\n\x1b[31m",
                                           4294967296LL,
                                           INT64_MIN,
                                           UINT64_MAX,
                                           Json::array(),
                                           Json::object(),
                                           Json::array({3, 3, 3}),
                                           Json::array({Json::array({5})})};
  return values[below(rng, values.size())];
}

void mutate(Json& json, Rng& rng) {
  if (json.empty() || !json.is_structured() || below(rng, 6) == 0) {
    json = strange_value(rng);
    return;
  }
  if (json.is_array()) {
    switch (below(rng, 4)) {
      case 0: json.push_back(json[below(rng, json.size())]); return;
      case 1: json.erase(below(rng, json.size())); return;
      default: mutate(json[below(rng, json.size())], rng); return;
    }
  }
  auto member = std::next(json.begin(), static_cast<std::ptrdiff_t>(below(rng, json.size())));
  switch (below(rng, 6)) {
    case 0: json.erase(member); return;
    case 1: json[member.key() + "_"] = *member; return;
    default: mutate(*member, rng); return;
  }
}

bool one_line(const std::string& text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; });
}

void check_stages(const std::vector<frieze::DcAeStage>& stages, int head_dim) {
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const frieze::DcAeStage& stage = stages[i];
    require(stage.width >= 1 && stage.width <= 65536, "a width");
    require(stage.depth >= (i == 0 ? 0 : 1) && stage.depth <= 256, "a depth");
    if (stage.block == frieze::DcAeBlock::efficient_vit) require(stage.width % head_dim == 0, "heads divide a width");
    for (const int kernel : stage.multiscale) require(kernel > 0 && kernel % 2 == 1, "a kernel of the attention is odd");
  }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
  Rng rng(seed + 1);
  Json json = Json::parse(data, data + size, nullptr, false);
  if (json.is_discarded() || below(rng, 10) == 0) return LLVMFuzzerMutate(data, size, max_size);
  for (std::size_t i = 0; i < 1 + below(rng, 3); ++i) mutate(json, rng);
  const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  const std::size_t kept = std::min(text.size(), max_size);
  std::memcpy(data, text.data(), kept);
  return kept;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const frieze::DcAeConfig config = frieze::parse_dc_ae_config({reinterpret_cast<const char*>(data), size}, "config.json");
    require(config.encoder.size() == config.decoder.size() && !config.encoder.empty() && config.encoder.size() <= 16, "stages");
    require(config.ratio() >= 1 && config.latent_channels >= 1 && config.in_channels >= 1 && config.head_dim >= 1, "extents");
    require(one_line(config.name), "a name is one line", config.name);
    check_stages(config.encoder, config.head_dim);
    check_stages(config.decoder, config.head_dim);
  } catch (const frieze::OptionError& e) {
    frieze::fuzz::check_message(e.what(), "config.json");  // any other exception is a finding
  }
  return 0;
}
