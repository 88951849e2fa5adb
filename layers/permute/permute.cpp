#include <frieze/layers/permute/permute.h>

#include <numeric>
#include <set>

#include <frieze/core/error.h>

namespace frieze {

Permute::Permute(std::vector<int> axes) : axes_(std::move(axes)) {
  const int rank = static_cast<int>(axes_.size());
  std::set<int> seen;
  for (int& axis : axes_) {
    const int given = axis;
    axis += axis < 0 ? rank : 0;
    check<OptionError>(0 <= axis && axis < rank && seen.insert(axis).second, "Permute expects each of ", rank, " axes once, got axis ",
                       given, rank <= Shape::kMaxRank ? " of " + describe() : std::string());
  }
}

TensorView Permute::permuted(const TensorView& x) const {
  std::vector<std::int64_t> extents;
  Strides strides{};
  for (std::size_t k = 0; k < axes_.size(); ++k) {
    extents.push_back(x.shape[axes_[k]]);
    strides[k] = x.stride(axes_[k]);
  }
  return TensorView(x.data, Shape(extents), x.dtype, strides);
}

Inferred Permute::infer(std::span<const TensorSpec> in) const {
  check_any_inputs(type_name(), in, 1);
  check<ShapeError>(in[0].shape.rank() == static_cast<int>(axes_.size()), type_name(), " ", describe(), " expects rank ", axes_.size(),
                    ", got x ", in[0].shape);
  return elementwise_cost(in, {permuted(TensorView(nullptr, in[0])).shape, in[0].dtype}, 0);
}

std::optional<Layout> Permute::output_layout(std::span<const TensorSpec>, std::size_t, const Layout& input) const {
  Layout out{input.offset, {}};
  for (std::size_t k = 0; k < axes_.size(); ++k) out.strides[k] = input.strides[static_cast<std::size_t>(axes_[k])];
  return out;
}

std::optional<Layout> Permute::input_layout(std::span<const TensorSpec>, std::size_t, const Layout& output) const {
  Layout out{output.offset, {}};
  for (std::size_t k = 0; k < axes_.size(); ++k) out.strides[static_cast<std::size_t>(axes_[k])] = output.strides[k];
  return out;
}

std::string Permute::describe() const {
  std::string text;
  for (const int axis : axes_) text += (text.empty() ? "[" : ",") + std::to_string(axis);
  return text.empty() ? "[]" : text + "]";
}

Value permute(Operand x, std::vector<int> axes) { return apply_new<Permute>("permute", {x}, axes); }

Value transpose(Operand x, int a, int b) {
  const auto make = [&] {
    const Shape& shape = x.value.shape();
    const int rank = shape.rank();
    std::vector<int> axes(static_cast<std::size_t>(rank));
    std::iota(axes.begin(), axes.end(), 0);
    const auto place = [&](int axis) {
      check<OptionError>(-rank <= axis && axis < rank, "transpose expects axes of rank ", rank, ", got ", axis, " (x ", shape, ")");
      return static_cast<std::size_t>(axis < 0 ? axis + rank : axis);
    };
    std::swap(axes[place(a)], axes[place(b)]);
    return std::make_shared<Permute>(std::move(axes));
  };
  return apply_made(make, "transpose", {x});
}

}  // namespace frieze
