#include <frieze/layers/embedding/embedding.h>

#include <cmath>
#include <limits>

#include <frieze/core/error.h>

namespace frieze {
namespace {

void check_one_input(std::string_view who, std::span<const TensorSpec> in) {
  check<ShapeError>(in.size() == 1, who, " takes 1 input, got ", in.size());
  check<ShapeError>(in[0].shape.elements() > 0, who, " expects extents of at least 1, got ", in[0].shape);
}

}  // namespace

Embedding::Embedding(std::int64_t count, std::int64_t width, DType dtype) : dtype_(dtype) {
  check<OptionError>(count >= 1 && width >= 1, "Embedding expects a count and a width of at least 1, got ", count, " and ", width);
  check<OptionError>(!is_integer(dtype), "Embedding gives f32, f16 or bf16, not ", dtype);
  add_parameter(weight_, "weight", Shape{count, width}, Init::around(0, 1));
}

Inferred Embedding::infer(std::span<const TensorSpec> in) const {
  check_one_input(type_name(), in);
  const Shape& x = in[0].shape;
  check<DTypeError>(is_integer(in[0].dtype), type_name(), " expects indices of i32 or i64, got ", in[0].dtype);
  check<ShapeError>(x.rank() < Shape::kMaxRank, type_name(), " expects indices of up to ", Shape::kMaxRank - 1, " axes, got ", x);
  std::vector<std::int64_t> extents(x.extents().begin(), x.extents().end());
  extents.push_back(weight_.shape[1]);
  const TensorSpec out{Shape(extents), dtype_};
  return {out, 0, static_cast<double>(in[0].bytes()) + 2 * static_cast<double>(out.bytes())};
}

void Embedding::reference(const ReferenceArgs& args) const {
  const std::vector<std::int64_t> indices = to_integers(args.in[0]);
  const std::vector<float>& table = weight_.values.get();
  const auto width = static_cast<std::size_t>(weight_.shape[1]);
  std::vector<float> y(indices.size() * width, std::numeric_limits<float>::quiet_NaN());
  for (std::size_t i = 0; i < indices.size(); ++i) {
    if (indices[i] < 0 || indices[i] >= weight_.shape[0]) continue;
    for (std::size_t k = 0; k < width; ++k) {
      y[i * width + k] = round_to(args.run_dtype, table[static_cast<std::size_t>(indices[i]) * width + k]);
    }
  }
  from_floats(y, args.out[0]);
}

std::string Embedding::describe() const { return concat_text(weight_.shape[0], " rows of ", weight_.shape[1]); }

TimestepEmbedding::TimestepEmbedding(int width, TimestepOptions options) : width_(width), options_(options) {
  check<OptionError>(width >= 2, "TimestepEmbedding expects a width of at least 2, got ", width);
  const bool finite = std::isfinite(options.downscale_freq_shift) && std::isfinite(options.scale) && std::isfinite(options.max_period);
  check<OptionError>(finite && options.max_period > 0, "TimestepEmbedding expects finite options and a max_period above 0, got shift ",
                     options.downscale_freq_shift, ", scale ", options.scale, ", max_period ", options.max_period);
  check<OptionError>(width / 2 > options.downscale_freq_shift, "TimestepEmbedding expects a downscale_freq_shift below half of the width, ",
                     width / 2, ", got ", options.downscale_freq_shift);
  check<OptionError>(!options.dtype || !is_integer(*options.dtype), "TimestepEmbedding gives f32, f16 or bf16");
}

std::vector<double> TimestepEmbedding::frequencies() const {
  const int half = width_ / 2;
  std::vector<double> all;
  for (int k = 0; k < half; ++k) {
    all.push_back(options_.scale * std::exp(-std::log(options_.max_period) * k / (half - options_.downscale_freq_shift)));
  }
  return all;
}

Inferred TimestepEmbedding::infer(std::span<const TensorSpec> in) const {
  check_one_input(type_name(), in);
  check<ShapeError>(in[0].shape.rank() == 1, type_name(), " expects time steps of rank 1, got ", in[0].shape);
  const DType own = is_integer(in[0].dtype) ? DType::f32 : in[0].dtype;
  return elementwise_cost(in, {Shape{in[0].shape[0], width_}, options_.dtype.value_or(own)}, 20);
}

void TimestepEmbedding::reference(const ReferenceArgs& args) const {
  std::vector<double> t;
  if (is_integer(args.in[0].dtype)) {
    for (const std::int64_t v : to_integers(args.in[0])) t.push_back(static_cast<double>(v));
  } else {
    for (const float v : to_floats(args.in[0])) t.push_back(static_cast<double>(v));
  }
  const std::vector<double> frequencies = this->frequencies();
  const std::size_t half = frequencies.size(), width = static_cast<std::size_t>(width_);
  const std::size_t sines = options_.flip_sin_to_cos ? half : 0, cosines = half - sines;
  std::vector<double> y(t.size() * width, 0);
  for (std::size_t n = 0; n < t.size(); ++n) {
    for (std::size_t k = 0; k < half; ++k) {
      y[n * width + sines + k] = std::sin(t[n] * frequencies[k]);
      y[n * width + cosines + k] = std::cos(t[n] * frequencies[k]);
    }
  }
  from_doubles(y, args.out[0]);
}

std::string TimestepEmbedding::describe() const {
  return concat_text(width_, " wide", options_.flip_sin_to_cos ? ", cosines first" : "", ", shift ", options_.downscale_freq_shift,
                     options_.scale != 1 ? concat_text(", scale ", options_.scale) : "",
                     options_.max_period != 10000 ? concat_text(", period ", options_.max_period) : "");
}

Value timestep_embedding(Operand t, int width, const TimestepOptions& options) {
  return apply_new<TimestepEmbedding>("timestep_embedding", {t}, width, options);
}

}  // namespace frieze
