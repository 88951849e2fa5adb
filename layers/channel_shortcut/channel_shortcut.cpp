#include <frieze/layers/channel_shortcut/channel_shortcut.h>

#include <cmath>

#include <frieze/core/error.h>
#include <frieze/layers/pixel_shuffle/pixel_shuffle.h>

namespace frieze {
namespace {

void check_options(std::string_view who, std::int64_t out_channels, std::int64_t factor) {
  check<OptionError>(out_channels >= 1, who, " expects at least 1 output channel, got ", out_channels);
  check<OptionError>(factor >= 1 && factor <= 1 << 15, who, " expects a factor from 1 to 32768, got ", factor);
}

}  // namespace

AveragingShortcut::AveragingShortcut(std::int64_t out_channels, std::int64_t factor) : out_channels_(out_channels), factor_(factor) {
  check_options("AveragingShortcut", out_channels, factor);
}

Inferred AveragingShortcut::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check_image(type_name(), in[0]);
  const Shape& x = in[0].shape;
  check<ShapeError>(x.h() % factor_ == 0 && x.w() % factor_ == 0, type_name(), " expects height and width that ", factor_, " divides, got ",
                    x.h(), "x", x.w(), " (x ", x, ")");
  const std::int64_t wide = checked_mul(x.c(), factor_ * factor_, "channels");
  check<ShapeError>(wide % out_channels_ == 0, type_name(), " to ", out_channels_, " channels expects a divisor of ", factor_ * factor_,
                    " * ", x.c(), " input channels (x ", x, ")");
  const Shape out{x.n(), out_channels_, x.h() / factor_, x.w() / factor_};
  return elementwise_cost(in, {out, in[0].dtype}, static_cast<double>(wide / out_channels_));
}

void AveragingShortcut::reference(const ReferenceArgs& args) const {
  const std::vector<float> wide = to_floats(shuffle_view_fine(args.in[0], factor_));  // [N,C,H,r,W,r], i and j among the pixels
  const Shape &x = args.in[0].shape, &out = args.out[0].shape;
  const std::int64_t r = factor_, group = x.c() * r * r / out_channels_, h = out.h(), w = out.w();
  std::vector<double> y(static_cast<std::size_t>(out.elements()));
  for (std::int64_t at = 0; at < static_cast<std::int64_t>(wide.size()); ++at) {
    const std::int64_t j = at % r, column = at / r % w, i = at / (r * w) % r, row = at / (r * w * r) % h, plane = at / (r * w * r * h);
    const std::int64_t channel = (plane % x.c() * r + i) * r + j, image = plane / x.c();
    const std::int64_t to = ((image * out_channels_ + channel / group) * h + row) * w + column;
    y[static_cast<std::size_t>(to)] += wide[static_cast<std::size_t>(at)];
  }
  for (double& v : y) v /= static_cast<double>(group);
  from_doubles(y, args.out[0]);
}

// A sum of g values in f32, against the largest mean: they may cancel, sqrt(g) for values of random sign.
ErrorBudget AveragingShortcut::budget(std::span<const TensorSpec> in) const {
  const double group = static_cast<double>(in[0].shape.c() * factor_ * factor_) / static_cast<double>(out_channels_);
  return {.roundings = in[0].dtype == DType::f32 ? 2.0 : 1.01, .terms = 4 + 4 * std::sqrt(group)};
}

std::string AveragingShortcut::describe() const { return concat_text("to ", out_channels_, " channels, /", factor_); }

DuplicatingShortcut::DuplicatingShortcut(std::int64_t out_channels, std::int64_t factor) : out_channels_(out_channels), factor_(factor) {
  check_options("DuplicatingShortcut", out_channels, factor);
}

Inferred DuplicatingShortcut::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check_image(type_name(), in[0]);
  const Shape& x = in[0].shape;
  const std::int64_t wide = checked_mul(out_channels_, factor_ * factor_, "channels");
  check<ShapeError>(wide % x.c() == 0, type_name(), " to ", out_channels_, " channels expects input channels that divide ",
                    factor_ * factor_, " * ", out_channels_, ", got ", x.c(), " (x ", x, ")");
  const Shape out{x.n(), out_channels_, checked_mul(x.h(), factor_, "height"), checked_mul(x.w(), factor_, "width")};
  return elementwise_cost(in, {out, in[0].dtype}, 0);
}

void DuplicatingShortcut::reference(const ReferenceArgs& args) const {
  const Shape& x = args.in[0].shape;
  const std::int64_t pixels = x.h() * x.w(), repeat = out_channels_ * factor_ * factor_ / x.c();
  const std::vector<float> from = to_floats(args.in[0]);
  std::vector<float> wide(from.size() * static_cast<std::size_t>(repeat));
  for (std::int64_t at = 0; at < static_cast<std::int64_t>(wide.size()); ++at) {
    wide[static_cast<std::size_t>(at)] = from[static_cast<std::size_t>(at / pixels / repeat * pixels + at % pixels)];
  }
  const TensorSpec spec{Shape{x.n(), x.c() * repeat, x.h(), x.w()}, DType::f32};
  convert(shuffle_view_wide(TensorView(wide.data(), spec), factor_), shuffle_view_fine(args.out[0], factor_));
}

std::string DuplicatingShortcut::describe() const { return concat_text("to ", out_channels_, " channels, x", factor_); }

Value averaging_shortcut(Operand x, std::int64_t out_channels, std::int64_t factor) {
  return apply_new<AveragingShortcut>("averaging_shortcut", {x}, out_channels, factor);
}
Value duplicating_shortcut(Operand x, std::int64_t out_channels, std::int64_t factor) {
  return apply_new<DuplicatingShortcut>("duplicating_shortcut", {x}, out_channels, factor);
}

}  // namespace frieze
