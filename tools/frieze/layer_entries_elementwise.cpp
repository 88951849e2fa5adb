#include <frieze/core/error.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/concat/concat.h>
#include <frieze/layers/elementwise/elementwise.h>
#include <frieze/layers/gated_silu/gated_silu.h>
#include <frieze/layers/slice/slice.h>

#include "tools/frieze/layer_entries.h"

namespace frieze::tools {
namespace {

template <Activation kFunction>
std::shared_ptr<Layer> make_activation(const Tensors&, Settings&) {
  return std::make_shared<ActivationLayer>(kFunction);
}

std::shared_ptr<Layer> make_scale(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("factor"), "scale: needs --set factor=NUMBER");
  return std::make_shared<Scale>(static_cast<float>(settings.number("factor", 1)));
}

std::shared_ptr<Layer> make_slice(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("begin") && settings.has("end"), "slice: needs --set begin=N and --set end=N");
  return std::make_shared<Slice>(settings.integer("begin", 0), settings.integer("end", 0));
}

}  // namespace

std::span<const LayerEntry> elementwise_entries() {
  static const std::vector<LayerEntry> entries = {
      {"relu", "max(x, 0)", "x", {}, make_activation<Activation::relu>},
      {"silu", "x * sigmoid(x)", "x", {}, make_activation<Activation::silu>},
      {"gelu", "x * Phi(x), by erf", "x", {}, make_activation<Activation::gelu>},
      {"gelu_tanh", "the tanh form of gelu", "x", {}, make_activation<Activation::gelu_tanh>},
      {"sigmoid", "1 / (1 + exp(-x))", "x", {}, make_activation<Activation::sigmoid>},
      {"add", "x + x2, with broadcasting", "x, x2", {}, make_plain<Add>},
      {"mul", "x * x2, with broadcasting", "x, x2", {}, make_plain<Mul>},
      {"scale", "factor * x", "x", {{"factor", "NUMBER", "required"}}, make_scale},
      {"concat", "the inputs side by side along the channels", "x, x2, x3, ... x9", {}, make_plain<Concat>},
      {"slice", "channels begin to end - 1", "x", {{"begin", "N", "required"}, {"end", "N", "required"}}, make_slice},
      {"gated_silu", "first half of the channels * silu(second half)", "x [N,2C,...]", {}, make_plain<GatedSiLU>},
  };
  return entries;
}

}  // namespace frieze::tools
