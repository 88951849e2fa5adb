#pragma once
/// ReLU linear attention over the pixels of an image.
#include <cstdint>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// With d = head_dim, the channels are groups (heads, of every scale) of 3*d: the first d are q, the next d are k, the last d are v.
/// For each image and group, over all pixels s and t:
///   y[e,t] = sum_s v[e,s] * w[s,t] / (sum_s w[s,t] + eps),   w[s,t] = sum_f relu(k[f,s]) * relu(q[f,t])
/// evaluated without the T x T matrix w, from K[e,f] = sum_s v[e,s] relu(k[f,s]) and its row of ones K[d,f] = sum_s relu(k[f,s]):
///   y[e,t] = sum_f K[e,f] relu(q[f,t]) / (sum_f K[d,f] relu(q[f,t]) + eps).
/// That order serves any number of pixels. Implementations that form w where H*W <= d compute the same function; in 16 bits they
/// also round w, which this does not.
/// x: [N,3*d*G,H,W], y: [N,d*G,H,W], channel g*d + e; f32|f16|bf16, same type and format; must not overlap. v keeps its sign.
/// Products and sums are true f32 on the GPU whatever the type, in a fixed order, double in the reference; one rounding at the store.
/// Where all q or all k of a group are <= 0 y is 0. Sums past f32's range overflow. NaN and Inf propagate as in the second formula: a
/// NaN or Inf anywhere in k or v of a group spreads over the whole group.
/// 4*elements(x)*(d+1)/3 flop; moves x (q, k and v once each) and y once.
/// Throws OptionError unless 1 <= head_dim <= 64 and eps is finite and not negative; ShapeError on other than one input, a rank other
/// than 4, or channels that 3*head_dim does not divide.
/// Source: arXiv:2205.14756; SanaMultiscaleAttnProcessor2_0 of huggingface/diffusers, models/attention_processor.py.
class LinearAttention2d final : public Layer {
 public:
  static constexpr int kMaxHeadDim = 64;
  explicit LinearAttention2d(int head_dim, double eps = 1e-15);
  int head_dim() const { return head_dim_; }
  double eps() const { return eps_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  FormatRule formats(std::span<const TensorSpec>) const override { return {.prefers = Format::nhwc}; }
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<LinearAttention2d>(head_dim_, eps_)); }
  std::string_view type_name() const override { return "LinearAttention2d"; }

 private:
  int head_dim_;
  double eps_;
};

Value linear_attention2d(Operand x, int head_dim, double eps = 1e-15);

}  // namespace FRIEZE_API
