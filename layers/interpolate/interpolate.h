#pragma once
/// Images of another size: PyTorch's interpolate.
#include <cstdint>
#include <string_view>
#include <vector>

#include <frieze/core/layer.h>
#include <frieze/core/size2d.h>

namespace frieze FRIEZE_API {

/// A factor for the height and one for the width; one number means both. 0: none given.
struct Scale2d {
  double h = 0, w = 0;
  constexpr Scale2d(double both) : h(both), w(both) {}  // NOLINT: implicit on purpose, so that options read `.scale_factor = 2`
  constexpr Scale2d(double h, double w) : h(h), w(w) {}
  friend constexpr bool operator==(const Scale2d&, const Scale2d&) = default;
};

enum class InterpolateMode : std::uint8_t { nearest, nearest_exact, bilinear, bicubic };
std::string_view name(InterpolateMode mode);
/// Also "nearest-exact". Throws OptionError on another name.
InterpolateMode parse_interpolate_mode(std::string_view text);

struct InterpolateOptions {
  Size2d size = 0;           ///< of y; either this
  Scale2d scale_factor = 0;  ///< or this: y is floor(scale_factor * extent) long
  InterpolateMode mode = InterpolateMode::nearest;
  bool align_corners = false;  ///< corner pixels lie on corner pixels; bilinear and bicubic alone
  bool antialias = false;      ///< the filter grows with the step where y is smaller than x; bilinear and bicubic alone
  bool recompute_scale_factor =
      false;  ///< the step is the ratio of the extents, not 1 / scale_factor, which differ where y was cut to whole pixels
};

/// y[n,c,i,j] = sum over k, l of wh[i,k] * ww[j,l] * x[n,c, clamp(sh[i] + k), clamp(sw[j] + l)], clamped to the image, with the starts s
/// and weights w of each axis from its step: extents x / extents y; 1 / scale_factor if that was given; with align_corners (extent x - 1) /
/// (extent y - 1), and 0 for one pixel. For output i:
///   nearest        x[min(floor(i * step), last)] in f32, as PyTorch has it; i for equal extents, i/2 for twice the extent
///   nearest_exact  x[min(floor((i + 0.5) * step), last)] in f32
///   bilinear       p = max(step * (i + 0.5) - 0.5, 0), with align_corners step * i; of floor(p) and the next, 1 - t and t, t = p -
///   floor(p);
///                  for equal extents x itself
///   bicubic        p likewise, not cut at 0; of four from floor(p) - 1 on, the cubic convolution with A = -0.75
///   antialias      a triangle (or the cubic with A = -0.5) of the width of 2 (4) steps, at least of 2 (4) pixels, around step * (i + 0.5);
///                  normalised to the sum 1; for equal extents x itself
/// x: [N,C,H,W] f32|f16|bf16; y: [N,C,H',W'], same type and format; must not overlap. Weights are f64 in the reference, f32 on the GPU,
/// sums in double and in f32; one rounding at the store; the nearest two only move values. NaN and Inf propagate from every pixel in reach,
/// also one of weight 0. Moves x and y once; 2 * taps(h) * (taps(w) + 1) flop an element. The GPU takes contiguous nchw and nhwc, extents
/// up to 2^31. Throws OptionError (in the constructor) on neither or both of size and scale_factor, sizes below 1, factors that are not
/// positive, and options that the mode does not have; ShapeError on a rank other than 4 or an extent that becomes 0. Source: PyTorch 2.x
/// torch.nn.functional.interpolate (aten/src/ATen/native/UpSample.h). On the CPU and in f16 and bf16 PyTorch itself rounds steps and
/// weights to f32.
class Interpolate final : public Layer {
 public:
  explicit Interpolate(InterpolateOptions options);
  const InterpolateOptions& options() const { return options_; }

  /// The products of one axis. Outputs of fewer than `taps` have 0 behind their `count` weights.
  struct Axis {
    std::int64_t taps = 1;
    std::vector<std::int64_t> start, count;
    std::vector<double> weights;  ///< [outputs, taps]; empty for the nearest two
  };
  /// Of the height (0) or the width (1), from `in` to `out` pixels.
  Axis axis(int which, std::int64_t in, std::int64_t out) const;
  Shape shape_of(const Shape& x) const;

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  double typical_size(std::span<const TensorView> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Interpolate>(options_)); }
  std::string_view type_name() const override { return "Interpolate"; }

 private:
  bool is_nearest() const { return options_.mode == InterpolateMode::nearest || options_.mode == InterpolateMode::nearest_exact; }
  double step(int which, std::int64_t in, std::int64_t out) const;
  std::int64_t most_taps(int which, std::int64_t in, std::int64_t out) const;
  double products(const Shape& x) const;

  InterpolateOptions options_;
};

/// interpolate(x, {.size = {224, 224}, .mode = InterpolateMode::bilinear}), interpolate(x, {.scale_factor = 2}). Where that repeats every
/// pixel a whole number of times, the same along both axes, it is an Upsample step, which convolutions behind it absorb.
Value interpolate(Operand x, InterpolateOptions options);

}  // namespace FRIEZE_API
