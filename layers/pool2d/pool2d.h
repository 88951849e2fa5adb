#pragma once
/// Pooling over windows of an image, and into a given number of bins.
#include <cstdint>
#include <optional>

#include <frieze/core/layer.h>
#include <frieze/core/size2d.h>

namespace frieze FRIEZE_API {

struct MaxPool2dOptions {
  std::optional<Size2d> stride = {};  ///< by default the kernel's size
  Size2d padding = 0;                 ///< of -Inf on either side, at most half of the window
  Size2d dilation = 1;                ///< distance of a window's positions
  bool ceil_mode = false;             ///< a last window that begins inside of input or left padding counts although it ends outside
};

struct AvgPool2dOptions {
  std::optional<Size2d> stride = {};  ///< by default the kernel's size
  Size2d padding = 0;                 ///< of zeros on either side, at most half of the kernel
  bool ceil_mode = false;             ///< as in MaxPool2dOptions
  bool count_include_pad = true;      ///< zeros of the padding count in the mean's divisor; what ceil_mode adds never does
  std::optional<int> divisor_override = {};
};

template <class Int>
struct PoolWindows;

/// What the four layers below have in common.
class Pool2d : public Layer {
 public:
  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  double typical_size(std::span<const TensorView> in) const override;
  /// How an image of these extents is divided. Throws ShapeError if it is smaller than a window.
  virtual PoolWindows<std::int64_t> windows(std::int64_t height, std::int64_t width) const = 0;
};

/// y[n,c,i,j] = max over u < KH, v < KW of x[n,c, i*SH - PH + u*DH, j*SW - PW + v*DW], positions outside of x left out; a window without
/// any gives -Inf. y: [N,C,OH,OW], OH = (H + 2*PH - DH*(KH - 1) - 1) / SH + 1, rounded down, or up in ceil_mode unless the last window
/// would then begin in the padding behind x. x: [N,C,H,W], f32|f16|bf16, y of its type and format, apart from it. Every bit is one of x's;
/// a NaN in a window gives NaN. Moves elements(x) + elements(y) values, KH*KW operations an element of y. The GPU takes contiguous nchw and
/// nhwc (CudaError otherwise), up to 2^28 pixels a side. Throws OptionError on a kernel, stride or dilation below 1, or a padding that is
/// negative or more than half of the window; ShapeError on other than one input, a rank other than 4, or an image smaller than a window.
/// Source: PyTorch 2.x nn.MaxPool2d.
class MaxPool2d final : public Pool2d {
 public:
  explicit MaxPool2d(Size2d kernel, MaxPool2dOptions options = {});
  PoolWindows<std::int64_t> windows(std::int64_t height, std::int64_t width) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<MaxPool2d>(kernel_, options_)); }
  std::string_view type_name() const override { return "MaxPool2d"; }

 private:
  Size2d kernel_;
  MaxPool2dOptions options_;
};

/// y[n,c,i,j] = sum of the window of x, as for MaxPool2d with a dilation of 1, / its divisor: divisor_override, or the number of positions
/// in x, or, with count_include_pad, in x and its padding. Types, formats and errors as there; also OptionError on a divisor_override of 0.
/// Summed in f32, in an order that depends on the shape alone; rounded once. NaN and Inf propagate as in the sum; one past the largest f32
/// gives Inf. Moves elements(x) + elements(y) values, KH*KW additions an element of y. Source: PyTorch 2.x nn.AvgPool2d.
class AvgPool2d final : public Pool2d {
 public:
  explicit AvgPool2d(Size2d kernel, AvgPool2dOptions options = {});
  PoolWindows<std::int64_t> windows(std::int64_t height, std::int64_t width) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<AvgPool2d>(kernel_, options_)); }
  std::string_view type_name() const override { return "AvgPool2d"; }

 private:
  Size2d kernel_;
  AvgPool2dOptions options_;
};

/// y[n,c,i,j] = mean of x[n,c,h,w] over floor(i*H/OH) <= h < ceil((i+1)*H/OH) and the same along w: y is [N,C,OH,OW], whatever x's extents.
/// Types, formats and order of summation as for AvgPool2d; to a single pixel it runs as GlobalAvgPool does.
/// Throws OptionError on an output size below 1; ShapeError on other than one input or a rank other than 4.
/// Source: PyTorch 2.x nn.AdaptiveAvgPool2d.
class AdaptiveAvgPool2d final : public Pool2d {
 public:
  explicit AdaptiveAvgPool2d(Size2d output);
  Size2d output() const { return output_; }
  PoolWindows<std::int64_t> windows(std::int64_t height, std::int64_t width) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<AdaptiveAvgPool2d>(output_)); }
  std::string_view type_name() const override { return "AdaptiveAvgPool2d"; }

 private:
  Size2d output_;
};

/// The largest value of each bin of AdaptiveAvgPool2d; a NaN in it gives NaN. Every bit is one of x's.
/// Source: PyTorch 2.x nn.AdaptiveMaxPool2d.
class AdaptiveMaxPool2d final : public Pool2d {
 public:
  explicit AdaptiveMaxPool2d(Size2d output);
  Size2d output() const { return output_; }
  PoolWindows<std::int64_t> windows(std::int64_t height, std::int64_t width) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<AdaptiveMaxPool2d>(output_)); }
  std::string_view type_name() const override { return "AdaptiveMaxPool2d"; }

 private:
  Size2d output_;
};

Value max_pool2d(Operand x, Size2d kernel, MaxPool2dOptions options = {});
Value avg_pool2d(Operand x, Size2d kernel, AvgPool2dOptions options = {});
Value adaptive_avg_pool2d(Operand x, Size2d output);
Value adaptive_max_pool2d(Operand x, Size2d output);

}  // namespace FRIEZE_API
