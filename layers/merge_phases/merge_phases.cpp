#include <frieze/layers/merge_phases/merge_phases.h>

#include <frieze/core/error.h>
#include <frieze/layers/channel_shortcut/channel_shortcut.h>
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

MergePhases::MergePhases(std::int64_t shortcut_channels) : shortcut_channels_(shortcut_channels) {
  check<OptionError>(shortcut_channels >= 1, "MergePhases expects at least 1 channel of its shortcut, got ", shortcut_channels);
}

Inferred MergePhases::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, shortcut_channels_ > 0 ? 2 : 1);
  check_image(type_name(), in[0]);
  const Shape& x = in[0].shape;
  check<ShapeError>(x.c() % 4 == 0, type_name(), " expects channels that 4 divides, got ", x.c(), " (x ", x, ")");
  check<ShapeError>(x.h() >= 2 && x.w() >= 2, type_name(), " expects at least 2x2 corners, got ", x.h(), "x", x.w(), " (x ", x, ")");
  const Shape out{x.n(), x.c() / 4, checked_mul(x.h() - 1, 2, "height"), checked_mul(x.w() - 1, 2, "width")};
  Inferred inferred{{out, in[0].dtype}, 0, 2 * static_cast<double>(TensorSpec{out, in[0].dtype}.bytes())};
  if (shortcut_channels_ == 0) return inferred;
  check_image(type_name(), in[1]);
  const Shape wanted{x.n(), shortcut_channels_, x.h() - 1, x.w() - 1};
  check<ShapeError>(in[1].shape == wanted && x.c() % shortcut_channels_ == 0, type_name(), " expects a shortcut ", wanted,
                    " of channels that divide ", x.c(), ", got ", in[1].shape, " (x ", x, ")");
  inferred.flops = static_cast<double>(out.elements());
  inferred.bytes += static_cast<double>(in[1].bytes());
  return inferred;
}

void MergePhases::reference(const ReferenceArgs& args) const {
  const TensorView merged = merge_phases_view_input(args.in[0]), out = merge_phases_view_output(args.out[0]);
  if (shortcut_channels_ == 0) return convert(merged, out);
  // The shortcut as its own layer makes it, which rounds nothing.
  const HostTensor added({args.out[0].shape, DType::f32});
  const TensorSpec s{args.in[1].shape, DType::f32};
  const HostTensor from(s, to_floats(args.in[1]));
  const TensorView inputs[] = {from.view()};
  const TensorView shortcut[] = {added.view()};
  DuplicatingShortcut(args.out[0].shape.c(), 2).reference({inputs, shortcut, DType::f32});
  const std::vector<float> a = to_floats(merged), b = to_floats(merge_phases_view_output(added.view()));
  std::vector<double> sums(a.begin(), a.end());
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += b[i];
  from_doubles(sums, out);
}

std::size_t MergePhases::absorbs(std::span<const TensorSpec>, std::span<const EpilogueOp> chain) const {
  return shortcut_channels_ == 0 && !chain.empty() && chain[0].kind == EpilogueOp::Kind::add ? 1 : 0;
}

std::string MergePhases::describe() const {
  return shortcut_channels_ > 0 ? concat_text("with a shortcut of ", shortcut_channels_, " channels") : "";
}

}  // namespace frieze
