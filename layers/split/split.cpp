#include <frieze/layers/split/split.h>

#include <algorithm>
#include <functional>

#include <frieze/core/error.h>
#include <frieze/layers/shared/views.h>

namespace frieze {

Split::Split(std::vector<std::int64_t> lengths, int axis) : lengths_(std::move(lengths)), axis_(axis) {
  check<OptionError>(!lengths_.empty(), "Split expects at least one length");
  for (const std::int64_t length : lengths_) check<OptionError>(length >= 1, "Split expects lengths of at least 1, got ", length);
}

Inferred Split::infer(std::span<const TensorSpec> in) const {
  check_any_inputs(type_name(), in, 1);
  const Shape& x = in[0].shape;
  const int axis = checked_axis(type_name(), x, axis_);
  std::int64_t sum = 0;
  for (const std::int64_t length : lengths_) sum = checked_add(sum, length, "lengths");
  check<ShapeError>(sum == x[axis], type_name(), " into ", describe(), " expects ", sum, " along the axis, got ", x[axis], " (x ", x, ")");
  std::vector<TensorSpec> out;
  for (const std::int64_t length : lengths_) out.push_back({x.with(axis, length), in[0].dtype});
  return {std::move(out), 0, 2 * static_cast<double>(in[0].bytes())};
}

std::optional<Layout> Split::output_layout(std::span<const TensorSpec> in, std::size_t output, const Layout& input) const {
  const int axis = checked_axis(type_name(), in[0].shape, axis_);
  Layout out = input;
  for (std::size_t k = 0; k < output; ++k) out.offset += lengths_[k] * input.strides[static_cast<std::size_t>(axis)];
  return out;
}

void Split::reference(const ReferenceArgs& args) const {
  const TensorSpec in[] = {{args.in[0].shape, args.in[0].dtype}};
  for (std::size_t k = 0; k < lengths_.size(); ++k) {
    convert(at_layout(args.in[0], args.out[k].shape, *output_layout(in, k, {0, args.in[0].strides})), args.out[k]);
  }
}

std::string Split::describe() const {
  std::string text;
  constexpr std::size_t kShown = 8;
  for (std::size_t k = 0; k < std::min(kShown, lengths_.size()); ++k) text += (k == 0 ? "" : ", ") + std::to_string(lengths_[k]);
  if (lengths_.size() > kShown) text += concat_text(" and ", lengths_.size() - kShown, " more");
  return text + (axis_ == 1 ? " channels" : concat_text(" of axis ", axis_));
}

namespace {

// One step. Errors of `lengths` and of the layer name the program's line.
std::vector<Value> split_by(std::string_view op, const Operand& x, int axis, const std::function<std::vector<std::int64_t>()>& lengths) {
  std::shared_ptr<const Layer> layer;
  try {
    layer = std::make_shared<Split>(lengths(), axis);
  } catch (const Error&) {
    check_at(op, x, [] { throw; });  // only here: check_at() takes a path, which would number later steps differently
  }
  const Value inputs[] = {x.value};
  return apply_all(std::move(layer), op, inputs, x.where);
}

constexpr std::int64_t kMostRanges = 1 << 16;

}  // namespace

std::vector<Value> split(Operand x, std::vector<std::int64_t> lengths, int axis) {
  return split_by("split", x, axis, [&] { return lengths; });
}

std::vector<Value> split(Operand x, std::int64_t length, int axis) {
  return split_by("split", x, axis, [&] {
    check<OptionError>(length >= 1, "split expects a length of at least 1, got ", length);
    const Shape& shape = x.value.shape();
    const std::int64_t extent = shape[checked_axis("split", shape, axis)];
    check<OptionError>(extent / length < kMostRanges, "split makes up to ", kMostRanges, " ranges, got lengths of ", length, " of ",
                       extent);
    std::vector<std::int64_t> lengths;
    for (std::int64_t left = extent; left > 0; left -= length) lengths.push_back(std::min(left, length));
    return lengths;
  });
}

std::vector<Value> chunk(Operand x, std::int64_t n, int axis) {
  return split_by("chunk", x, axis, [&] {
    check<OptionError>(1 <= n && n <= kMostRanges, "chunk expects 1 to ", kMostRanges, " parts, got ", n);
    const Shape& shape = x.value.shape();
    const std::int64_t extent = shape[checked_axis("chunk", shape, axis)];
    check<ShapeError>(extent % n == 0, "chunk expects an extent that ", n, " divides along axis ", axis, ", got x ", shape);
    return std::vector<std::int64_t>(static_cast<std::size_t>(n), extent / n);
  });
}

}  // namespace frieze
