#include <frieze/layers/expand/expand.h>

#include <frieze/core/error.h>

namespace frieze {

Expand::Expand(std::vector<std::int64_t> extents) : extents_(std::move(extents)) {
  check<OptionError>(extents_.size() <= Shape::kMaxRank, "Expand takes up to ", Shape::kMaxRank, " extents, got ", extents_.size());
  for (const std::int64_t e : extents_) check<OptionError>(e == -1 || e > 0, "Expand expects extents of at least 1, or -1, got ", e);
}

Inferred Expand::infer(std::span<const TensorSpec> in) const {
  check_any_inputs(type_name(), in, 1);
  const Shape& x = in[0].shape;
  const auto rank = static_cast<std::size_t>(x.rank());
  check<ShapeError>(rank <= extents_.size(), "Expand to ", describe(), " expects rank ", extents_.size(), " or less, got ", x, " of rank ",
                    rank);
  std::vector<std::int64_t> extents = extents_;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    const std::size_t front = extents.size() - rank;
    check<ShapeError>(i >= front || extents[i] != -1, "Expand to ", describe(), " expects an extent for each new axis, got -1 (x ", x, ")");
    if (i < front) continue;
    const std::int64_t had = x[static_cast<int>(i - front)];
    check<ShapeError>(extents[i] == -1 || had == 1 || had == extents[i], "Expand to ", describe(),
                      " expects extents of 1 or equal ones, got ", x);
    if (extents[i] == -1) extents[i] = had;
  }
  return elementwise_cost(in, {Shape(extents), in[0].dtype}, 0);
}

TensorView expand_view(const TensorView& x, const Shape& y) {
  TensorView view(x.data, y, x.dtype, {});
  const int front = y.rank() - x.shape.rank();
  for (int axis = front; axis < y.rank(); ++axis) {
    view.strides[static_cast<std::size_t>(axis)] = x.shape[axis - front] == 1 ? 0 : x.stride(axis - front);
  }
  return view;
}

void Expand::reference(const ReferenceArgs& args) const { convert(expand_view(args.in[0], args.out[0].shape), args.out[0]); }

std::string Expand::describe() const {
  std::string text;
  for (const std::int64_t e : extents_) text += (text.empty() ? "[" : ",") + std::to_string(e);
  return text.empty() ? "[]" : text + "]";
}

Value expand(Operand x, std::vector<std::int64_t> extents) { return apply_new<Expand>("expand", {x}, extents); }

}  // namespace frieze
