#include <frieze/layers/matmul/matmul.h>

#include <algorithm>
#include <cmath>

#include <frieze/core/error.h>
#include <frieze/layers/shared/matmul.h>

namespace frieze {
namespace {

constexpr std::size_t kMostOfMatmulEpilogue = 4;  // operations that the kernel applies at its store

std::vector<std::int64_t> extents_of(const Shape& shape) { return {shape.extents().begin(), shape.extents().end()}; }

// `x` as [batch…, rows, columns], the batch repeated to that of `batch`, which ends with two axes that are ignored.
TensorView as_matrices(const TensorView& x, bool left, const std::vector<std::int64_t>& batch) {
  std::vector<std::int64_t> extents = extents_of(x.shape), steps;
  for (int i = 0; i < x.shape.rank(); ++i) steps.push_back(x.stride(i));
  if (extents.size() == 1) {
    extents.insert(left ? extents.begin() : extents.end(), 1);
    steps.insert(left ? steps.begin() : steps.end(), 0);
  }
  Strides strides{};
  std::vector<std::int64_t> all = batch;
  const std::size_t missing = all.size() - extents.size();
  for (std::size_t i = missing; i < all.size(); ++i) {
    if (i + 2 >= all.size()) all[i] = extents[i - missing];
    strides[i] = extents[i - missing] == 1 && i + 2 < all.size() ? 0 : steps[i - missing];
  }
  return TensorView(x.data, Shape(all), x.dtype, strides);
}

// The batch axes of a product, broadcast, and two more of 1.
std::vector<std::int64_t> batch_of(std::string_view who, const Shape& a, const Shape& b) {
  const auto axes = [](const Shape& x) { return std::max(x.rank() - 2, 0); };
  const int count = std::max(axes(a), axes(b));
  std::vector<std::int64_t> batch(static_cast<std::size_t>(count + 2), 1);
  for (int i = 0; i < count; ++i) {
    const auto extent = [&](const Shape& x) { return i < count - axes(x) ? 1 : x[i - (count - axes(x))]; };
    const std::int64_t of_a = extent(a), of_b = extent(b);
    check<ShapeError>(of_a == of_b || of_a == 1 || of_b == 1, who, " expects axes before the last two that broadcast, got ", a, " and ", b);
    batch[static_cast<std::size_t>(i)] = std::max(of_a, of_b);
  }
  return batch;
}

std::int64_t inner_extent(const Shape& a) { return a[-1]; }

}  // namespace

MatMulViews::MatMulViews(const TensorView& a_view, const TensorView& b_view, const TensorView& y_view) {
  const std::vector<std::int64_t> batch = batch_of("MatMul", a_view.shape, b_view.shape);
  a = as_matrices(a_view, true, batch);
  b = as_matrices(b_view, false, batch);
  Strides strides{};
  std::vector<std::int64_t> extents = batch;
  extents[extents.size() - 2] = a.shape[-2];
  extents.back() = b.shape[-1];
  int axis = 0;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    const bool lacks = (i + 2 == extents.size() && a_view.shape.rank() == 1) || (i + 1 == extents.size() && b_view.shape.rank() == 1);
    if (!lacks) strides[i] = y_view.stride(axis++);
  }
  y = TensorView(y_view.data, Shape(extents), y_view.dtype, strides);
}

Inferred MatMul::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 2);
  const Shape &a = in[0].shape, &b = in[1].shape;
  check<ShapeError>(a.rank() >= 1 && b.rank() >= 1, type_name(), " expects rank 1 to 8, got ", a, " and ", b);
  const std::int64_t rows_of_b = b.rank() == 1 ? b[0] : b[-2];
  check<ShapeError>(inner_extent(a) == rows_of_b, type_name(), " expects b with ", inner_extent(a), " rows, as a has columns, got ",
                    rows_of_b, " (a ", a, ", b ", b, ")");
  std::vector<std::int64_t> extents = batch_of(type_name(), a, b);
  extents.resize(extents.size() - 2);
  if (a.rank() > 1) extents.push_back(a[-2]);
  if (b.rank() > 1) extents.push_back(b[-1]);
  const TensorSpec y{Shape(extents), in[0].dtype};
  return elementwise_cost(in, y, 2 * static_cast<double>(inner_extent(a)) - 1);
}

void MatMul::reference(const ReferenceArgs& args) const {
  const HostTensor a({args.in[0].shape, DType::f32}, to_floats(args.in[0])), b({args.in[1].shape, DType::f32}, to_floats(args.in[1]));
  const MatMulViews v(a.view(), b.view(), TensorView(nullptr, {args.out[0].shape, DType::f32}));
  const std::int64_t m = v.y.shape[-2], n = v.y.shape[-1], k = v.a.shape[-1];
  const int axes = v.y.shape.rank() - 2;
  std::vector<double> y(static_cast<std::size_t>(v.y.shape.elements()));
  for (std::int64_t product = 0; product < v.y.shape.elements() / (m * n); ++product) {
    std::int64_t rest = product, at_a = 0, at_b = 0;
    for (int axis = axes - 1; axis >= 0; --axis) {
      const std::int64_t i = rest % v.y.shape[axis];
      rest /= v.y.shape[axis];
      at_a += i * v.a.stride(axis);
      at_b += i * v.b.stride(axis);
    }
    matmul(MatrixView<const float>(v.a.as<const float>() + at_a, m, k), MatrixView<const float>(v.b.as<const float>() + at_b, k, n),
           MatrixView<double>(y.data() + product * m * n, m, n));
  }
  from_doubles(y, args.out[0]);
}

std::size_t MatMul::absorbs(std::span<const TensorSpec>, std::span<const EpilogueOp> chain) const {
  return std::min(chain.size(), kMostOfMatmulEpilogue);
}

// As for Linear: k products, summed in f32, partly by truncating tensor cores.
ErrorBudget MatMul::budget(std::span<const TensorSpec> in) const {
  const auto k = static_cast<double>(inner_extent(in[0].shape));
  return {.roundings = 1.01, .terms = 8 + 4 * std::sqrt(k) + k / 8};
}

double MatMul::typical_size(std::span<const TensorView> in) const {
  return std::sqrt(static_cast<double>(inner_extent(in[0].shape))) * root_mean_square(to_floats(in[0])) *
         root_mean_square(to_floats(in[1]));
}

Value matmul(Operand a, Operand b) { return apply_new<MatMul>("matmul", {a, b}); }

}  // namespace frieze
