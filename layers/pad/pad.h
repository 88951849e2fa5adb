#pragma once
/// Padding: values around an image, each side its own.
#include <iosfwd>
#include <string_view>

#include <frieze/core/layer.h>
#include <frieze/core/size2d.h>

namespace frieze FRIEZE_API {

/// How much is added on each side, in the order of PyTorch's F.pad. One number means all four sides; two, or a Size2d, mean the rows on
/// top and bottom and the columns on left and right.
struct Padding2d {
  int left = 0, right = 0, top = 0, bottom = 0;
  constexpr Padding2d(int all) : Padding2d(all, all) {}  // NOLINT: implicit on purpose, so that options read `.padding = 1`
  constexpr Padding2d(int h, int w) : Padding2d(w, w, h, h) {}
  constexpr Padding2d(const Size2d& both) : Padding2d(both.h, both.w) {}  // NOLINT: likewise
  constexpr Padding2d(int left, int right, int top, int bottom) : left(left), right(right), top(top), bottom(bottom) {}
  friend constexpr bool operator==(const Padding2d&, const Padding2d&) = default;
};
std::ostream& operator<<(std::ostream& out, const Padding2d& padding);  ///< "1", "1x2" (rows x columns) or "left,right,top,bottom"

/// What the added elements are. With p the place along an axis of n elements, counted from the first of them:
///   zeros      one value, 0 unless another is given (PyTorch's "constant")
///   reflect    x[-p] before, x[2(n-1) - p] behind: the border is not repeated; less than n on each side
///   replicate  x[0] before, x[n-1] behind
///   circular   x[p + n] before, x[p - n] behind; at most n on each side
enum class PadMode : std::uint8_t { zeros, reflect, replicate, circular };
std::string_view name(PadMode mode);
/// Also "constant", for zeros. Throws OptionError on another name.
PadMode parse_pad_mode(std::string_view text);

/// y = x with `padding` around its last two axes; columns are those of the last one. Of a tensor of rank 1, the last axis alone, with no
/// rows to add. Along both axes at once a corner is what padding one axis and then the other gives.
/// x: rank 1 to 8, f32|f16|bf16; y: the two extents larger by what was added, same type and format; must not overlap. Moves every bit as
/// it is; `value` is rounded to f32, then to that type. (elements(x) + elements(y))*sizeof(T) bytes, no arithmetic.
/// Throws OptionError (in the constructor) on negative padding and on a value with another mode than zeros; ShapeError on rank 0, rows for
/// rank 1, and more padding than the mode takes for the extent.
/// Source: PyTorch 2.x torch.nn.functional.pad.
class Pad final : public Layer {
 public:
  explicit Pad(Padding2d padding, PadMode mode = PadMode::zeros, double value = 0);
  const Padding2d& padding() const { return padding_; }
  PadMode mode() const { return mode_; }
  double value() const { return value_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 0, .terms = 0}; }
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Pad>(padding_, mode_, value_)); }
  std::string_view type_name() const override { return "Pad"; }

 private:
  Padding2d padding_;
  PadMode mode_;
  double value_;
};

/// The shape of y. Throws ShapeError as Pad does, beginning with `who`.
Shape padded_shape(std::string_view who, const Shape& x, const Padding2d& padding, PadMode mode);

/// pad(x, {left, right, top, bottom}, PadMode::reflect); `value` for PadMode::zeros alone.
Value pad(Operand x, Padding2d padding, PadMode mode = PadMode::zeros, double value = 0);

}  // namespace FRIEZE_API
