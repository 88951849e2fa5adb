#pragma once
/// Functions of one value, of two values with broadcasting, and a choice between two: all that is no activation.
#include <optional>

#include <frieze/core/layer.h>
#include <frieze/layers/elementwise/elementwise.h>

namespace frieze FRIEZE_API {

/// Functions of one value; those from `add` on take a number p, clamp also q.
enum class UnaryFunction : std::uint8_t {
  neg,
  abs,
  exp,
  log,
  sqrt,
  rsqrt,
  sin,
  cos,
  square,
  reciprocal,
  floor,
  add,            ///< x + p
  subtract_from,  ///< p - x
  divide,         ///< x / p
  divide_into,    ///< p / x
  clamp,          ///< min(max(x, p), q)
  pow,            ///< x to the p
  greater,        ///< 1 if x > p, else 0; and so on
  greater_equal,
  less,
  less_equal,
  equal,
  not_equal
};
std::string_view name(UnaryFunction f);

/// y[i] = f(x[i]).
/// x, y: any shape, f32|f16|bf16, same type; y may be x. Computed in f32 by CUDA's accurate functions (arguments of sin and cos are
/// reduced exactly, whatever their size), rounded once; p and q are f32 whatever the type of x is.
/// NaN stays NaN, in clamp too; sqrt and log of negative numbers are NaN, log(0) is -Inf, rsqrt(0) and 1/0 are Inf. Comparisons give 1 or 0
/// in the type of x, and 0 for NaN, `not_equal` 1: there is no type of truth values.
/// Moves 2*elements*sizeof(T) bytes, 1 to 20 flop/element.
/// Throws OptionError on a number that is NaN or, but for clamp, infinite; ShapeError on other than one input.
/// Source: the functions of these names in PyTorch 2.x.
class Unary final : public Layer {
 public:
  explicit Unary(UnaryFunction f, float p = 0, float q = 0);
  UnaryFunction function() const { return f_; }
  float p() const { return p_; }
  float q() const { return q_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::any, .out = Strided::any};
  }
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Unary>(f_, p_, q_)); }
  std::string_view type_name() const override { return name(f_); }

 private:
  UnaryFunction f_;
  float p_, q_;
};

/// Functions of two values.
enum class BinaryFunction : std::uint8_t {
  subtract,
  divide,
  minimum,
  maximum,
  greater,
  greater_equal,
  less,
  less_equal,
  equal,
  not_equal,
  prelu  ///< a, below 0 a * b
};
std::string_view name(BinaryFunction f);

/// y[i] = f(a[i], b[i]) with NumPy's broadcasting; all else as Add. minimum and maximum are NaN if either is; comparisons as in Unary.
/// Source: the functions of these names in PyTorch 2.x.
class Binary final : public Layer {
 public:
  explicit Binary(BinaryFunction f) : f_(f) {}
  BinaryFunction function() const { return f_; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::any, .out = Strided::any};
  }
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Binary>(f_)); }
  std::string_view type_name() const override { return name(f_); }

 private:
  BinaryFunction f_;
};

/// y[i] = a[i] where condition[i] is not 0, else b[i]; a condition of NaN counts as true, as in PyTorch. The three are broadcast.
/// Inputs condition, a, b of one type f32|f16|bf16; y may be one of its own shape. Exact. Throws ShapeError, DTypeError as Add does.
/// Source: PyTorch 2.x torch.where.
class Where final : public Layer {
 public:
  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp>) const override {
    return {.in = Strided::any, .operands = Strided::any, .out = Strided::any};
  }
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 0, .terms = 0}; }
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<Where>()); }
  std::string_view type_name() const override { return "where"; }
};

Value operator-(Operand x);
Value operator-(Operand a, Operand b);
Value operator/(Operand a, Operand b);
Value operator+(Operand x, float number);
Value operator+(float number, Operand x);
Value operator-(Operand x, float number);
Value operator-(float number, Operand x);
Value operator/(Operand x, float number);
Value operator/(float number, Operand x);

Value abs(Operand x);
Value exp(Operand x);
Value log(Operand x);
Value sqrt(Operand x);
Value rsqrt(Operand x);
Value sin(Operand x);
Value cos(Operand x);
Value square(Operand x);
Value reciprocal(Operand x);
Value floor(Operand x);
Value pow(Operand x, float exponent);
/// Either bound may be left out (std::nullopt), not both. Where low > high, y is high.
Value clamp(Operand x, std::optional<float> low, std::optional<float> high = std::nullopt);

Value minimum(Operand a, Operand b);
Value minimum(Operand x, float number);
Value maximum(Operand a, Operand b);
Value maximum(Operand x, float number);
Value greater(Operand a, Operand b);
Value greater(Operand x, float number);
Value greater_equal(Operand a, Operand b);
Value greater_equal(Operand x, float number);
Value less(Operand a, Operand b);
Value less(Operand x, float number);
Value less_equal(Operand a, Operand b);
Value less_equal(Operand x, float number);
Value equal(Operand a, Operand b);
Value equal(Operand x, float number);
Value not_equal(Operand a, Operand b);
Value not_equal(Operand x, float number);

/// A number stands for a constant of the other operand's type.
Value where(Operand condition, Operand a, Operand b);
Value where(Operand condition, Operand a, float b);
Value where(Operand condition, float a, Operand b);

}  // namespace FRIEZE_API
