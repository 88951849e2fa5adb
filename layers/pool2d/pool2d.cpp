#include <frieze/layers/pool2d/pool2d.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <frieze/core/error.h>
#include <frieze/core/integers.h>
#include <frieze/layers/shared/pool_windows.h>

namespace frieze {
namespace {

using Axis = PoolAxis<std::int64_t>;
using Windows = PoolWindows<std::int64_t>;

// Every check of one axis that needs no input. `window`: positions from a window's first to its last.
void check_axis(std::string_view who, std::string_view axis, int kernel, int stride, int padding, int dilation) {
  check<OptionError>(kernel >= 1 && stride >= 1 && dilation >= 1, who, " expects a kernel, a stride and a dilation of at least 1, got ",
                     kernel, ", ", stride, " and ", dilation, " along ", axis);
  const std::int64_t window = (std::int64_t{kernel} - 1) * dilation + 1;
  check<OptionError>(padding >= 0 && padding <= window / 2, who, " expects a padding from 0 to half of its window of ", window, ", got ",
                     padding, " along ", axis);
}

Axis axis_of(std::string_view who, std::string_view axis, std::int64_t in, int kernel, int stride, int padding, int dilation,
             bool ceil_mode) {
  Axis a{in, 1, kernel, stride, padding, dilation};
  const std::int64_t window = (a.kernel - 1) * a.dilation + 1, padded = checked_add(in, 2 * a.padding, "pixels with padding");
  check<ShapeError>(padded >= window, who, " expects at least ", window - 2 * a.padding, " pixels along ", axis, " for a window of ",
                    window, " with padding ", padding, ", got ", in);
  a.out = (padded - window + (ceil_mode ? a.stride - 1 : 0)) / a.stride + 1;
  if (ceil_mode && (a.out - 1) * a.stride >= in + a.padding) --a.out;  // it would begin in the padding behind x
  return a;
}

Windows adaptive_windows(std::int64_t height, std::int64_t width, Size2d output, PoolKind kind) {
  Windows w;
  w.h = Axis{height, output.h};
  w.w = Axis{width, output.w};
  w.h.adaptive = w.w.adaptive = true;
  w.kind = kind;
  return w;
}

void check_output(std::string_view who, Size2d output) {
  check<OptionError>(output.h >= 1 && output.w >= 1, who, " expects an output of at least 1 pixel a side, got ", output);
}

// The most positions that an output looks at.
double most_positions(const Windows& w) {
  const auto most = [](const Axis& a) {
    return a.adaptive ? std::ceil(static_cast<double>(a.in) / static_cast<double>(a.out)) + 1
                      : static_cast<double>(std::min(a.kernel, a.in));
  };
  return most(w.h) * most(w.w);
}

std::string window_text(Size2d kernel, const std::optional<Size2d>& stride, Size2d padding, bool ceil_mode) {
  return concat_text(kernel, " stride ", stride.value_or(kernel), padding == Size2d(0) ? std::string() : concat_text(" padding ", padding),
                     ceil_mode ? " ceil" : "");
}

}  // namespace

Inferred Pool2d::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check_image(type_name(), in[0]);
  const Shape& x = in[0].shape;
  const Windows w = windows(x.h(), x.w());
  Inferred inferred = elementwise_cost(in, {Shape{x.n(), x.c(), w.h.out, w.w.out}, in[0].dtype}, 1);
  inferred.flops = static_cast<double>(inferred.out[0].shape.elements()) * most_positions(w);
  return inferred;
}

void Pool2d::reference(const ReferenceArgs& args) const {
  const Shape &from = args.in[0].shape, &to = args.out[0].shape;
  const Windows w = windows(from.h(), from.w());
  const std::vector<float> x = to_floats(args.in[0]);
  std::vector<double> y(static_cast<std::size_t>(to.elements()));
  std::size_t at = 0;
  for (std::int64_t plane = 0; plane < to.n() * to.c(); ++plane) {
    const float* image = x.data() + plane * from.h() * from.w();
    for (std::int64_t i = 0; i < to.h(); ++i) {
      const auto rows = w.h.span(i);
      for (std::int64_t j = 0; j < to.w(); ++j) {
        const auto columns = w.w.span(j);
        double sum = 0, most = -std::numeric_limits<double>::infinity();
        for (std::int64_t u = 0; u < rows.count; ++u) {
          const float* row = image + (rows.first + u * rows.step) * from.w();
          for (std::int64_t v = 0; v < columns.count; ++v) {
            const double value = row[columns.first + v * columns.step];
            sum += value;
            if (value > most || std::isnan(value)) most = value;
          }
        }
        const std::int64_t inside = rows.count * columns.count;
        const std::int64_t counted = w.divisor != 0 ? w.divisor : w.count_padding ? rows.padded * columns.padded : inside;
        y[at++] = w.kind == PoolKind::max ? most : inside == 0 ? 0 : sum / static_cast<double>(counted);
      }
    }
  }
  from_doubles(y, args.out[0]);
}

// Maxima are exact. Means as those of GlobalAvgPool: n additions, whose errors are independent of each other; the first steps of the chain,
// the division and the reference's rounding.
ErrorBudget Pool2d::budget(std::span<const TensorSpec> in) const {
  const Windows w = windows(in[0].shape.h(), in[0].shape.w());
  if (w.kind == PoolKind::max) return {.roundings = 0, .terms = 0};
  return {.roundings = 1, .terms = 4 + std::sqrt(most_positions(w))};
}

double Pool2d::typical_size(std::span<const TensorView> in) const {
  const Windows w = windows(in[0].shape.h(), in[0].shape.w());
  if (w.kind == PoolKind::max) return 0;
  const double positions = most_positions(w), size = root_mean_square(to_floats(in[0])) * std::sqrt(positions);
  return size / (w.divisor != 0 ? std::abs(static_cast<double>(w.divisor)) : positions);
}

MaxPool2d::MaxPool2d(Size2d kernel, MaxPool2dOptions options) : kernel_(kernel), options_(options) {
  const Size2d stride = options.stride.value_or(kernel);
  check_axis("MaxPool2d", "H", kernel.h, stride.h, options.padding.h, options.dilation.h);
  check_axis("MaxPool2d", "W", kernel.w, stride.w, options.padding.w, options.dilation.w);
}

PoolWindows<std::int64_t> MaxPool2d::windows(std::int64_t height, std::int64_t width) const {
  const Size2d stride = options_.stride.value_or(kernel_), padding = options_.padding, dilation = options_.dilation;
  Windows w;
  w.h = axis_of(type_name(), "H", height, kernel_.h, stride.h, padding.h, dilation.h, options_.ceil_mode);
  w.w = axis_of(type_name(), "W", width, kernel_.w, stride.w, padding.w, dilation.w, options_.ceil_mode);
  w.kind = PoolKind::max;
  return w;
}

std::string MaxPool2d::describe() const {
  return window_text(kernel_, options_.stride, options_.padding, options_.ceil_mode) +
         (options_.dilation == Size2d(1) ? std::string() : concat_text(" dilation ", options_.dilation));
}

AvgPool2d::AvgPool2d(Size2d kernel, AvgPool2dOptions options) : kernel_(kernel), options_(options) {
  const Size2d stride = options.stride.value_or(kernel);
  check_axis("AvgPool2d", "H", kernel.h, stride.h, options.padding.h, 1);
  check_axis("AvgPool2d", "W", kernel.w, stride.w, options.padding.w, 1);
  check<OptionError>(options.divisor_override.value_or(1) != 0, "AvgPool2d expects a divisor_override other than 0");
}

PoolWindows<std::int64_t> AvgPool2d::windows(std::int64_t height, std::int64_t width) const {
  const Size2d stride = options_.stride.value_or(kernel_), padding = options_.padding;
  Windows w;
  w.h = axis_of(type_name(), "H", height, kernel_.h, stride.h, padding.h, 1, options_.ceil_mode);
  w.w = axis_of(type_name(), "W", width, kernel_.w, stride.w, padding.w, 1, options_.ceil_mode);
  w.kind = PoolKind::mean;
  w.count_padding = options_.count_include_pad;
  w.divisor = options_.divisor_override.value_or(0);
  return w;
}

std::string AvgPool2d::describe() const {
  return window_text(kernel_, options_.stride, options_.padding, options_.ceil_mode) +
         (options_.divisor_override    ? concat_text(" divisor ", *options_.divisor_override)
          : options_.count_include_pad ? std::string()
                                       : std::string(" padding not counted"));
}

AdaptiveAvgPool2d::AdaptiveAvgPool2d(Size2d output) : output_(output) { check_output("AdaptiveAvgPool2d", output); }

PoolWindows<std::int64_t> AdaptiveAvgPool2d::windows(std::int64_t height, std::int64_t width) const {
  return adaptive_windows(height, width, output_, PoolKind::mean);
}

std::string AdaptiveAvgPool2d::describe() const { return concat_text("to ", output_); }

AdaptiveMaxPool2d::AdaptiveMaxPool2d(Size2d output) : output_(output) { check_output("AdaptiveMaxPool2d", output); }

PoolWindows<std::int64_t> AdaptiveMaxPool2d::windows(std::int64_t height, std::int64_t width) const {
  return adaptive_windows(height, width, output_, PoolKind::max);
}

std::string AdaptiveMaxPool2d::describe() const { return concat_text("to ", output_); }

Value max_pool2d(Operand x, Size2d kernel, MaxPool2dOptions options) { return apply_new<MaxPool2d>("max_pool2d", {x}, kernel, options); }
Value avg_pool2d(Operand x, Size2d kernel, AvgPool2dOptions options) { return apply_new<AvgPool2d>("avg_pool2d", {x}, kernel, options); }
Value adaptive_avg_pool2d(Operand x, Size2d output) { return apply_new<AdaptiveAvgPool2d>("adaptive_avg_pool2d", {x}, output); }
Value adaptive_max_pool2d(Operand x, Size2d output) { return apply_new<AdaptiveMaxPool2d>("adaptive_max_pool2d", {x}, output); }

}  // namespace frieze
