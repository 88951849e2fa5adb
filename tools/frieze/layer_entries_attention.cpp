#include <frieze/core/error.h>
#include <frieze/layers/attention/attention.h>
#include <frieze/layers/linear/linear.h>
#include <frieze/layers/linear_attention2d/linear_attention2d.h>
#include <frieze/layers/matmul/matmul.h>
#include <frieze/layers/softmax/softmax.h>

#include "tools/frieze/layer_entries.h"

namespace frieze::tools {
namespace {

// Settings that are not given take the default of the layer's own constructor.
std::shared_ptr<Layer> make_linear_attention2d(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("head_dim"), "linear_attention2d: needs --set head_dim=N");
  const int head_dim = settings.integer("head_dim", 1);
  return settings.has("eps") ? std::make_shared<LinearAttention2d>(head_dim, settings.number("eps", 0))
                             : std::make_shared<LinearAttention2d>(head_dim);
}

std::shared_ptr<Layer> make_linear(const Tensors& tensors, Settings&) {
  const Shape weight = shape_of(tensors, "weight", 2, "linear");
  return std::make_shared<Linear>(weight[1], weight[0], LinearOptions{.bias = tensors.contains("bias")});
}

std::shared_ptr<Layer> make_softmax(const Tensors&, Settings& settings) {
  return settings.has("axis") ? std::make_shared<Softmax>(settings.integer("axis", -1)) : std::make_shared<Softmax>();
}

std::shared_ptr<Layer> make_attention(const Tensors&, Settings& settings) {
  AttentionOptions options;
  options.is_causal = settings.flag("is_causal", options.is_causal);
  options.enable_gqa = settings.flag("enable_gqa", options.enable_gqa);
  if (settings.has("scale")) options.scale = settings.number("scale", 1);
  return std::make_shared<ScaledDotProductAttention>(options);
}

}  // namespace

std::span<const LayerEntry> attention_entries() {
  static const std::vector<LayerEntry> entries = {
      {"linear_attention2d",
       "ReLU linear attention over the pixels, q, k and v side by side for each head",
       "x [N,3*head_dim*heads,H,W]",
       {{"head_dim", "N", "required"}, {"eps", "NUMBER", "1e-15"}},
       make_linear_attention2d},
      {"matmul",
       "x * x2 of the last two axes, the others broadcast",
       "x [...,M,K], x2 [...,K,N], each at least a vector",
       {},
       make_plain<MatMul>},
      {"scaled_dot_product_attention",
       "softmax(scale * x * x2^T + mask) * x3, heads side by side",
       "x [N,heads,L,D], x2 [N,heads,S,D], x3 [N,heads,S,E], x4 a mask that broadcasts to [N,heads,L,S], optional: integers, 0 hides, or "
       "floats",
       {{"is_causal", "true|false", "false"}, {"scale", "NUMBER", "1/sqrt(D)"}, {"enable_gqa", "true|false", "false"}},
       make_attention},
      {"softmax", "exp(x) over its sum along an axis", "x of any shape", {{"axis", "N", "-1"}}, make_softmax},
      {"linear", "x * weight^T + bias", "x [...,K], weight [M,K], bias [M] optional", {}, make_linear},
  };
  return entries;
}

}  // namespace frieze::tools
