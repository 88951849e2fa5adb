#include <frieze/layers/merge_phases/merge_phases.h>

#include <frieze/core/error.h>
#include <frieze/layers/pixel_shuffle/pixel_shuffle.h>

namespace frieze {

TensorView merge_phases_view_input(const TensorView& x) {
  const Shape& s = x.shape;
  const std::int64_t c = s.c() / 4, phase = c * x.stride(1);
  return {x.data,
          Shape{s.n(), c, s.h() - 1, 2, s.w() - 1, 2},
          x.dtype,
          {x.stride(0), x.stride(1), x.stride(2), 2 * phase + x.stride(2), x.stride(3), phase + x.stride(3)}};
}

TensorView merge_phases_view_output(const TensorView& y) { return shuffle_view_fine(y, 2); }

Inferred MergePhases::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check_image(type_name(), in[0]);
  const Shape& x = in[0].shape;
  check<ShapeError>(x.c() % 4 == 0, type_name(), " expects channels that 4 divides, got ", x.c(), " (x ", x, ")");
  check<ShapeError>(x.h() >= 2 && x.w() >= 2, type_name(), " expects at least 2x2 corners, got ", x.h(), "x", x.w(), " (x ", x, ")");
  const Shape out{x.n(), x.c() / 4, checked_mul(x.h() - 1, 2, "height"), checked_mul(x.w() - 1, 2, "width")};
  return {{out, in[0].dtype}, 0, 2 * static_cast<double>(TensorSpec{out, in[0].dtype}.bytes())};
}

void MergePhases::reference(const ReferenceArgs& args) const {
  from_floats(to_floats(merge_phases_view_input(args.in[0])), merge_phases_view_output(args.out));
}

std::size_t MergePhases::absorbs(std::span<const TensorSpec>, std::span<const EpilogueOp> chain) const {
  return !chain.empty() && chain[0].kind == EpilogueOp::Kind::add ? 1 : 0;
}

}  // namespace frieze
