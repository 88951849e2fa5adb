#include <frieze/layers/reshape/reshape.h>

#include <algorithm>

#include <frieze/core/error.h>
#include <frieze/layers/shared/views.h>

namespace frieze {

Reshape::Reshape(std::vector<std::int64_t> extents) : extents_(std::move(extents)) {
  check<OptionError>(extents_.size() <= Shape::kMaxRank, "Reshape takes up to ", Shape::kMaxRank, " extents, got ", extents_.size());
  check<OptionError>(std::count(extents_.begin(), extents_.end(), -1) <= 1, "Reshape takes one extent of -1, got ", describe());
  for (const std::int64_t e : extents_) check<OptionError>(e == -1 || e > 0, "Reshape expects extents of at least 1, or -1, got ", e);
}

Shape Reshape::shape_of(const TensorSpec& x) const {
  std::vector<std::int64_t> extents = extents_;
  const auto open = std::find(extents.begin(), extents.end(), -1);
  if (open != extents.end()) {
    *open = 1;
    const std::int64_t rest = Shape(extents).elements();
    check<ShapeError>(x.shape.elements() % rest == 0, type_name(), " to ", describe(), " expects a multiple of ", rest, " elements, got ",
                      x.shape.elements(), " (x ", x.shape, ")");
    *open = x.shape.elements() / rest;
  }
  const Shape shape(extents);
  check<ShapeError>(shape.elements() == x.shape.elements(), type_name(), " to ", shape, " expects ", shape.elements(), " elements, got ",
                    x.shape.elements(), " (x ", x.shape, ")");
  return shape;
}

Inferred Reshape::infer(std::span<const TensorSpec> in) const {
  check_any_inputs(type_name(), in, 1);
  return elementwise_cost(in, {shape_of(in[0]), in[0].dtype}, 0);
}

void Reshape::reference(const ReferenceArgs& args) const {
  const TensorView& x = args.in[0];
  const HostTensor packed({x.shape, x.dtype});
  convert(x, packed.view());
  convert(TensorView(packed.data(), {args.out[0].shape, x.dtype}), args.out[0]);
}

// Runs of axes of `from` that lie as one axis of memory take up runs of axes of `to` with as many elements.
std::optional<Layout> reshaped(const Shape& from, const Layout& layout, const Shape& to) {
  if (from.elements() != to.elements()) return std::nullopt;
  Layout out{layout.offset, {}};
  int next = to.rank() - 1;
  std::int64_t step = 1;  // of an extent of 1, any
  for (int axis = from.rank() - 1; axis >= 0;) {
    if (from[axis] == 1) {
      --axis;
      continue;
    }
    step = layout.strides[static_cast<std::size_t>(axis)];
    std::int64_t run = from[axis--];
    for (; axis >= 0 && (from[axis] == 1 || layout.strides[static_cast<std::size_t>(axis)] == step * run); --axis) run *= from[axis];
    std::int64_t taken = 1;
    for (; next >= 0 && taken * to[next] <= run; --next) {
      out.strides[static_cast<std::size_t>(next)] = step * taken;
      taken *= to[next];
    }
    if (taken != run) return std::nullopt;
    step *= run;
  }
  for (; next >= 0; --next) out.strides[static_cast<std::size_t>(next)] = step;
  return out;
}

std::optional<Layout> Reshape::output_layout(std::span<const TensorSpec> in, std::size_t, const Layout& input) const {
  return reshaped(in[0].shape, input, shape_of(in[0]));
}

std::optional<Layout> Reshape::input_layout(std::span<const TensorSpec> in, std::size_t, const Layout& output) const {
  return reshaped(shape_of(in[0]), output, in[0].shape);
}

std::string Reshape::describe() const {
  std::string text;
  for (const std::int64_t e : extents_) text += (text.empty() ? "[" : ",") + std::to_string(e);
  return text.empty() ? "[]" : text + "]";
}

Value reshape(Operand x, std::vector<std::int64_t> extents) { return apply_new<Reshape>("reshape", {x}, extents); }

Value flatten(Operand x, int first, int last) {
  const auto make = [&] {
    const Shape& shape = x.value.shape();
    const int rank = shape.rank();
    std::vector<std::int64_t> extents;
    if (rank == 0) return std::make_shared<Reshape>(std::vector<std::int64_t>{1});
    const int begin = first < 0 ? first + rank : first, end = last < 0 ? last + rank : last;
    check<OptionError>(0 <= begin && begin <= end && end < rank, "flatten expects axes in order within rank ", rank, ", got ", first,
                       " and ", last, " (x ", shape, ")");
    for (int axis = 0; axis < rank; ++axis) {
      if (axis > begin && axis <= end) {
        extents.back() *= shape[axis];
      } else {
        extents.push_back(shape[axis]);
      }
    }
    return std::make_shared<Reshape>(std::move(extents));
  };
  return apply_made(make, "flatten", {x});
}

Value squeeze(Operand x, int axis) {
  const auto make = [&] {
    const Shape& shape = x.value.shape();
    const int gone = checked_axis("squeeze", shape, axis);
    check<ShapeError>(shape[gone] == 1, "squeeze expects an extent of 1 at axis ", axis, ", got ", shape);
    std::vector<std::int64_t> extents(shape.extents().begin(), shape.extents().end());
    extents.erase(extents.begin() + gone);
    return std::make_shared<Reshape>(std::move(extents));
  };
  return apply_made(make, "squeeze", {x});
}

Value squeeze(Operand x) {
  const auto make = [&] {
    std::vector<std::int64_t> extents(x.value.shape().extents().begin(), x.value.shape().extents().end());
    std::erase(extents, 1);
    return std::make_shared<Reshape>(std::move(extents));
  };
  return apply_made(make, "squeeze", {x});
}

Value unsqueeze(Operand x, int axis) {
  const auto make = [&] {
    const Shape& shape = x.value.shape();
    const int rank = shape.rank(), at = axis < 0 ? axis + rank + 1 : axis;
    check<ShapeError>(0 <= at && at <= rank && rank < Shape::kMaxRank, "unsqueeze expects an axis within rank ", rank + 1,
                      " and a rank of up to ", Shape::kMaxRank, ", got axis ", axis, " (x ", shape, ")");
    std::vector<std::int64_t> extents(shape.extents().begin(), shape.extents().end());
    extents.insert(extents.begin() + at, 1);
    return std::make_shared<Reshape>(std::move(extents));
  };
  return apply_made(make, "unsqueeze", {x});
}

}  // namespace frieze
