#include "tools/frieze/layer_registry.h"

#include <frieze/core/error.h>

#include "tools/frieze/layer_entries.h"

namespace frieze::tools {
namespace {

const std::vector<LayerEntry>& table() {
  static const std::vector<LayerEntry> entries = [] {
    std::vector<LayerEntry> all;
    for (const std::span<const LayerEntry> family : {elementwise_entries(), norm_entries(), attention_entries(), spatial_entries()}) {
      all.insert(all.end(), family.begin(), family.end());
    }
    return all;
  }();
  return entries;
}

}  // namespace

const Shape& shape_of(const Tensors& tensors, const std::string& name, int rank, const char* who) {
  const auto it = tensors.find(name);
  check<ShapeError>(it != tensors.end(), who, ": needs a tensor '", name, "'");
  const Shape& shape = it->second.spec().shape;
  check<ShapeError>(shape.rank() == rank, who, ": expects a '", name, "' of rank ", rank, ", got ", shape);
  return shape;
}

Size2d size_setting(Settings& settings, const std::string& key, const Size2d& fallback) {
  if (!settings.has(key)) return fallback;
  const auto [rows, columns] = settings.pair(key, 0);
  return {rows, columns};
}

std::span<const LayerEntry> layers() { return table(); }

const LayerEntry& find_layer(std::string_view name) {
  std::string names;
  for (const LayerEntry& entry : table()) {
    if (entry.name == name) return entry;
    names += (names.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw OptionError(concat_text("unknown layer '", name, "': the page layers/README.md says what there is; expected ", names));
}

std::string setting_keys(const LayerEntry& entry) {
  std::string keys;
  for (const SettingHelp& s : entry.settings) keys += (keys.empty() ? "" : ", ") + std::string(s.key);
  return keys.empty() ? "none" : keys;
}

std::string layer_table() {
  std::string text;
  for (const LayerEntry& entry : table()) {
    text += concat_text(entry.name, ": y = ", entry.formula, "\n    tensors: ", entry.tensors, '\n');
    for (const SettingHelp& s : entry.settings) text += concat_text("    --set ", s.key, '=', s.values, "   (", s.meaning, ")\n");
  }
  return text + concat_text("after any layer: --then STEP, of ", kThenHelp, "; add and mul take the tensor 'residual'\n");
}

}  // namespace frieze::tools
