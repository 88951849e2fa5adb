#pragma once
/// The parts of the table of layers, one a family; layer_registry.cpp puts them together.
#include <memory>
#include <span>
#include <string>

#include <frieze/core/error.h>
#include <frieze/core/size2d.h>

#include "tools/frieze/layer_registry.h"

namespace frieze::tools {

std::span<const LayerEntry> elementwise_entries();
std::span<const LayerEntry> attention_entries();
std::span<const LayerEntry> norm_entries();
std::span<const LayerEntry> spatial_entries();

/// The shape of tensor `name`. Throws ShapeError, beginning with `who`, if there is none or it has another rank.
const Shape& shape_of(const Tensors& tensors, const std::string& name, int rank, const char* who);
/// "2" or "2x3"; `fallback` if the setting is not given.
Size2d size_setting(Settings& settings, const std::string& key, const Size2d& fallback);

/// A layer without options.
template <class L>
std::shared_ptr<Layer> make_plain(const Tensors&, Settings&) {
  return std::make_shared<L>();
}

/// A layer made from one whole number that has no default.
template <class L>
std::shared_ptr<Layer> make_with_factor(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("factor"), "needs --set factor=N");
  return std::make_shared<L>(settings.integer("factor", 1));
}

}  // namespace frieze::tools
