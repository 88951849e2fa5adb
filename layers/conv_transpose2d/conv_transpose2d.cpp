#include <frieze/layers/conv_transpose2d/conv_transpose2d.h>

#include <algorithm>
#include <cmath>

#include <frieze/core/error.h>
#include <frieze/core/integers.h>
#include <frieze/core/parallel.h>
#include <frieze/layers/shared/matmul.h>

namespace frieze {
namespace {

// One axis of the transposed convolution.
struct TransposedAxis {
  int kernel, stride, padding, output_padding, dilation;

  // 0: there are none.
  std::int64_t outputs(std::int64_t in) const {
    const std::int64_t spread = checked_mul(in - 1, stride, "output extent");
    const std::int64_t all = checked_add(spread, std::int64_t{dilation} * (kernel - 1) + output_padding + 1, "output extent");
    return std::max<std::int64_t>(all - 2 * std::int64_t{padding}, 0);
  }
  // The phases that see as many rows of the kernel: the first of them, and the others if there are any.
  struct Group {
    int begin, count, taps;
  };
  std::vector<Group> groups() const {
    const int rest = kernel % stride, more = rest > 0 ? rest : stride;
    std::vector<Group> all = {{0, more, ceil_div(kernel, stride)}};
    if (more < stride) all.push_back({more, stride - more, kernel / stride});
    return all;
  }
  struct Reach {
    int before, behind, first;
  };
  // The zeros that a convolution with `taps` taps adds, so that its outputs begin at or before the first that y needs and end there or
  // behind. `first`: what output 0 of it is, in steps of the stride.
  Reach reach(std::int64_t in, int taps) const {
    const std::int64_t span = std::int64_t{dilation} * (taps - 1), first = std::min<std::int64_t>(span, padding / stride);
    const std::int64_t count = (padding + outputs(in) - 1) / stride - first + 1, before = span - first;
    return {static_cast<int>(before), static_cast<int>(std::max<std::int64_t>(0, count - in - before + span)), static_cast<int>(first)};
  }
};

TransposedAxis transposed_rows(const Size2d& kernel, const ConvTranspose2dOptions& o) {
  return {kernel.h, o.stride.h, o.padding.h, o.output_padding.h, o.dilation.h};
}
TransposedAxis transposed_columns(const Size2d& kernel, const ConvTranspose2dOptions& o) {
  return {kernel.w, o.stride.w, o.padding.w, o.output_padding.w, o.dilation.w};
}

void check_least(const char* what, const Size2d& v, int least) {
  check<OptionError>(v.h >= least && v.w >= least, "ConvTranspose2d: ", what, " must be at least ", least, ", got ", v);
}

}  // namespace

ConvTranspose2d::ConvTranspose2d(std::int64_t in_channels, std::int64_t out_channels, Size2d kernel, ConvTranspose2dOptions options)
    : in_channels_(in_channels), out_channels_(out_channels), kernel_(kernel), options_(options) {
  check<OptionError>(in_channels >= 1 && out_channels >= 1, "ConvTranspose2d: channels must be at least 1, got ", in_channels, " -> ",
                     out_channels);
  check_least("kernel", kernel, 1);
  check_least("stride", options.stride, 1);
  check_least("dilation", options.dilation, 1);
  check_least("padding", options.padding, 0);
  check_least("output_padding", options.output_padding, 0);
  const Size2d &extra = options.output_padding, &stride = options.stride, &dilation = options.dilation;
  check<OptionError>(extra.h < std::max(stride.h, dilation.h) && extra.w < std::max(stride.w, dilation.w),
                     "ConvTranspose2d: output_padding must be less than the stride or the dilation, got ", extra, " for stride ", stride,
                     " and dilation ", dilation);
  check<OptionError>(options.groups >= 1 && in_channels % options.groups == 0 && out_channels % options.groups == 0,
                     "ConvTranspose2d: groups must divide the channels, got ", options.groups, " groups for ", in_channels, " -> ",
                     out_channels);
  const Shape shape{in_channels, out_channels / options.groups, kernel.h, kernel.w};
  const Init init = Init::fan_in(shape.elements() / in_channels);  // as nn.ConvTranspose2d
  add_parameter(weight_, "weight", shape, init);
  if (options.bias) add_parameter(bias_, "bias", {out_channels}, init);
}

Inferred ConvTranspose2d::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check_image(type_name(), in[0]);
  const Shape& x = in[0].shape;
  check<ShapeError>(x.c() == in_channels_, "ConvTranspose2d expects ", in_channels_, " input channels, got ", x.c(), " (x ", x,
                    " as [N,C,H,W], weight ", weight_.shape, " as [C_in,C_out/groups,KH,KW], ", options_.groups,
                    options_.groups == 1 ? " group)" : " groups)");
  const std::int64_t h = transposed_rows(kernel_, options_).outputs(x.h()), w = transposed_columns(kernel_, options_).outputs(x.w());
  check<ShapeError>(h > 0 && w > 0, "ConvTranspose2d expects an output of at least 1x1, got ", h, "x", w, " with padding ",
                    options_.padding, " for a ", kernel_.h, "x", kernel_.w, " kernel (x ", x, " as [N,C,H,W])");
  Inferred inferred;
  inferred.out = {{Shape{x.n(), out_channels_, h, w}, in[0].dtype}};
  const double products = static_cast<double>(x.elements()) * static_cast<double>(weight_.shape.elements() / in_channels_);
  const auto parameters = static_cast<double>(weight_.shape.elements() + (options_.bias ? out_channels_ : 0));
  inferred.flops = 2 * products;
  inferred.bytes = static_cast<double>(in[0].bytes()) + static_cast<double>(inferred.out[0].bytes()) +
                   parameters * static_cast<double>(size_of(in[0].dtype));
  return inferred;
}

// What each pixel of x adds to y: columns = weight^T * x for a few rows of x at a time, then added in their places.
void ConvTranspose2d::reference(const ReferenceArgs& args) const {
  const Shape &from = args.in[0].shape, &to = args.out[0].shape;
  const std::vector<float> x = to_floats(args.in[0]), weight = weight_.rounded(args.run_dtype);
  const std::vector<float> bias =
      options_.bias ? bias_.rounded(args.run_dtype) : std::vector<float>(static_cast<std::size_t>(out_channels_));
  const std::int64_t in_group = in_channels_ / options_.groups, out_group = out_channels_ / options_.groups;
  const std::int64_t taps = std::int64_t{kernel_.h} * kernel_.w, plane = to.h() * to.w(), w = from.w();
  const std::int64_t band = std::clamp<std::int64_t>((1 << 20) / (out_group * taps * w), 1, from.h());
  std::vector<double> y(static_cast<std::size_t>(to.elements()));
  for (std::int64_t o = 0; o < to.n() * out_channels_; ++o) {
    std::fill_n(y.begin() + o * plane, plane, static_cast<double>(bias[static_cast<std::size_t>(o % out_channels_)]));
  }
  std::vector<double> columns(static_cast<std::size_t>(out_group * taps * band * w));
  for (std::int64_t task = 0; task < from.n() * options_.groups; ++task) {
    const std::int64_t n = task / options_.groups, g = task % options_.groups, rows = out_group * taps;
    const MatrixView<const float> factors(weight.data() + g * in_group * rows, in_group, rows);
    const float* const image = x.data() + (n * in_channels_ + g * in_group) * from.h() * w;
    for (std::int64_t first = 0; first < from.h(); first += band) {
      const std::int64_t count = std::min(band, from.h() - first), pixels = count * w;
      matmul(factors.transposed(), MatrixView<const float>(image + first * w, in_group, pixels, from.h() * w),
             MatrixView<double>(columns.data(), rows, pixels));
      parallel_for(out_group, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin * taps; row < end * taps; ++row) {
          double* const out = y.data() + ((n * options_.groups + g) * out_group + row / taps) * plane;
          const std::int64_t down = row % taps / kernel_.w * options_.dilation.h - options_.padding.h;
          const std::int64_t across = row % taps % kernel_.w * options_.dilation.w - options_.padding.w;
          for (std::int64_t p = 0; p < pixels; ++p) {
            const std::int64_t i = (first + p / w) * options_.stride.h + down, j = p % w * options_.stride.w + across;
            if (i >= 0 && i < to.h() && j >= 0 && j < to.w()) out[i * to.w() + j] += columns[static_cast<std::size_t>(row * pixels + p)];
          }
        }
      });
    }
  }
  from_doubles(y, args.out[0]);
}

std::vector<ConvTranspose2d::Part> ConvTranspose2d::parts(const Shape& x) const {
  const TransposedAxis h = transposed_rows(kernel_, options_), w = transposed_columns(kernel_, options_);
  std::vector<Part> parts;
  if ((h.stride > 1 && h.dilation > 1) || (w.stride > 1 && w.dilation > 1)) return parts;
  for (const TransposedAxis::Group& rows : h.groups()) {
    for (const TransposedAxis::Group& columns : w.groups()) {
      Part part{nullptr, {rows.begin, columns.begin}, {rows.count, columns.count}};
      if (rows.taps > 0 && columns.taps > 0) {
        const TransposedAxis::Reach down = h.reach(x.h(), rows.taps), across = w.reach(x.w(), columns.taps);
        part.first = {down.first, across.first};
        part.conv = part_of(part, {rows.taps, columns.taps}, {across.before, across.behind, down.before, down.behind});
      }
      parts.push_back(std::move(part));
    }
  }
  return parts;
}

std::shared_ptr<const Conv2d> ConvTranspose2d::part_of(const Part& part, const Size2d& taps, const Padding2d& padding) const {
  const std::int64_t groups = options_.groups, in_group = in_channels_ / groups, out_group = out_channels_ / groups;
  const std::int64_t phases = std::int64_t{part.count.h} * part.count.w, all = std::int64_t{taps.h} * taps.w;
  const std::int64_t kernel = std::int64_t{kernel_.h} * kernel_.w, channels = checked_mul(out_channels_, phases, "channels of all phases");
  const Conv2dOptions options{.padding = padding, .dilation = options_.dilation, .groups = options_.groups, .bias = options_.bias};
  const auto conv = std::make_shared<Conv2d>(in_channels_, channels, taps, options);
  const std::vector<float>& from = weight_.values;
  std::vector<float> weights(static_cast<std::size_t>(conv->weight().shape.elements()));
  parallel_for(channels, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t channel = begin; channel < end; ++channel) {
      const std::int64_t o = channel % out_group, phase = channel / out_group % phases, g = channel / out_group / phases;
      for (std::int64_t tap = 0; tap < all; ++tap) {
        // The convolution's taps run the other way.
        const std::int64_t r = part.begin.h + phase / part.count.w + (taps.h - 1 - tap / taps.w) * options_.stride.h;
        const std::int64_t s = part.begin.w + phase % part.count.w + (taps.w - 1 - tap % taps.w) * options_.stride.w;
        for (std::int64_t c = 0; c < in_group; ++c) {
          weights[static_cast<std::size_t>((channel * in_group + c) * all + tap)] =
              from[static_cast<std::size_t>(((g * in_group + c) * out_group + o) * kernel + r * kernel_.w + s)];
        }
      }
    }
  });
  conv->Module::parameters()[0]->values = std::move(weights);
  if (options_.bias) {
    std::vector<float> biases;
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      biases.push_back(bias_.values[static_cast<std::size_t>(channel / out_group / phases * out_group + channel % out_group)]);
    }
    conv->Module::parameters()[1]->values = std::move(biases);
  }
  return conv;
}

FormatRule ConvTranspose2d::formats(std::span<const TensorSpec>) const { return {.nchw = true, .nhwc = true, .prefers = Format::nhwc}; }

// As Conv2d's, with the products that an output can have at the most.
ErrorBudget ConvTranspose2d::budget(std::span<const TensorSpec>) const {
  const double taps = static_cast<double>(ceil_div(kernel_.h, options_.stride.h)) * ceil_div(kernel_.w, options_.stride.w);
  const double k = static_cast<double>(in_channels_ / options_.groups) * taps + 1;
  return {.roundings = 1.01, .terms = 8 + 4 * std::sqrt(k) + k / 8};
}

double ConvTranspose2d::typical_size(std::span<const TensorView> in) const {
  const std::int64_t h = std::min<std::int64_t>(in[0].shape.h(), ceil_div(kernel_.h, options_.stride.h));
  const std::int64_t w = std::min<std::int64_t>(in[0].shape.w(), ceil_div(kernel_.w, options_.stride.w));
  return std::sqrt(static_cast<double>(in_channels_ / options_.groups * h * w)) * root_mean_square(to_floats(in[0])) *
         root_mean_square(weight_.values);
}

std::string ConvTranspose2d::describe() const {
  const auto& [stride, padding, output_padding, dilation, groups, bias] = options_;
  std::string text = concat_text(in_channels_, "->", out_channels_, " ", kernel_.h, "x", kernel_.w);
  if (stride != Size2d(1)) text += concat_text(" stride ", stride);
  if (padding != Size2d(0)) text += concat_text(" padding ", padding);
  if (output_padding != Size2d(0)) text += concat_text(" output padding ", output_padding);
  if (dilation != Size2d(1)) text += concat_text(" dilation ", dilation);
  if (groups > 1) text += concat_text(" groups ", groups);
  return bias ? text : text + " no bias";
}

}  // namespace frieze
