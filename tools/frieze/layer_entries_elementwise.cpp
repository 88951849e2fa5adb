#include <frieze/core/error.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/arithmetic/arithmetic.h>
#include <frieze/layers/cast/cast.h>
#include <frieze/layers/concat/concat.h>
#include <frieze/layers/elementwise/elementwise.h>
#include <frieze/layers/embedding/embedding.h>
#include <frieze/layers/expand/expand.h>
#include <frieze/layers/gated_silu/gated_silu.h>
#include <frieze/layers/glu/glu.h>
#include <frieze/layers/permute/permute.h>
#include <frieze/layers/prelu/prelu.h>
#include <frieze/layers/reduce/reduce.h>
#include <frieze/layers/reshape/reshape.h>
#include <frieze/layers/slice/slice.h>
#include <frieze/layers/split/split.h>

#include <algorithm>
#include <limits>

#include "tools/frieze/arguments.h"
#include "tools/frieze/layer_entries.h"

namespace frieze::tools {
namespace {

template <Activation kFunction>
std::shared_ptr<Layer> make_activation(const Tensors&, Settings&) {
  return std::make_shared<ActivationLayer>(kFunction);
}
std::shared_ptr<Layer> make_leaky_relu(const Tensors&, Settings& settings) {
  return std::make_shared<LeakyReLU>(static_cast<float>(settings.number("slope", 0.01)));
}
std::shared_ptr<Layer> make_elu(const Tensors&, Settings& settings) {
  return std::make_shared<ELU>(static_cast<float>(settings.number("alpha", 1)));
}
std::shared_ptr<Layer> make_prelu(const Tensors& tensors, Settings&) {
  return std::make_shared<PReLU>(shape_of(tensors, "weight", 1, "prelu")[0]);
}

std::shared_ptr<Layer> make_scale(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("factor"), "scale: needs --set factor=NUMBER");
  return std::make_shared<Scale>(static_cast<float>(settings.number("factor", 1)));
}

template <UnaryFunction kFunction>
std::shared_ptr<Layer> make_unary(const Tensors&, Settings&) {
  return std::make_shared<Unary>(kFunction);
}
// With one input a function of it and a number, with two of both.
template <UnaryFunction kOne, BinaryFunction kTwo>
std::shared_ptr<Layer> make_binary(const Tensors& tensors, Settings& settings) {
  if (tensors.contains("x2")) return std::make_shared<Binary>(kTwo);
  check<OptionError>(settings.has("number"), name(kTwo), ": needs a tensor 'x2' or --set number=NUMBER");
  const auto number = static_cast<float>(settings.number("number", 0));
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  if (kTwo == BinaryFunction::subtract) return std::make_shared<Unary>(UnaryFunction::add, -number);
  if (kTwo == BinaryFunction::minimum) return std::make_shared<Unary>(UnaryFunction::clamp, -kInfinity, number);
  if (kTwo == BinaryFunction::maximum) return std::make_shared<Unary>(UnaryFunction::clamp, number, kInfinity);
  return std::make_shared<Unary>(kOne, number);
}
std::shared_ptr<Layer> make_add(const Tensors& tensors, Settings& settings) {
  if (tensors.contains("x2") || !settings.has("number")) return std::make_shared<Add>();
  return std::make_shared<Unary>(UnaryFunction::add, static_cast<float>(settings.number("number", 0)));
}
std::shared_ptr<Layer> make_pow(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("exponent"), "pow: needs --set exponent=NUMBER");
  return std::make_shared<Unary>(UnaryFunction::pow, static_cast<float>(settings.number("exponent", 1)));
}
std::shared_ptr<Layer> make_clamp(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("min") || settings.has("max"), "clamp: needs --set min=NUMBER or --set max=NUMBER");
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  return std::make_shared<Unary>(UnaryFunction::clamp, static_cast<float>(settings.number("min", -kInfinity)),
                                 static_cast<float>(settings.number("max", kInfinity)));
}

// "0,2,-1"
std::vector<std::int64_t> numbers_setting(Settings& settings, const std::string& key) {
  const std::string text = settings.text(key, "");
  std::vector<std::int64_t> numbers;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    numbers.push_back(parse_whole("--set " + key, text.substr(begin, end - begin), -1'000'000'000'000, 1'000'000'000'000));
    begin = end + 1;
  }
  return numbers;
}
std::vector<int> axes_setting(Settings& settings, const std::string& key) {
  std::vector<int> axes;
  for (const std::int64_t axis : numbers_setting(settings, key)) {
    check<OptionError>(axis >= -8 && axis < 8, "--set ", key, ": an axis is within -8 and 7, got ", axis);
    axes.push_back(static_cast<int>(axis));
  }
  return axes;
}

template <Reduction kFunction>
std::shared_ptr<Layer> make_reduce(const Tensors&, Settings& settings) {
  return std::make_shared<Reduce>(kFunction, axes_setting(settings, "axes"), settings.flag("keep_dims", false));
}
template <Activation kFunction>
std::shared_ptr<Layer> make_glu(const Tensors&, Settings& settings) {
  return std::make_shared<Glu>(kFunction, settings.integer("axis", -1));
}
DType dtype_setting(Settings& settings, DType fallback) { return parse_dtype(settings.text("dtype", std::string(name(fallback)))); }
std::shared_ptr<Layer> make_cast(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("dtype"), "cast: needs --set dtype=DTYPE");
  return std::make_shared<Cast>(dtype_setting(settings, DType::f32));
}
std::shared_ptr<Layer> make_embedding(const Tensors& tensors, Settings& settings) {
  const Shape& weight = shape_of(tensors, "weight", 2, "embedding");
  return std::make_shared<Embedding>(weight[0], weight[1], dtype_setting(settings, tensors.at("weight").spec().dtype));
}
std::shared_ptr<Layer> make_timestep_embedding(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("width"), "timestep_embedding: needs --set width=N");
  TimestepOptions o;
  o.flip_sin_to_cos = settings.flag("flip_sin_to_cos", o.flip_sin_to_cos);
  o.downscale_freq_shift = settings.number("downscale_freq_shift", o.downscale_freq_shift);
  o.scale = settings.number("scale", o.scale);
  o.max_period = settings.number("max_period", o.max_period);
  if (settings.has("dtype")) o.dtype = dtype_setting(settings, DType::f32);
  return std::make_shared<TimestepEmbedding>(settings.integer("width", 2), o);
}

std::shared_ptr<Layer> make_concat(const Tensors&, Settings& settings) { return std::make_shared<Concat>(settings.integer("axis", 1)); }
std::shared_ptr<Layer> make_slice(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("begin") && settings.has("end"), "slice: needs --set begin=N and --set end=N");
  return std::make_shared<Slice>(settings.integer("begin", 0), settings.integer("end", 0), settings.integer("axis", 1));
}
std::shared_ptr<Layer> make_reshape(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("shape"), "reshape: needs --set shape=N,N,…");
  return std::make_shared<Reshape>(numbers_setting(settings, "shape"));
}
std::shared_ptr<Layer> make_expand(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("shape"), "expand: needs --set shape=N,N,…");
  return std::make_shared<Expand>(numbers_setting(settings, "shape"));
}
std::shared_ptr<Layer> make_permute(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("axes"), "permute: needs --set axes=N,N,…");
  return std::make_shared<Permute>(axes_setting(settings, "axes"));
}

const Shape& shape_of_x(const Tensors& tensors) { return tensors.at("x").spec().shape; }
int axis_setting(Settings& settings, const std::string& key, int fallback, int rank) {
  const int axis = settings.integer(key, fallback);
  check<OptionError>(-rank <= axis && axis < rank, "--set ", key, ": x has no axis ", axis);
  return axis < 0 ? axis + rank : axis;
}
std::vector<std::int64_t> extents_of(const Shape& shape) { return {shape.extents().begin(), shape.extents().end()}; }

std::shared_ptr<Layer> make_flatten(const Tensors& tensors, Settings& settings) {
  const Shape& x = shape_of_x(tensors);
  const int first = axis_setting(settings, "first", 0, x.rank()), last = axis_setting(settings, "last", -1, x.rank());
  check<OptionError>(first <= last, "flatten: axis ", first, " comes behind ", last);
  std::vector<std::int64_t> extents = extents_of(x);
  for (int axis = last; axis > first; --axis) {
    extents[static_cast<std::size_t>(axis) - 1] *= extents[static_cast<std::size_t>(axis)];
    extents.erase(extents.begin() + axis);
  }
  return std::make_shared<Reshape>(std::move(extents));
}
std::shared_ptr<Layer> make_transpose(const Tensors& tensors, Settings& settings) {
  check<OptionError>(settings.has("a") && settings.has("b"), "transpose: needs --set a=N and --set b=N");
  const int rank = shape_of_x(tensors).rank();
  std::vector<int> axes;
  for (int axis = 0; axis < rank; ++axis) axes.push_back(axis);
  const int a = axis_setting(settings, "a", 0, rank), b = axis_setting(settings, "b", 0, rank);
  std::swap(axes[static_cast<std::size_t>(a)], axes[static_cast<std::size_t>(b)]);
  return std::make_shared<Permute>(std::move(axes));
}
std::shared_ptr<Layer> make_squeeze(const Tensors& tensors, Settings& settings) {
  std::vector<std::int64_t> extents = extents_of(shape_of_x(tensors));
  if (!settings.has("axis")) {
    std::erase(extents, 1);
  } else {
    const int axis = axis_setting(settings, "axis", 0, static_cast<int>(extents.size()));
    check<OptionError>(extents[static_cast<std::size_t>(axis)] == 1, "squeeze: x has ", extents[static_cast<std::size_t>(axis)],
                       " elements along axis ", axis);
    extents.erase(extents.begin() + axis);
  }
  return std::make_shared<Reshape>(std::move(extents));
}
std::shared_ptr<Layer> make_unsqueeze(const Tensors& tensors, Settings& settings) {
  check<OptionError>(settings.has("axis"), "unsqueeze: needs --set axis=N");
  std::vector<std::int64_t> extents = extents_of(shape_of_x(tensors));
  extents.insert(extents.begin() + axis_setting(settings, "axis", 0, static_cast<int>(extents.size()) + 1), 1);
  return std::make_shared<Reshape>(std::move(extents));
}
std::shared_ptr<Layer> make_split(const Tensors&, Settings& settings) {
  check<OptionError>(settings.has("lengths"), "split: needs --set lengths=N,N,…");
  const std::vector<std::int64_t> lengths = numbers_setting(settings, "lengths");
  check<OptionError>(lengths.size() <= 9, "split: up to 9 parts have names, got ", lengths.size());
  return std::make_shared<Split>(lengths, settings.integer("axis", 1));
}
std::shared_ptr<Layer> make_chunk(const Tensors& tensors, Settings& settings) {
  const int chunks = settings.integer("chunks", 2);
  const Shape& x = shape_of_x(tensors);
  const int axis = axis_setting(settings, "axis", 1, x.rank());
  check<OptionError>(1 <= chunks && chunks <= 9 && x[axis] % chunks == 0, "chunk: expected 1 to 9 chunks that divide the extent ", x[axis],
                     " of axis ", axis, ", got ", chunks);
  return std::make_shared<Split>(std::vector<std::int64_t>(static_cast<std::size_t>(chunks), x[axis] / chunks), axis);
}
class Stack final : public Module {
 public:
  explicit Stack(int axis) : axis_(axis) {}
  Value forward(std::span<const Value> inputs) const override { return stack({inputs.begin(), inputs.end()}, axis_, SourceLine{}); }
  std::string_view type_name() const override { return "stack"; }

 private:
  int axis_;
};
std::shared_ptr<Module> make_stack(const Tensors&, Settings& settings) { return std::make_shared<Stack>(settings.integer("axis", 0)); }

const SettingHelp kNumber{"number", "NUMBER", "in place of x2"};
const SettingHelp kAxes{"axes", "N,N,…", "all"}, kKeepDims{"keep_dims", "true|false", "false"};

template <UnaryFunction kOne, BinaryFunction kTwo>
LayerEntry binary(std::string_view name, std::string_view formula) {
  return {name, formula, "x, x2", {kNumber}, make_binary<kOne, kTwo>};
}
template <UnaryFunction kFunction>
LayerEntry unary(std::string_view name, std::string_view formula) {
  return {name, formula, "x", {}, make_unary<kFunction>};
}
template <Reduction kFunction>
LayerEntry reduction(std::string_view name, std::string_view formula) {
  return {name, formula, "x", {kAxes, kKeepDims}, make_reduce<kFunction>};
}
template <Activation kFunction>
LayerEntry gate(std::string_view name, std::string_view formula) {
  return {name, formula, "x", {{"axis", "N", "-1"}}, make_glu<kFunction>};
}

}  // namespace

std::span<const LayerEntry> elementwise_entries() {
  using U = UnaryFunction;
  using B = BinaryFunction;
  static const std::vector<LayerEntry> entries = {
      {"relu", "max(x, 0)", "x", {}, make_activation<Activation::relu>},
      {"silu", "x * sigmoid(x)", "x", {}, make_activation<Activation::silu>},
      {"gelu", "x * Phi(x), by erf", "x", {}, make_activation<Activation::gelu>},
      {"gelu_tanh", "the tanh form of gelu", "x", {}, make_activation<Activation::gelu_tanh>},
      {"sigmoid", "1 / (1 + exp(-x))", "x", {}, make_activation<Activation::sigmoid>},
      {"tanh", "tanh(x)", "x", {}, make_activation<Activation::tanh>},
      {"softplus", "log(1 + exp(x)), x above 20", "x", {}, make_activation<Activation::softplus>},
      {"mish", "x * tanh(softplus(x))", "x", {}, make_activation<Activation::mish>},
      {"hardsigmoid", "min(max(x + 3, 0), 6) / 6", "x", {}, make_activation<Activation::hardsigmoid>},
      {"hardswish", "x * hardsigmoid(x)", "x", {}, make_activation<Activation::hardswish>},
      {"leaky_relu", "x, below 0 slope * x", "x", {{"slope", "NUMBER", "0.01"}}, make_leaky_relu},
      {"elu", "x, below 0 alpha * (exp(x) - 1)", "x", {{"alpha", "NUMBER", "1"}}, make_elu},
      {"prelu", "x, below 0 weight * x", "x, weight [1] or [C]", {}, make_prelu},
      {"add", "x + x2, with broadcasting", "x, x2", {kNumber}, make_add},
      {"mul", "x * x2, with broadcasting", "x, x2", {}, make_plain<Mul>},
      binary<U::add, B::subtract>("sub", "x - x2, with broadcasting"),
      binary<U::divide, B::divide>("div", "x / x2, with broadcasting"),
      {"scale", "factor * x", "x", {{"factor", "NUMBER", "required"}}, make_scale},
      binary<U::clamp, B::minimum>("minimum", "the smaller of x and x2; NaN if either is"),
      binary<U::clamp, B::maximum>("maximum", "the larger of x and x2; NaN if either is"),
      binary<U::greater, B::greater>("greater", "1 if x > x2, else 0"),
      binary<U::greater_equal, B::greater_equal>("greater_equal", "1 if x >= x2, else 0"),
      binary<U::less, B::less>("less", "1 if x < x2, else 0"),
      binary<U::less_equal, B::less_equal>("less_equal", "1 if x <= x2, else 0"),
      binary<U::equal, B::equal>("equal", "1 if x = x2, else 0"),
      binary<U::not_equal, B::not_equal>("not_equal", "1 if x and x2 differ, else 0"),
      {"where", "x2 where x is not 0, else x3", "x, x2, x3", {}, make_plain<Where>},
      unary<U::neg>("neg", "-x"),
      unary<U::abs>("abs", "|x|"),
      unary<U::exp>("exp", "exp(x)"),
      unary<U::log>("log", "the natural logarithm of x"),
      unary<U::sqrt>("sqrt", "sqrt(x)"),
      unary<U::rsqrt>("rsqrt", "1 / sqrt(x)"),
      unary<U::sin>("sin", "sin(x)"),
      unary<U::cos>("cos", "cos(x)"),
      unary<U::square>("square", "x * x"),
      unary<U::reciprocal>("reciprocal", "1 / x"),
      unary<U::floor>("floor", "the largest whole number that is not above x"),
      {"pow", "x to the exponent", "x", {{"exponent", "NUMBER", "required"}}, make_pow},
      {"clamp", "min(max(x, min), max)", "x", {{"min", "NUMBER", "none"}, {"max", "NUMBER", "none"}}, make_clamp},
      reduction<Reduction::sum>("sum", "the sum over axes"),
      reduction<Reduction::mean>("mean", "the mean over axes"),
      reduction<Reduction::max>("amax", "the largest element over axes"),
      reduction<Reduction::min>("amin", "the smallest element over axes"),
      gate<Activation::sigmoid>("glu", "first half of x * sigmoid(second half)"),
      gate<Activation::silu>("swiglu", "first half of x * silu(second half)"),
      gate<Activation::gelu>("geglu", "first half of x * gelu(second half)"),
      gate<Activation::relu>("reglu", "first half of x * relu(second half)"),
      {"gated_silu", "first half of the channels * silu(second half)", "x [N,2C,...]", {}, make_plain<GatedSiLU>},
      {"embedding",
       "the rows of weight that x names; NaN beyond the table",
       "x i32 or i64, weight [count,width]",
       {{"dtype", "f32|f16|bf16", "that of weight"}},
       make_embedding},
      {"timestep_embedding",
       "sines and cosines of x at frequencies from 1 down",
       "x [N]",
       {{"width", "N", "required"},
        {"flip_sin_to_cos", "true|false", "false"},
        {"downscale_freq_shift", "NUMBER", "1"},
        {"scale", "NUMBER", "1"},
        {"max_period", "NUMBER", "10000"},
        {"dtype", "f32|f16|bf16", "that of x; f32 if it is of integers"}},
       make_timestep_embedding},
      {"cast", "x in another type", "x", {{"dtype", "f32|f16|bf16|i32|i64", "required"}}, make_cast},
      {"concat", "the inputs side by side", "x, x2, x3, ... x9", {{"axis", "N", "1"}}, make_concat},
      {"slice",
       "elements begin to end - 1 of an axis",
       "x",
       {{"begin", "N", "required"}, {"end", "N", "required"}, {"axis", "N", "1"}},
       make_slice},
      {"reshape", "x under another shape", "x", {{"shape", "N,N,…", "required; -1: what is left"}}, make_reshape},
      {"expand", "x with axes of one element repeated", "x", {{"shape", "N,N,…", "required; -1: as it is"}}, make_expand},
      {"permute", "x with its axes in another order", "x", {{"axes", "N,N,…", "required"}}, make_permute},
      {"transpose", "x with two axes swapped", "x", {{"a", "N", "required"}, {"b", "N", "required"}}, make_transpose},
      {"flatten", "x with neighbouring axes as one", "x", {{"first", "N", "0"}, {"last", "N", "-1"}}, make_flatten},
      {"squeeze", "x without an axis of 1, or all of them", "x", {{"axis", "N", "all"}}, make_squeeze},
      {"unsqueeze", "x with an axis of 1 before axis", "x", {{"axis", "N", "required; -1: behind the last"}}, make_unsqueeze},
      {"split", "y, y2, ...: ranges of an axis", "x", {{"lengths", "N,N,…", "required"}, {"axis", "N", "1"}}, make_split},
      {"chunk", "y, y2, ...: equal ranges of an axis", "x", {{"chunks", "N", "2"}, {"axis", "N", "1"}}, make_chunk},
      {"stack", "the inputs along a new axis", "x, x2, ... x9", {{"axis", "N", "0"}}, nullptr, make_stack},
  };
  return entries;
}

}  // namespace frieze::tools
