#include <frieze/layers/pixel_shuffle/pixel_shuffle.h>

#include <frieze/core/error.h>

namespace frieze {
namespace {

std::int64_t checked_factor(std::string_view who, std::int64_t r) {
  check<OptionError>(r >= 1 && r <= 1 << 15, who, " expects a factor from 1 to 32768, got ", r);
  return r;
}

}  // namespace

TensorView shuffle_view_wide(const TensorView& wide, std::int64_t r) {
  const Shape& s = wide.shape;
  const std::int64_t c = wide.stride(1);
  return {wide.data,
          Shape{s.n(), s.c() / (r * r), s.h(), r, s.w(), r},
          wide.dtype,
          {wide.stride(0), c * r * r, wide.stride(2), c * r, wide.stride(3), c}};
}

TensorView shuffle_view_fine(const TensorView& fine, std::int64_t r) {
  const Shape& s = fine.shape;
  return {fine.data,
          Shape{s.n(), s.c(), s.h() / r, r, s.w() / r, r},
          fine.dtype,
          {fine.stride(0), fine.stride(1), fine.stride(2) * r, fine.stride(2), fine.stride(3) * r, fine.stride(3)}};
}

PixelShuffle::PixelShuffle(std::int64_t factor) : factor_(checked_factor("PixelShuffle", factor)) {}

Inferred PixelShuffle::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check_image(type_name(), in[0]);
  const Shape& x = in[0].shape;
  const std::int64_t patch = factor_ * factor_;
  check<ShapeError>(x.c() % patch == 0, type_name(), " by ", factor_, " expects channels that ", patch, " divides, got ", x.c(), " (x ", x,
                    ")");
  const Shape out{x.n(), x.c() / patch, checked_mul(x.h(), factor_, "height"), checked_mul(x.w(), factor_, "width")};
  return elementwise_cost(in, {out, in[0].dtype}, 0);
}

void PixelShuffle::reference(const ReferenceArgs& args) const {
  convert(shuffle_view_wide(args.in[0], factor_), shuffle_view_fine(args.out[0], factor_));
}

std::string PixelShuffle::describe() const { return concat_text("x", factor_); }

PixelUnshuffle::PixelUnshuffle(std::int64_t factor) : factor_(checked_factor("PixelUnshuffle", factor)) {}

Inferred PixelUnshuffle::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check_image(type_name(), in[0]);
  const Shape& x = in[0].shape;
  check<ShapeError>(x.h() % factor_ == 0 && x.w() % factor_ == 0, type_name(), " expects height and width that ", factor_, " divides, got ",
                    x.h(), "x", x.w(), " (x ", x, ")");
  const Shape out{x.n(), checked_mul(x.c(), factor_ * factor_, "channels"), x.h() / factor_, x.w() / factor_};
  return elementwise_cost(in, {out, in[0].dtype}, 0);
}

void PixelUnshuffle::reference(const ReferenceArgs& args) const {
  convert(shuffle_view_fine(args.in[0], factor_), shuffle_view_wide(args.out[0], factor_));
}

std::string PixelUnshuffle::describe() const { return concat_text("/", factor_); }

Value pixel_shuffle(Operand x, std::int64_t factor) { return apply_new<PixelShuffle>("pixel_shuffle", {x}, factor); }
Value pixel_unshuffle(Operand x, std::int64_t factor) { return apply_new<PixelUnshuffle>("pixel_unshuffle", {x}, factor); }

}  // namespace frieze
