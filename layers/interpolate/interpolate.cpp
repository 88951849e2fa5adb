#include <frieze/layers/interpolate/interpolate.h>

#include <algorithm>
#include <cmath>

#include <frieze/core/error.h>
#include <frieze/core/parallel.h>
#include <frieze/layers/upsample/upsample.h>

namespace frieze {
namespace {

constexpr std::pair<InterpolateMode, std::string_view> kInterpolateModes[] = {{InterpolateMode::nearest, "nearest"},
                                                                              {InterpolateMode::nearest_exact, "nearest_exact"},
                                                                              {InterpolateMode::bilinear, "bilinear"},
                                                                              {InterpolateMode::bicubic, "bicubic"}};

// The cubic convolution kernel at distance |x|.
double cubic_weight(double x, double a) {
  x = std::fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0.0;
}

double triangle_weight(double x) { return std::max(0.0, 1 - std::fabs(x)); }

}  // namespace

std::string_view name(InterpolateMode mode) {
  for (const auto& [known, text] : kInterpolateModes) {
    if (known == mode) return text;
  }
  return "?";
}

InterpolateMode parse_interpolate_mode(std::string_view text) {
  if (text == "nearest-exact") return InterpolateMode::nearest_exact;
  for (const auto& [mode, known] : kInterpolateModes) {
    if (known == text) return mode;
  }
  throw OptionError("unknown mode '" + printable(text, 80) + "': expected nearest, nearest_exact, bilinear or bicubic");
}

Interpolate::Interpolate(InterpolateOptions options) : options_(options) {
  const auto& [size, scale, mode, align, antialias, recompute] = options_;
  const bool sized = size != Size2d(0), scaled = scale != Scale2d(0);
  check<OptionError>(sized != scaled, "Interpolate expects a size or a scale_factor, got ", sized ? "both" : "neither");
  check<OptionError>(!sized || (size.h >= 1 && size.w >= 1), "Interpolate expects a size of at least 1, got ", size);
  check<OptionError>(!scaled || (std::isfinite(scale.h) && std::isfinite(scale.w) && scale.h > 0 && scale.w > 0),
                     "Interpolate expects positive scale factors, got ", scale.h, " and ", scale.w);
  check<OptionError>(!is_nearest() || (!align && !antialias),
                     "Interpolate takes align_corners and antialias for bilinear and bicubic, got ", name(mode));
  check<OptionError>(scaled || !recompute, "Interpolate recomputes a scale_factor only where there is one");
}

Shape Interpolate::shape_of(const Shape& x) const {
  if (options_.size != Size2d(0)) return x.with(2, options_.size.h).with(3, options_.size.w);
  const auto extent = [&](int axis, double factor) {
    const double wanted = std::floor(static_cast<double>(x[axis]) * factor);
    check<ShapeError>(wanted >= 1 && wanted < 0x1p62, type_name(), " expects extents of at least 1 and below 2^62 behind the scale factor ",
                      factor, ", got ", wanted, " (x ", x, ", axis ", axis, ")");
    return static_cast<std::int64_t>(wanted);
  };
  return x.with(2, extent(2, options_.scale_factor.h)).with(3, extent(3, options_.scale_factor.w));
}

double Interpolate::step(int which, std::int64_t in, std::int64_t out) const {
  const double given = which == 0 ? options_.scale_factor.h : options_.scale_factor.w;
  if (options_.align_corners) return out > 1 ? static_cast<double>(in - 1) / static_cast<double>(out - 1) : 0.0;
  return given > 0 && !options_.recompute_scale_factor ? 1 / given : static_cast<double>(in) / static_cast<double>(out);
}

std::int64_t Interpolate::most_taps(int which, std::int64_t in, std::int64_t out) const {
  if (is_nearest() || (options_.antialias && in == out)) return 1;
  const int pixels = options_.mode == InterpolateMode::bilinear ? 2 : 4;
  if (!options_.antialias) return pixels;
  return std::min(in, static_cast<std::int64_t>(std::ceil(pixels * std::max(1.0, step(which, in, out)))) + 1);
}

Interpolate::Axis Interpolate::axis(int which, std::int64_t in, std::int64_t out) const {
  Axis a;
  const double step = this->step(which, in, out);
  const bool cubical = options_.mode == InterpolateMode::bicubic;
  a.taps = most_taps(which, in, out);
  a.start.resize(static_cast<std::size_t>(out));
  a.count.assign(static_cast<std::size_t>(out), a.taps);
  if (!is_nearest()) a.weights.resize(static_cast<std::size_t>(checked_mul(out, a.taps, "weights")));
  const double filter = cubical ? 4 : 2, reach = filter / 2 * std::max(1.0, step), grown = std::max(1.0, step);
  for (std::int64_t i = 0; i < out; ++i) {
    const auto at = static_cast<std::size_t>(i);
    double* const w = is_nearest() ? nullptr : a.weights.data() + at * static_cast<std::size_t>(a.taps);
    const auto place = static_cast<double>(i);
    if (is_nearest()) {
      const auto narrow = static_cast<float>(step), from = static_cast<float>(i);
      const bool exact = options_.mode == InterpolateMode::nearest_exact;
      a.start[at] = std::min(static_cast<std::int64_t>(std::floor((exact ? from + 0.5F : from) * narrow)), in - 1);
      if (!exact && (out == in || out == 2 * in)) a.start[at] = i / (out / in);
    } else if (options_.antialias) {
      if (in == out) {
        a.start[at] = i;
        w[0] = 1;
        continue;
      }
      const double center = step * (place + 0.5);
      const std::int64_t first = std::max<std::int64_t>(static_cast<std::int64_t>(center - reach + 0.5), 0);
      a.start[at] = first;
      a.count[at] = std::min(static_cast<std::int64_t>(center + reach + 0.5), in) - first;
      double total = 0;
      for (std::int64_t k = 0; k < a.count[at]; ++k) {
        const double distance = (static_cast<double>(k + first) - center + 0.5) / grown;
        total += w[k] = cubical ? cubic_weight(distance, -0.5) : triangle_weight(distance);
      }
      for (std::int64_t k = 0; total != 0 && k < a.count[at]; ++k) w[k] /= total;
    } else if (!cubical && in == out) {
      a.start[at] = i;
      w[0] = 1;
    } else {
      const double p = options_.align_corners ? step * place : step * (place + 0.5) - 0.5;
      const double real = cubical ? p : std::max(p, 0.0);
      const std::int64_t whole = std::min(static_cast<std::int64_t>(std::floor(real)), in - 1);
      const double t = std::clamp(real - static_cast<double>(whole), 0.0, 1.0);
      a.start[at] = cubical ? whole - 1 : whole;
      if (cubical) {
        for (int k = 0; k < 4; ++k) w[k] = cubic_weight(t + 1 - k, -0.75);
      } else {
        w[0] = 1 - t, w[1] = t;
      }
    }
  }
  return a;
}

Inferred Interpolate::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check_image(type_name(), in[0]);
  const Shape &x = in[0].shape, y = shape_of(x);
  const auto h = static_cast<double>(most_taps(0, x.h(), y.h())), w = static_cast<double>(most_taps(1, x.w(), y.w()));
  return elementwise_cost(in, {y, in[0].dtype}, is_nearest() ? 0 : 2 * h * (w + 1));
}

void Interpolate::reference(const ReferenceArgs& args) const {
  const Shape &from = args.in[0].shape, &to = args.out[0].shape;
  const Axis rows = axis(0, from.h(), to.h()), columns = axis(1, from.w(), to.w());
  const std::int64_t h = from.h(), w = from.w(), out_h = to.h(), out_w = to.w();
  const std::vector<float> x = to_floats(args.in[0]);
  std::vector<double> y(static_cast<std::size_t>(to.elements()));
  const auto weight = [](const Axis& a, std::int64_t i, std::int64_t k) {
    return a.weights.empty() ? 1.0 : a.weights[static_cast<std::size_t>(i * a.taps + k)];
  };
  const auto source = [](const Axis& a, std::int64_t i, std::int64_t k, std::int64_t extent) {
    return std::clamp<std::int64_t>(a.start[static_cast<std::size_t>(i)] + k, 0, extent - 1);
  };
  parallel_for(to.n() * to.c() * out_h, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      const std::int64_t i = row % out_h;
      double* const out = y.data() + row * out_w;
      for (std::int64_t k = 0; k < rows.count[static_cast<std::size_t>(i)]; ++k) {
        const float* const line = x.data() + (row / out_h * h + source(rows, i, k, h)) * w;
        for (std::int64_t j = 0; j < out_w; ++j) {
          double sum = 0;
          for (std::int64_t l = 0; l < columns.count[static_cast<std::size_t>(j)]; ++l) {
            sum += weight(columns, j, l) * static_cast<double>(line[source(columns, j, l, w)]);
          }
          out[j] += weight(rows, i, k) * sum;
        }
      }
    }
  });
  from_doubles(y, args.out[0]);
}

double Interpolate::products(const Shape& x) const {
  const Shape y = shape_of(x);
  return static_cast<double>(most_taps(0, x.h(), y.h())) * static_cast<double>(most_taps(1, x.w(), y.w()));
}

// Each product has three roundings (two weights and itself), each addition one, of terms up to twice as large as the values (bicubic's
// weights have both signs). Errors of n terms that do not know of each other add up like sqrt(n).
ErrorBudget Interpolate::budget(std::span<const TensorSpec> in) const {
  if (is_nearest()) return {.roundings = 0, .terms = 0};
  return {.roundings = 1, .terms = 16 + 4 * std::sqrt(products(in[0].shape))};
}

double Interpolate::typical_size(std::span<const TensorView> in) const {
  return is_nearest() ? 0 : root_mean_square(to_floats(in[0])) / std::sqrt(products(in[0].shape));
}

std::string Interpolate::describe() const {
  const auto& [size, scale, mode, align, antialias, recompute] = options_;
  std::string text = size != Size2d(0)    ? concat_text("to ", size.h, "x", size.w)
                     : scale.h == scale.w ? concat_text("x", scale.h)
                                          : concat_text("x", scale.h, " and x", scale.w);
  text += concat_text(" ", name(mode));
  if (align) text += " align_corners";
  if (antialias) text += " antialias";
  return recompute ? text + " recompute_scale_factor" : text;
}

Value interpolate(Operand x, InterpolateOptions options) {
  const auto make = [&]() -> std::shared_ptr<const Layer> {
    auto layer = std::make_shared<const Interpolate>(options);
    const TensorSpec in[] = {x.value.spec()};
    const Shape from = in[0].shape, to = layer->infer(in).out[0].shape;
    const std::int64_t factor = to.h() / from.h();
    constexpr std::int64_t kMostFactor = 1 << 15;
    if (options.align_corners || options.antialias || factor < 1 || factor > kMostFactor) return layer;
    const bool nearest = options.mode == InterpolateMode::nearest || options.mode == InterpolateMode::nearest_exact;
    if (!nearest || to.h() != factor * from.h() || to.w() != factor * from.w()) return layer;
    for (const int which : {0, 1}) {  // f32 may round a whole number down; some pixels are then repeated more often than others
      const Interpolate::Axis axis = layer->axis(which, from[2 + which], to[2 + which]);
      for (std::size_t i = 0; i < axis.start.size(); ++i) {
        if (axis.start[i] != static_cast<std::int64_t>(i) / factor) return layer;
      }
    }
    return std::make_shared<const Upsample>(factor);
  };
  return apply_made(make, "interpolate", {x});
}

}  // namespace frieze
