#include <frieze/layers/pad/pad.h>

#include <algorithm>
#include <array>
#include <ostream>

#include <frieze/core/error.h>
#include <frieze/core/parallel.h>

namespace frieze {
namespace {

constexpr std::pair<PadMode, std::string_view> kPadModes[] = {
    {PadMode::zeros, "zeros"}, {PadMode::reflect, "reflect"}, {PadMode::replicate, "replicate"}, {PadMode::circular, "circular"}};

// Where element `i` of a padded axis comes from; -1: it is the value.
std::int64_t padded_source(std::int64_t i, std::int64_t before, std::int64_t extent, PadMode mode) {
  const std::int64_t p = i - before;
  if (p >= 0 && p < extent) return p;
  switch (mode) {
    case PadMode::reflect: return p < 0 ? -p : 2 * (extent - 1) - p;
    case PadMode::replicate: return p < 0 ? 0 : extent - 1;
    case PadMode::circular: return p < 0 ? p + extent : p - extent;
    default: return -1;
  }
}

std::int64_t padded_extent(std::string_view who, const Shape& x, int axis, int before, int behind, PadMode mode) {
  const std::int64_t extent = x[axis], most = std::max(before, behind);
  check<ShapeError>(mode != PadMode::reflect || most < extent, who, " by reflection expects less than the extent on each side, got ",
                    before, " and ", behind, " for ", extent, " (x ", x, ", axis ", axis, ")");
  check<ShapeError>(mode != PadMode::circular || most <= extent, who, " in a circle expects at most the extent on each side, got ", before,
                    " and ", behind, " for ", extent, " (x ", x, ", axis ", axis, ")");
  return checked_add(extent, std::int64_t{before} + behind, "padded extent");
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Padding2d& p) {
  if (p.left == p.right && p.top == p.bottom) return out << Size2d(p.top, p.left);
  return out << p.left << ',' << p.right << ',' << p.top << ',' << p.bottom;
}

std::string_view name(PadMode mode) {
  for (const auto& [known, text] : kPadModes) {
    if (known == mode) return text;
  }
  return "?";
}

PadMode parse_pad_mode(std::string_view text) {
  for (const auto& [mode, known] : kPadModes) {
    if (known == text) return mode;
  }
  check<OptionError>(text == "constant", "unknown padding mode '", printable(text, 80),
                     "': expected zeros, reflect, replicate or circular");
  return PadMode::zeros;
}

Pad::Pad(Padding2d padding, PadMode mode, double value) : padding_(padding), mode_(mode), value_(value) {
  const int least = std::min({padding.left, padding.right, padding.top, padding.bottom});
  check<OptionError>(least >= 0, "Pad expects no negative padding, got ", padding);
  check<OptionError>(mode == PadMode::zeros || value == 0, "Pad takes a value for mode zeros only, got ", value, " for ", name(mode));
}

Shape padded_shape(std::string_view who, const Shape& x, const Padding2d& padding, PadMode mode) {
  const int last = x.rank() - 1;
  check<ShapeError>(last >= 0, who, " expects rank 1 or more, got ", x);
  check<ShapeError>(last > 0 || (padding.top == 0 && padding.bottom == 0), who, " of rank 1 has no rows to add to, got ", padding.top,
                    " on top and ", padding.bottom, " at the bottom (x ", x, ")");
  const Shape wide = x.with(last, padded_extent(who, x, last, padding.left, padding.right, mode));
  return last == 0 ? wide : wide.with(last - 1, padded_extent(who, x, last - 1, padding.top, padding.bottom, mode));
}

Inferred Pad::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  return elementwise_cost(in, {padded_shape(type_name(), in[0].shape, padding_, mode_), in[0].dtype}, 0);
}

void Pad::reference(const ReferenceArgs& args) const {
  const Shape &from = args.in[0].shape, &to = args.out[0].shape;
  const int last = from.rank() - 1;
  const std::int64_t w = from[last], out_w = to[last], h = last > 0 ? from[last - 1] : 1, out_h = last > 0 ? to[last - 1] : 1;
  const std::vector<float> x = to_floats(args.in[0]);
  const float given[] = {static_cast<float>(value_)};
  const float value = HostTensor({Shape{1}, args.run_dtype}, given).floats()[0];  // as the kernel has it
  std::vector<float> y(static_cast<std::size_t>(to.elements()));
  std::vector<std::int64_t> columns;
  for (std::int64_t j = 0; j < out_w; ++j) columns.push_back(padded_source(j, padding_.left, w, mode_));
  parallel_for(
      to.elements() / out_w,
      [&](std::int64_t first, std::int64_t behind) {
        for (std::int64_t row = first; row < behind; ++row) {
          const std::int64_t i = padded_source(row % out_h, padding_.top, h, mode_);
          const float* const source = x.data() + (row / out_h * h + std::max<std::int64_t>(i, 0)) * w;
          float* const made = y.data() + row * out_w;
          for (std::int64_t j = 0; j < out_w; ++j) {
            const std::int64_t column = columns[static_cast<std::size_t>(j)];
            made[j] = i < 0 || column < 0 ? value : source[column];
          }
        }
      },
      std::max<std::int64_t>(1, (1 << 14) / out_w));
  from_floats(y, args.out[0]);
}

std::string Pad::describe() const {
  std::string text = concat_text(padding_, " ", name(mode_));
  if (value_ != 0) text += concat_text(" of ", value_);
  return text;
}

Value pad(Operand x, Padding2d padding, PadMode mode, double value) { return apply_new<Pad>("pad", {x}, padding, mode, value); }

}  // namespace frieze
