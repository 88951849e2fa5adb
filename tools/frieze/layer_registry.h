#pragma once
/// The built-in layers as the command line builds them: from the tensors of a file and key=value settings.
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <frieze/core/layer.h>

namespace frieze::tools {

/// key=value pairs that remember which keys a layer asked for.
class Settings {
 public:
  /// Throws OptionError on a pair without '=' or a key that is there twice.
  explicit Settings(const std::vector<std::string>& pairs);

  bool has(const std::string& key) const { return values_.contains(key); }
  /// Each throws OptionError naming the key if its value is not of that kind.
  std::string text(const std::string& key, std::string fallback);
  double number(const std::string& key, double fallback);
  int integer(const std::string& key, int fallback);
  bool flag(const std::string& key, bool fallback);
  /// "2" or "2x3": rows x columns.
  std::pair<int, int> pair(const std::string& key, int fallback);
  /// Keys that nobody asked for.
  std::vector<std::string> unused() const;

 private:
  const std::string* find(const std::string& key);
  std::map<std::string, std::string> values_;
  std::map<std::string, bool> asked_;
};

using Tensors = std::map<std::string, HostTensor>;

struct SettingHelp {
  std::string_view key, values, meaning;
};

struct LayerEntry {
  std::string_view name, formula, tensors;
  std::vector<SettingHelp> settings;
  /// Builds the layer; sizes come from the tensors' shapes. Throws ShapeError, OptionError. nullptr: it is a module of several steps.
  std::shared_ptr<Layer> (*make)(const Tensors& tensors, Settings& settings);
  std::shared_ptr<Module> (*make_module)(const Tensors& tensors, Settings& settings) = nullptr;
};

std::span<const LayerEntry> layers();
/// Throws OptionError listing the names there are.
const LayerEntry& find_layer(std::string_view name);
/// The table that `frieze op --list` prints.
std::string layer_table();
/// The settings of one layer in one line, for messages: "eps, eps_mode, …" or "none".
std::string setting_keys(const LayerEntry& entry);

/// Values that may follow every layer, before the result is stored.
inline constexpr std::string_view kThenHelp = "an activation (relu, silu, gelu, leaky_relu …), add, mul";

}  // namespace frieze::tools
