#include <frieze/layers/conv2d/conv2d.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <ostream>

#include <frieze/core/error.h>
#include <frieze/core/integers.h>

namespace frieze {
namespace {

constexpr std::size_t kMaxEpilogue = 4;  // operations that the kernels apply at their store

// Extent along one axis, or 0 if the dilated kernel does not fit into the padded image.
std::int64_t out_extent(std::int64_t padded, int kernel, int stride, int dilation) {
  const std::int64_t reach = std::int64_t{dilation} * (kernel - 1) + 1;
  return padded < reach ? 0 : (padded - reach) / stride + 1;
}

// How much of the kernel lies inside of the image along one axis, for the output where that is most.
std::int64_t most_taps(std::int64_t in, int kernel, int stride, int padding, int dilation, std::int64_t outputs) {
  std::int64_t most = 0;
  for (std::int64_t i = 0; i < outputs && most < kernel; ++i) {
    const std::int64_t first = i * stride - padding;  // the first tap's place
    const std::int64_t begin = first < 0 ? ceil_div(-first, dilation) : 0;
    const std::int64_t end = first < in ? std::min<std::int64_t>(kernel, (in - 1 - first) / dilation + 1) : 0;
    most = std::max(most, end - begin);
  }
  return most;
}

void resolve_same(int& before, int& behind, int kernel, int dilation, const char* axis) {
  if (before != -1 && behind != -1) return;
  check<OptionError>(before == behind, "Conv2d: padding \"same\" is -1 on both sides of an axis, got ", before, " and ", behind);
  check<OptionError>(kernel % 2 == 1, "Conv2d: padding \"same\" needs an odd kernel, got a ", axis, " of ", kernel,
                     "; give an explicit padding");
  const std::int64_t same = std::int64_t{dilation} * (kernel - 1) / 2;
  check<OptionError>(same <= std::numeric_limits<int>::max(), "Conv2d: kernel ", axis, " ", kernel, " with dilation ", dilation,
                     " is too large");
  before = behind = static_cast<int>(same);
}

void check_pair(const char* what, const Size2d& v, int least) {
  check<OptionError>(v.h >= least && v.w >= least, "Conv2d: ", what, " must be at least ", least, ", got ", v);
}

}  // namespace

Conv2d::Conv2d(std::int64_t in_channels, std::int64_t out_channels, Size2d kernel, Conv2dOptions options)
    : in_channels_(in_channels), out_channels_(out_channels), kernel_(kernel), options_(options) {
  check<OptionError>(in_channels >= 1 && out_channels >= 1, "Conv2d: channels must be at least 1, got ", in_channels, " -> ", out_channels);
  check_pair("kernel", kernel, 1);
  check_pair("stride", options.stride, 1);
  check_pair("dilation", options.dilation, 1);
  Padding2d& padding = options_.padding;
  check<OptionError>(std::min({padding.left, padding.right, padding.top, padding.bottom}) >= -1,
                     "Conv2d: padding must be at least -1, got ", padding);
  check<OptionError>(options.groups >= 1 && in_channels % options.groups == 0 && out_channels % options.groups == 0,
                     "Conv2d: groups must divide the channels, got ", options.groups, " groups for ", in_channels, " -> ", out_channels);
  resolve_same(padding.top, padding.bottom, kernel.h, options.dilation.h, "height");
  resolve_same(padding.left, padding.right, kernel.w, options.dilation.w, "width");
  const Shape shape{out_channels, in_channels / options.groups, kernel.h, kernel.w};
  const Init init = Init::fan_in(shape.elements() / out_channels);
  add_parameter(weight_, "weight", shape, init);
  if (options.bias) add_parameter(bias_, "bias", {out_channels}, init);
}

Inferred Conv2d::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check_image(type_name(), in[0]);
  const Shape& x = in[0].shape;
  check<ShapeError>(x.c() == in_channels_, "Conv2d expects ", in_channels_, " input channels, got ", x.c(), " (x ", x,
                    " as [N,C,H,W], weight ", weight_.shape, " as [C_out,C_in/groups,KH,KW], ", groups(),
                    groups() == 1 ? " group)" : " groups)");
  const Shape padded = padded_shape(type_name(), x, padding(), padding_mode());
  const std::int64_t h = out_extent(padded.h(), kernel_.h, stride().h, dilation().h);
  const std::int64_t w = out_extent(padded.w(), kernel_.w, stride().w, dilation().w);
  check<ShapeError>(h > 0 && w > 0, "Conv2d expects an image at least as large as its kernel, got ", x.h(), "x", x.w(), " padded by ",
                    padding(), " for a ", kernel_.h, "x", kernel_.w, " kernel with dilation ", dilation(), " (x ", x, " as [N,C,H,W])");
  Inferred inferred;
  inferred.out = {{Shape{x.n(), out_channels_, h, w}, in[0].dtype}};
  const double k = static_cast<double>(weight_.shape.elements()) / static_cast<double>(out_channels_);
  const auto parameters = static_cast<double>(weight_.shape.elements() + (has_bias() ? out_channels_ : 0));
  inferred.flops = (2 * k - (has_bias() ? 0 : 1)) * static_cast<double>(inferred.out[0].shape.elements());
  inferred.bytes = static_cast<double>(in[0].bytes()) + static_cast<double>(inferred.out[0].bytes()) +
                   parameters * static_cast<double>(size_of(in[0].dtype));
  return inferred;
}

std::size_t Conv2d::absorbs(std::span<const TensorSpec>, std::span<const EpilogueOp> chain) const {
  return std::min(chain.size(), kMaxEpilogue);
}

FormatRule Conv2d::formats(std::span<const TensorSpec>) const { return {.nchw = true, .nhwc = true, .prefers = Format::nhwc}; }

// In nhwc the rows of a matrix product may lie apart, and so may the pixels that depthwise and grouped kernels read; operands of an
// epilogue are found where the output is.
StrideRule Conv2d::strides(std::span<const TensorSpec> in, std::span<const EpilogueOp> epilogue) const {
  StrideRule rule;
  if (in[0].format != Format::nhwc || padding_mode() != PadMode::zeros) return rule;
  const bool depthwise = is_depthwise() && groups() > 1;
  const bool pointwise = kernel_ == Size2d(1) && stride() == Size2d(1) && padding() == Padding2d(0);
  constexpr int kGroup = 32;  // channels in and out of a group
  const bool grouped = pointwise && epilogue.empty() && groups() > 1 && in_channels_ == groups() * kGroup && out_channels_ == in_channels_;
  if (depthwise || grouped || (pointwise && groups() == 1)) rule.in = Strided::channels;
  if (epilogue.empty() && (grouped || (pointwise && groups() == 1))) rule.out = Strided::channels;
  return rule;
}

// K products are summed in f32. Against max|y|, which for sums of mixed sign is of the order of sqrt(K) products:
//   rounding to nearest: a random walk over partial sums, about sqrt(K)/10 * u, 5 deviations at the worst element;
//   tensor cores: they truncate, one step in K/16, always towards zero, so at most K/8 * u.
ErrorBudget Conv2d::budget(std::span<const TensorSpec>) const {
  const double k = static_cast<double>(weight_.shape.elements()) / static_cast<double>(out_channels_) + 1;
  return {.roundings = 1.01, .terms = 8 + 4 * std::sqrt(k) + k / 8};
}

// Of the output that has the most products: those with zeros of the padding are none, which counts where the kernel is larger than the
// image.
double Conv2d::typical_size(std::span<const TensorView> in) const {
  const Shape& x = in[0].shape;
  std::int64_t products = weight_.shape[1] * kernel_.h * kernel_.w;
  if (padding_mode() == PadMode::zeros) {
    const Shape y = infer(std::vector<TensorSpec>{{x, in[0].dtype}}).out[0].shape;
    products = weight_.shape[1] * most_taps(x.h(), kernel_.h, stride().h, padding().top, dilation().h, y.h()) *
               most_taps(x.w(), kernel_.w, stride().w, padding().left, dilation().w, y.w());
  }
  return std::sqrt(static_cast<double>(products)) * root_mean_square(to_floats(in[0])) * root_mean_square(weight_.values);
}

std::string Conv2d::describe() const {
  std::string text = concat_text(in_channels_, "->", out_channels_, " ", kernel_.h, "x", kernel_.w);
  if (stride() != Size2d(1)) text += concat_text(" stride ", stride());
  if (padding() != Padding2d(0)) text += concat_text(" padding ", padding());
  if (padding_mode() != PadMode::zeros) text += concat_text(" ", name(padding_mode()));
  if (dilation() != Size2d(1)) text += concat_text(" dilation ", dilation());
  if (is_depthwise() && groups() > 1) {
    text += " depthwise";
  } else if (groups() > 1) {
    text += concat_text(" groups ", groups());
  }
  return has_bias() ? text : text + " no bias";
}

}  // namespace frieze
