#include <frieze/layers/attention/attention.h>

#include <algorithm>
#include <cmath>

#include <frieze/core/error.h>
#include <frieze/layers/shared/matmul.h>

namespace frieze {
namespace {

constexpr std::int64_t kMostRows = std::int64_t{1} << 30;  // of queries and keys, and columns: kernels count them in 32 bits

std::int64_t extent(const Shape& shape, int from_the_end) { return from_the_end <= shape.rank() ? shape[-from_the_end] : 1; }

// Elements of one image and head, or of all where `x` has one only.
std::size_t head_at(const Shape& x, std::int64_t n, std::int64_t head, std::int64_t group) {
  const std::int64_t heads = extent(x, 3), image = extent(x, 4) == 1 ? 0 : n;
  return static_cast<std::size_t>((image * heads + head / group) * extent(x, 2) * extent(x, 1));
}

}  // namespace

AttentionSizes::AttentionSizes(const Shape& q, const Shape& k, const Shape& v)
    : n(extent(q, 4)),
      heads(extent(q, 3)),
      rows(extent(q, 2)),
      keys(extent(k, 2)),
      width(extent(q, 1)),
      value_width(extent(v, 1)),
      k_heads(extent(k, 3)),
      v_heads(extent(v, 3)) {}

ScaledDotProductAttention::ScaledDotProductAttention(AttentionOptions options) : options_(options) {
  check<OptionError>(!options.scale || std::isfinite(*options.scale), type_name(), " expects a finite scale, got ",
                     options.scale.value_or(0));
}

double ScaledDotProductAttention::scale(std::int64_t width) const {
  return options_.scale ? *options_.scale : 1 / std::sqrt(static_cast<double>(width));
}

Inferred ScaledDotProductAttention::infer(std::span<const TensorSpec> in) const {
  const std::string_view who = type_name();
  check<ShapeError>(in.size() == 3 || in.size() == 4, who, " takes q, k, v and perhaps a mask, got ", in.size(), " inputs");
  check_inputs(who, in.first(3), 3);
  const Shape &q = in[0].shape, &k = in[1].shape, &v = in[2].shape;
  const std::string shapes = concat_text(" (q ", q, ", k ", k, ", v ", v, " as [N,heads,tokens,width])");
  check<ShapeError>(q.rank() >= 2 && q.rank() <= 4 && k.rank() == q.rank() && v.rank() == q.rank(), who,
                    " expects q, k and v of one rank from 2 to 4", shapes);
  const AttentionSizes s(q, k, v);
  check<ShapeError>(extent(k, 1) == s.width, who, " expects k as wide as q, ", s.width, ", got ", extent(k, 1), shapes);
  check<ShapeError>(extent(v, 2) == s.keys, who, " expects as many rows of v as of k, ", s.keys, ", got ", extent(v, 2), shapes);
  for (const auto& [name, x] : {std::pair("k", &k), std::pair("v", &v)}) {
    check<ShapeError>(extent(*x, 4) == s.n || extent(*x, 4) == 1, who, " expects N of ", name, " to be ", s.n, " or 1, got ", extent(*x, 4),
                      shapes);
    const std::int64_t heads = extent(*x, 3);
    check<ShapeError>(heads == s.heads || heads == 1 || (options_.enable_gqa && s.heads % heads == 0), who, " expects ",
                      options_.enable_gqa ? "a divisor of " : "", s.heads, " heads in ", name, ", got ", heads, shapes);
  }
  check<ShapeError>(std::max({s.rows, s.keys, s.width, s.value_width}) <= kMostRows, who, " takes up to 2^30 tokens and columns", shapes);
  if (in.size() == 4) {
    const Shape& mask = in[3].shape;
    check<ShapeError>(!options_.is_causal, who, " takes a mask or is_causal, not both");
    check<DTypeError>(is_integer(in[3].dtype) || in[3].dtype == DType::f32 || in[3].dtype == in[0].dtype, who,
                      " takes a mask of i32, i64, f32 or ", in[0].dtype, ", got ", in[3].dtype);
    const std::int64_t full[] = {s.keys, s.rows, s.heads, s.n};
    bool fits = mask.rank() <= q.rank() && mask.elements() > 0;
    for (int i = 1; fits && i <= mask.rank(); ++i) fits = extent(mask, i) == 1 || extent(mask, i) == full[i - 1];
    check<ShapeError>(fits, who, " expects a mask that broadcasts to ", Shape({s.n, s.heads, s.rows, s.keys}), ", got ", mask);
  }
  Inferred inferred;
  inferred.out = {{q.with(-1, s.value_width), in[0].dtype}};
  const double pairs = static_cast<double>(s.n) * static_cast<double>(s.heads);
  inferred.flops = 2 * pairs * static_cast<double>(s.rows) * static_cast<double>(s.keys) * static_cast<double>(s.width + s.value_width);
  inferred.bytes = static_cast<double>(inferred.out[0].bytes());
  for (const TensorSpec& x : in) inferred.bytes += static_cast<double>(x.bytes());
  return inferred;
}

void ScaledDotProductAttention::reference(const ReferenceArgs& args) const {
  const AttentionSizes s(args.in[0].shape, args.in[1].shape, args.in[2].shape);
  const std::vector<float> q = to_floats(args.in[0]), k = to_floats(args.in[1]), v = to_floats(args.in[2]);
  const bool masked = args.in.size() == 4;
  const bool boolean = masked && is_integer(args.in[3].dtype);
  const std::vector<float> mask = masked ? to_floats(args.in[3]) : std::vector<float>();
  const Shape mask_shape = masked ? args.in[3].shape : Shape{1};
  std::vector<double> y(static_cast<std::size_t>(args.out[0].shape.elements()));
  const double factor = scale(s.width);
  const std::int64_t step = std::clamp<std::int64_t>((std::int64_t{1} << 22) / s.keys, 1, s.rows);
  std::vector<double> weights(static_cast<std::size_t>(step * s.keys));
  for (std::int64_t pair = 0; pair < s.n * s.heads; ++pair) {
    const std::int64_t n = pair / s.heads, head = pair % s.heads;
    const std::size_t mask_at = masked ? head_at(mask_shape, n, extent(mask_shape, 3) == 1 ? 0 : head, 1) : 0;
    const float* const keys = k.data() + head_at(args.in[1].shape, n, head, s.heads / s.k_heads);
    const float* const values = v.data() + head_at(args.in[2].shape, n, head, s.heads / s.v_heads);
    for (std::int64_t first = 0; first < s.rows; first += step) {
      const std::int64_t rows = std::min(step, s.rows - first), row0 = pair * s.rows + first;
      matmul(MatrixView<const float>(q.data() + row0 * s.width, rows, s.width), MatrixView<const float>(keys, s.keys, s.width).transposed(),
             MatrixView<double>(weights.data(), rows, s.keys));
      for (std::int64_t r = 0; r < rows; ++r) {
        double* const w = weights.data() + r * s.keys;
        const std::int64_t mask_row = extent(mask_shape, 2) == 1 ? 0 : (first + r) * extent(mask_shape, 1);
        double top = -INFINITY, sum = 0;
        for (std::int64_t j = 0; j < s.keys; ++j) {
          w[j] *= factor;
          if (masked) {
            const float m = mask[mask_at + static_cast<std::size_t>(mask_row + (extent(mask_shape, 1) == 1 ? 0 : j))];
            w[j] = !boolean ? w[j] + m : m != 0 ? w[j] : -INFINITY;
          }
          if (options_.is_causal && j > first + r) w[j] = -INFINITY;
          top = std::max(top, w[j]);  // passes over NaN
        }
        const double base = top == -INFINITY ? 0 : top;
        for (std::int64_t j = 0; j < s.keys; ++j) sum += w[j] = std::exp(w[j] - base);
        const double inverse = sum == 0 ? 0 : 1 / sum;
        for (std::int64_t j = 0; j < s.keys; ++j) w[j] *= inverse;
      }
      matmul(MatrixView<const double>(weights.data(), rows, s.keys), MatrixView<const float>(values, s.keys, s.value_width),
             MatrixView<double>(y.data() + row0 * s.value_width, rows, s.value_width));
    }
  }
  from_doubles(y, args.out[0]);
}

// Derived in graph/BUDGETS.md, "Attention".
ErrorBudget ScaledDotProductAttention::budget(std::span<const TensorSpec> in) const {
  const AttentionSizes s(in[0].shape, in[1].shape, in[2].shape);
  const auto keys = static_cast<double>(s.keys), width = static_cast<double>(s.width);
  const DType t = in[0].dtype;
  const double f32 = 16 + 4 * std::sqrt(keys) + keys / 8 + 8 * (8 + std::sqrt(width));
  if (t == DType::f32) return {.roundings = 2, .terms = f32};
  return {.roundings = 1.01, .terms = f32 + unit_roundoff(t) / unit_roundoff(DType::f32)};
}

// A mean of the keys' values, or, where large scores leave few of them and multiply errors, more.
double ScaledDotProductAttention::typical_size(std::span<const TensorView> in) const {
  const AttentionSizes s(in[0].shape, in[1].shape, in[2].shape);
  const double scores = std::abs(scale(s.width)) * std::sqrt(static_cast<double>(s.width)) * root_mean_square(to_floats(in[0])) *
                        root_mean_square(to_floats(in[1]));
  return root_mean_square(to_floats(in[2])) *
         std::max(1 / std::sqrt(static_cast<double>(s.keys)), std::min(scores / 4, scores * scores / 64));
}

std::string ScaledDotProductAttention::describe() const {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (options_.is_causal) add("causal");
  if (options_.scale) add(concat_text("scale ", *options_.scale));
  if (options_.enable_gqa) add("grouped heads");
  return text;
}

Value scaled_dot_product_attention(Operand q, Operand k, Operand v, const AttentionArguments& arguments) {
  const AttentionOptions options{arguments.is_causal, arguments.scale, arguments.enable_gqa};
  if (arguments.mask.empty()) return apply_new<ScaledDotProductAttention>("scaled_dot_product_attention", {q, k, v}, options);
  return apply_new<ScaledDotProductAttention>("scaled_dot_product_attention", {q, k, v, Operand(arguments.mask, q.where)}, options);
}

}  // namespace frieze
