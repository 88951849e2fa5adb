#pragma once
/// Rows of a table by their number, and the sinusoidal embedding of time steps.
#include <optional>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y[..., :] = weight[x[...], :].
/// x: i32|i64, any shape of up to 7 axes; weight: [count, width]; y: the shape of x and an axis `width` behind it, in `dtype`,
/// f32|f16|bf16. An index below 0, or from `count` on, gives a row of NaN: nothing is read beyond the table, and the mistake shows in the
/// output (PyTorch throws on the CPU and stops the device on a GPU). Exact but for the weight's rounding to `dtype`. Moves elements(x)
/// indices and 2*elements(y)*sizeof(T) bytes. Throws OptionError on a count or width below 1, or a `dtype` of integers; DTypeError on an x
/// of floats; ShapeError on other than one input. Source: PyTorch 2.x nn.Embedding.
class Embedding final : public Layer {
 public:
  Embedding(std::int64_t count, std::int64_t width, DType dtype = DType::f32);
  const Parameter& weight() const { return weight_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  FormatRule formats(std::span<const TensorSpec>) const override { return {.nhwc = false, .prefers = {}}; }
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 0, .terms = 0}; }
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override {
    return sharing(std::make_shared<Embedding>(weight_.shape[0], weight_.shape[1], dtype_));
  }
  std::string_view type_name() const override { return "Embedding"; }

 private:
  DType dtype_;
  Parameter weight_;
};

/// With these, diffusers' get_timestep_embedding.
struct TimestepOptions {
  bool flip_sin_to_cos = false;  ///< cosines first
  double downscale_freq_shift = 1;
  double scale = 1;
  double max_period = 10000;
  std::optional<DType> dtype = {};  ///< of y; without it, that of the time steps, f32 if they are integers
};

/// y[n, :] = [sin(a[n, :]), cos(a[n, :])], a[n, k] = scale * t[n] * max_period^(-k / (half - downscale_freq_shift)), half = width / 2, and
/// a 0 behind them if the width is odd. t: [N], f32|f16|bf16|i32|i64; y: [N, width]. Computed in double, so that large time steps lose
/// nothing, rounded once. N*width values. Throws OptionError on a width below 2, options that are not finite, max_period <= 0, or half <=
/// downscale_freq_shift; ShapeError on another rank. Source: huggingface/diffusers, models/embeddings.py, get_timestep_embedding.
class TimestepEmbedding final : public Layer {
 public:
  explicit TimestepEmbedding(int width, TimestepOptions options = {});
  const TimestepOptions& options() const { return options_; }
  int width() const { return width_; }
  /// What t is multiplied by, for each k; scale included.
  std::vector<double> frequencies() const;

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 1.01, .terms = 1}; }
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<TimestepEmbedding>(width_, options_)); }
  std::string_view type_name() const override { return "TimestepEmbedding"; }

 private:
  int width_;
  TimestepOptions options_;
};

Value timestep_embedding(Operand t, int width, const TimestepOptions& options = {});

}  // namespace FRIEZE_API
