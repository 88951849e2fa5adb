#include <frieze/layers/arithmetic/arithmetic.h>

#include <cmath>
#include <limits>

#include <frieze/core/constant.h>
#include <frieze/core/error.h>
#include <frieze/layers/shared/views.h>

namespace frieze {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

constexpr std::string_view kUnary[] = {"neg",    "abs",        "exp",           "log",  "sqrt",       "rsqrt", "sin",      "cos",
                                       "square", "reciprocal", "floor",         "add",  "rsub",       "div",   "rdiv",     "clamp",
                                       "pow",    "greater",    "greater_equal", "less", "less_equal", "equal", "not_equal"};
constexpr std::string_view kBinary[] = {"sub",  "div",        "minimum", "maximum",   "greater", "greater_equal",
                                        "less", "less_equal", "equal",   "not_equal", "prelu"};

double truth(bool v) { return v ? 1.0 : 0.0; }

double evaluate(UnaryFunction f, double x, double p, double q) {
  switch (f) {
    case UnaryFunction::neg: return -x;
    case UnaryFunction::abs: return std::abs(x);
    case UnaryFunction::exp: return std::exp(x);
    case UnaryFunction::log: return std::log(x);
    case UnaryFunction::sqrt: return std::sqrt(x);
    case UnaryFunction::rsqrt: return 1 / std::sqrt(x);
    case UnaryFunction::sin: return std::sin(x);
    case UnaryFunction::cos: return std::cos(x);
    case UnaryFunction::square: return x * x;
    case UnaryFunction::reciprocal: return 1 / x;
    case UnaryFunction::floor: return std::floor(x);
    case UnaryFunction::add: return x + p;
    case UnaryFunction::subtract_from: return p - x;
    case UnaryFunction::divide: return x / p;
    case UnaryFunction::divide_into: return p / x;
    case UnaryFunction::clamp: {
      const double above = x < p ? p : x;
      return above > q ? q : above;
    }
    case UnaryFunction::pow: return std::pow(x, p);
    case UnaryFunction::greater: return truth(x > p);
    case UnaryFunction::greater_equal: return truth(x >= p);
    case UnaryFunction::less: return truth(x < p);
    case UnaryFunction::less_equal: return truth(x <= p);
    case UnaryFunction::equal: return truth(x == p);
    case UnaryFunction::not_equal: return truth(x != p);
  }
  return x;
}

double evaluate(BinaryFunction f, double a, double b) {
  switch (f) {
    case BinaryFunction::subtract: return a - b;
    case BinaryFunction::divide: return a / b;
    case BinaryFunction::minimum: return a < b || std::isnan(a) ? a : b;
    case BinaryFunction::maximum: return a > b || std::isnan(a) ? a : b;
    case BinaryFunction::greater: return truth(a > b);
    case BinaryFunction::greater_equal: return truth(a >= b);
    case BinaryFunction::less: return truth(a < b);
    case BinaryFunction::less_equal: return truth(a <= b);
    case BinaryFunction::equal: return truth(a == b);
    case BinaryFunction::not_equal: return truth(a != b);
    case BinaryFunction::prelu: return a < 0 ? a * b : a;
  }
  return a;
}

bool takes_number(UnaryFunction f) { return f >= UnaryFunction::add; }
bool is_exact(UnaryFunction f) {
  return f == UnaryFunction::neg || f == UnaryFunction::abs || f == UnaryFunction::floor || f >= UnaryFunction::greater;
}
// Of one operation that IEEE 754 rounds; the others are CUDA's functions.
bool is_arithmetic(UnaryFunction f) {
  return f == UnaryFunction::sqrt || f == UnaryFunction::square || f == UnaryFunction::reciprocal ||
         (f >= UnaryFunction::add && f <= UnaryFunction::clamp);  // the bounds of clamp are rounded to the type of x
}

Value unary(std::string_view op, const Operand& x, UnaryFunction f, float p = 0, float q = 0) { return apply_new<Unary>(op, {x}, f, p, q); }
Value binary(std::string_view op, const Operand& a, const Operand& b, BinaryFunction f) { return apply_new<Binary>(op, {a, b}, f); }

}  // namespace

std::string_view name(UnaryFunction f) { return kUnary[static_cast<std::size_t>(f)]; }
std::string_view name(BinaryFunction f) { return kBinary[static_cast<std::size_t>(f)]; }

Unary::Unary(UnaryFunction f, float p, float q) : f_(f), p_(p), q_(q) {
  if (f == UnaryFunction::clamp) {
    check<OptionError>(!std::isnan(p) && !std::isnan(q), "clamp expects numbers as its bounds, got ", p, " and ", q);
  } else {
    check<OptionError>(std::isfinite(p), name(f), " expects a finite number, got ", p);
  }
}

Inferred Unary::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  return elementwise_cost(in, {in[0].shape, in[0].dtype}, is_exact(f_) || is_arithmetic(f_) ? 1 : 20);
}

void Unary::reference(const ReferenceArgs& args) const {
  const std::vector<float> x = to_floats(args.in[0]);
  std::vector<double> y(x.size());
  for (std::size_t i = 0; i < y.size(); ++i) {
    y[i] = evaluate(f_, static_cast<double>(x[i]), static_cast<double>(p_), static_cast<double>(q_));
  }
  from_doubles(y, args.out[0]);
}

// One operation of IEEE 754 in f32 and one store are the rounding of the exact result, see elementwise.cpp; CUDA's functions are off by
// 4 ulp at most, powf (CUDA Programming Guide, single-precision functions).
ErrorBudget Unary::budget(std::span<const TensorSpec> in) const {
  const bool half = in[0].dtype != DType::f32;
  if (is_exact(f_)) return {.roundings = 0, .terms = 0};
  // In 16 bits divisions are off by 2 units of f32, sines and cosines by 2^-21, beside the store.
  if (half && (f_ == UnaryFunction::divide || f_ == UnaryFunction::divide_into || f_ == UnaryFunction::reciprocal))
    return {.roundings = 1.01, .terms = 0};
  if (half && (f_ == UnaryFunction::sin || f_ == UnaryFunction::cos)) return {.roundings = 1.05, .terms = 16};
  if (is_arithmetic(f_)) return {.roundings = 1, .terms = 0};
  return {.roundings = in[0].dtype == DType::f32 ? 16.0 : 1.05, .terms = 1};
}

std::string Unary::describe() const {
  if (!takes_number(f_)) return {};
  return f_ == UnaryFunction::clamp ? concat_text(p_, " to ", q_) : concat_text(p_);
}

Inferred Binary::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 2);
  return elementwise_cost(in, {broadcast_shape(type_name(), in[0].shape, in[1].shape), in[0].dtype}, 1);
}

void Binary::reference(const ReferenceArgs& args) const {
  const std::vector<float> a = to_floats(broadcast_view(args.in[0], args.out[0].shape));
  const std::vector<float> b = to_floats(broadcast_view(args.in[1], args.out[0].shape));
  std::vector<double> y(a.size());
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = evaluate(f_, static_cast<double>(a[i]), static_cast<double>(b[i]));
  from_doubles(y, args.out[0]);
}

ErrorBudget Binary::budget(std::span<const TensorSpec> in) const {
  if (f_ == BinaryFunction::divide && in[0].dtype != DType::f32) return {.roundings = 1.01, .terms = 0};
  const bool rounds = f_ == BinaryFunction::subtract || f_ == BinaryFunction::divide || f_ == BinaryFunction::prelu;
  return {.roundings = rounds ? 1.0 : 0.0, .terms = 0};
}

Inferred Where::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 3);
  const Shape values = broadcast_shape(type_name(), in[1].shape, in[2].shape);
  return elementwise_cost(in, {broadcast_shape(type_name(), in[0].shape, values), in[1].dtype}, 0);
}

void Where::reference(const ReferenceArgs& args) const {
  const Shape& shape = args.out[0].shape;
  const std::vector<float> condition = to_floats(broadcast_view(args.in[0], shape)), a = to_floats(broadcast_view(args.in[1], shape)),
                           b = to_floats(broadcast_view(args.in[2], shape));
  std::vector<float> y(a.size());
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = condition[i] != 0 ? a[i] : b[i];
  from_floats(y, args.out[0]);
}

Value operator-(Operand x) { return unary("neg", x, UnaryFunction::neg); }
Value operator-(Operand a, Operand b) { return binary("sub", a, b, BinaryFunction::subtract); }
Value operator/(Operand a, Operand b) { return binary("div", a, b, BinaryFunction::divide); }
Value operator+(Operand x, float number) { return unary("add", x, UnaryFunction::add, number); }
Value operator+(float number, Operand x) { return unary("add", x, UnaryFunction::add, number); }
Value operator-(Operand x, float number) { return unary("sub", x, UnaryFunction::add, -number); }
Value operator-(float number, Operand x) { return unary("sub", x, UnaryFunction::subtract_from, number); }
Value operator/(Operand x, float number) { return unary("div", x, UnaryFunction::divide, number); }
Value operator/(float number, Operand x) { return unary("div", x, UnaryFunction::divide_into, number); }

Value abs(Operand x) { return unary("abs", x, UnaryFunction::abs); }
Value exp(Operand x) { return unary("exp", x, UnaryFunction::exp); }
Value log(Operand x) { return unary("log", x, UnaryFunction::log); }
Value sqrt(Operand x) { return unary("sqrt", x, UnaryFunction::sqrt); }
Value rsqrt(Operand x) { return unary("rsqrt", x, UnaryFunction::rsqrt); }
Value sin(Operand x) { return unary("sin", x, UnaryFunction::sin); }
Value cos(Operand x) { return unary("cos", x, UnaryFunction::cos); }
Value square(Operand x) { return unary("square", x, UnaryFunction::square); }
Value reciprocal(Operand x) { return unary("reciprocal", x, UnaryFunction::reciprocal); }
Value floor(Operand x) { return unary("floor", x, UnaryFunction::floor); }
Value pow(Operand x, float exponent) { return unary("pow", x, UnaryFunction::pow, exponent); }
Value clamp(Operand x, std::optional<float> low, std::optional<float> high) {
  check_at("clamp", x, [&] { check<OptionError>(low.has_value() || high.has_value(), "clamp expects at least one bound"); });
  return unary("clamp", x, UnaryFunction::clamp, low.value_or(-kInfinity), high.value_or(kInfinity));
}

Value minimum(Operand a, Operand b) { return binary("minimum", a, b, BinaryFunction::minimum); }
Value minimum(Operand x, float number) { return unary("minimum", x, UnaryFunction::clamp, -kInfinity, number); }
Value maximum(Operand a, Operand b) { return binary("maximum", a, b, BinaryFunction::maximum); }
Value maximum(Operand x, float number) { return unary("maximum", x, UnaryFunction::clamp, number, kInfinity); }
Value greater(Operand a, Operand b) { return binary("greater", a, b, BinaryFunction::greater); }
Value greater(Operand x, float number) { return unary("greater", x, UnaryFunction::greater, number); }
Value greater_equal(Operand a, Operand b) { return binary("greater_equal", a, b, BinaryFunction::greater_equal); }
Value greater_equal(Operand x, float number) { return unary("greater_equal", x, UnaryFunction::greater_equal, number); }
Value less(Operand a, Operand b) { return binary("less", a, b, BinaryFunction::less); }
Value less(Operand x, float number) { return unary("less", x, UnaryFunction::less, number); }
Value less_equal(Operand a, Operand b) { return binary("less_equal", a, b, BinaryFunction::less_equal); }
Value less_equal(Operand x, float number) { return unary("less_equal", x, UnaryFunction::less_equal, number); }
Value equal(Operand a, Operand b) { return binary("equal", a, b, BinaryFunction::equal); }
Value equal(Operand x, float number) { return unary("equal", x, UnaryFunction::equal, number); }
Value not_equal(Operand a, Operand b) { return binary("not_equal", a, b, BinaryFunction::not_equal); }
Value not_equal(Operand x, float number) { return unary("not_equal", x, UnaryFunction::not_equal, number); }

Value where(Operand condition, Operand a, Operand b) { return apply_new<Where>("where", {condition, a, b}); }
Value where(Operand condition, Operand a, float b) {
  return where(condition, a, Operand(constant(Shape{1}, {b}, a.value.dtype(), condition.where), condition.where));
}
Value where(Operand condition, float a, Operand b) {
  return where(condition, Operand(constant(Shape{1}, {a}, b.value.dtype(), condition.where), condition.where), b);
}

}  // namespace frieze
