#pragma once
/// Attention: softmax of products of queries and keys, as weights of values.
#include <optional>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

struct AttentionOptions {
  bool is_causal = false;            ///< query i sees the keys 0 to i, whatever the lengths are; not together with a mask
  std::optional<double> scale = {};  ///< of the products; none: 1 / sqrt(D)
  bool enable_gqa = false;           ///< k and v may have fewer heads, which divide those of q: head h takes head h / (heads / theirs)
};

/// y[n,h,i,:] = sum_j w[i,j] * v[n,h,j,:], w[i,:] = softmax over j of scale * dot(q[n,h,i,:], k[n,h,j,:]) + mask[n,h,i,j]
/// q: [N,heads,L,D], k: [N,heads,S,D], v: [N,heads,S,E], y: [N,heads,L,E], f32|f16|bf16, one type; row-major (nchw), any strides. N and
/// heads may be left out, or 1 in k and v for all of q's; y may not overlap an input.
/// mask, if there is one, is a fourth input that broadcasts to [N,heads,L,S]: i32 or i64, where 0 hides a key and anything else does not;
/// or f32 or the type of q, which is added. A hidden key has no weight, even if its product is NaN. So has an added -Inf, unless the
/// product is NaN or +Inf.
/// A row without any key (all hidden, or all scores -Inf) is 0, as in PyTorch. A score of NaN or +Inf makes its row NaN. Unspecified, NaN
/// or not: rows for which a v of NaN or Inf has a weight of 0, and rows with products or sums of products past the range of f32.
/// Reference in double. Kernels: scores, statistics and sums in f32; f16 and bf16 round the weights, relative to the largest of the row, to
/// their type before they multiply v; one rounding at the store. f32 is true f32. No matrix of scores is ever whole in memory: f16 and bf16
/// up to D = 512 keep scores in registers, else some rows of them at a time lie in at most 32 MiB of workspace (one row of S, if longer).
/// Moves q, k, v, mask and y once; 2*N*heads*L*S*(D+E) flop.
/// Throws OptionError (in the constructor) on a scale that is not finite; ShapeError on other than 3 or 4 inputs, ranks other than 2 to 4
/// or that differ, extents that do not fit, a mask with is_causal; DTypeError on types that do not fit.
/// Source: PyTorch 2.x scaled_dot_product_attention; the running softmax of arXiv:2205.14135 and arXiv:1805.02867.
class ScaledDotProductAttention final : public Layer {
 public:
  explicit ScaledDotProductAttention(AttentionOptions options = {});

  const AttentionOptions& options() const { return options_; }
  /// The scale of products of `width` terms.
  double scale(std::int64_t width) const;

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  FormatRule formats(std::span<const TensorSpec>) const override { return {.nchw = true, .nhwc = false, .prefers = {}}; }
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::no, .out = Strided::any};
  }
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  double typical_size(std::span<const TensorView> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<ScaledDotProductAttention>(options_)); }
  std::string_view type_name() const override { return "ScaledDotProductAttention"; }

 private:
  AttentionOptions options_;
};

/// The sizes of one application, from shapes that infer() took.
struct AttentionSizes {
  std::int64_t n = 1, heads = 1, rows = 1, keys = 1, width = 1, value_width = 1;
  std::int64_t k_heads = 1, v_heads = 1;
  explicit AttentionSizes(const Shape& q, const Shape& k, const Shape& v);
};

/// As PyTorch's function of this name takes its arguments: scaled_dot_product_attention(q, k, v, {.mask = m, .scale = 0.1}).
struct AttentionArguments {
  Value mask = {};  ///< empty: none
  bool is_causal = false;
  std::optional<double> scale = {};
  bool enable_gqa = false;
};
Value scaled_dot_product_attention(Operand q, Operand k, Operand v, const AttentionArguments& arguments = {});

}  // namespace FRIEZE_API
