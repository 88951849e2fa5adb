#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include <frieze/core/error.h>
#include <frieze/layers/activation/activation.h>
#include "support/constants.h"
#include "support/reference.h"

namespace frieze {
namespace {

using test::run_reference;
using Floats = std::vector<float>;
using test::kInf;
constexpr Activation kAll[] = {Activation::relu, Activation::silu, Activation::gelu, Activation::gelu_tanh, Activation::sigmoid};

Floats apply_to(Activation f, const Floats& x, DType t = DType::f32) {
  return run_reference(ActivationLayer(f), {{Shape{static_cast<std::int64_t>(x.size())}, x}}, t);
}

// Ten digits each, from tables of exp, erf and tanh.
TEST(ActivationTest, ValuesAtOneAndMinusTwo) {
  struct {
    Activation f;
    double at_one, at_minus_two;
  } const cases[] = {{Activation::relu, 1, 0},
                     {Activation::silu, 0.7310585786, -0.2384058440},
                     {Activation::gelu, 0.8413447461, -0.0455002639},
                     {Activation::gelu_tanh, 0.8411919906, -0.0454022962},
                     {Activation::sigmoid, 0.7310585786, 0.1192029220}};
  for (const auto& c : cases) {
    const Floats y = apply_to(c.f, {1, -2});
    EXPECT_NEAR(y[0], c.at_one, 6e-8) << name(c.f);
    EXPECT_NEAR(y[1], c.at_minus_two, 6e-8) << name(c.f);
  }
}

TEST(ActivationTest, LimitsAtInfinityAreReachedWithoutNan) {
  for (const Activation f : kAll) {
    const Floats y = apply_to(f, {-kInf, kInf});
    EXPECT_EQ(y[0], 0) << name(f);
    EXPECT_EQ(y[1], f == Activation::sigmoid ? 1 : kInf) << name(f);
  }
}

TEST(ActivationTest, NanStays) {
  for (const Activation f : kAll) EXPECT_TRUE(std::isnan(apply_to(f, {NAN})[0])) << name(f);
}

TEST(ActivationTest, TheLargestNumbersOfATypeGiveTheirLimits) {
  for (const Activation f : kAll) {
    for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
      const float most = static_cast<float>(max_finite(t));
      const Floats y = apply_to(f, {-most, most}, t);
      EXPECT_EQ(y[0], 0) << name(f) << ' ' << t;
      EXPECT_EQ(y[1], f == Activation::sigmoid ? 1 : most) << name(f) << ' ' << t;
    }
  }
}

TEST(ActivationTest, TailsKeepTheirRelativePrecision) {
  // x * Phi(x) far below 0, where 1 + erf(x / sqrt 2) would cancel to nothing: Phi(-10) = 7.619853e-24.
  EXPECT_NEAR(apply_to(Activation::gelu, {-10})[0] / -7.619853e-23, 1, 1e-6);
  EXPECT_NEAR(apply_to(Activation::silu, {-50})[0] / (-50 * 1.928749848e-22), 1, 1e-6);
}

TEST(ActivationTest, AProducerMayAbsorbIt) {
  const TensorSpec in[] = {{{1, 2, 3, 3}}};
  const auto op = SiLU().as_epilogue(in);
  ASSERT_TRUE(op.has_value());
  EXPECT_EQ(*op, (EpilogueOp{EpilogueOp::Kind::activation, Activation::silu}));
}

TEST(ActivationTest, RefusesWrongCountsAndEmptyTensors) {
  const TensorSpec two[] = {{{1, 2}}, {{1, 2}}};
  EXPECT_EQ(test::message_of<ShapeError>([&] { ReLU().infer(two); }), "relu takes 1 input, got 2");
  EXPECT_THROW(test::inferred_shape(GELU(), {{1, 0}}), ShapeError);
  EXPECT_EQ(test::inferred_shape(GELU(true), {{7, 1, 1}}), (Shape{7, 1, 1}));
}

TEST(ActivationTest, NamesParseBack) {
  for (const Activation f : kAll) EXPECT_EQ(parse_activation(name(f)), f);
  EXPECT_THROW(parse_activation("swish"), OptionError);
}

TEST(ActivationTest, FreeFunctionsNameTheirStep) {
  const Plan plan = test::trace_function(
      {{1, 2}}, [](const std::vector<Value>& x) { return std::vector<Value>{sigmoid(gelu_tanh(gelu(silu(relu(x[0])))))}; });
  ASSERT_EQ(plan.steps.size(), 5U);
  EXPECT_EQ(plan.steps[0].layer->type_name(), "relu");
  EXPECT_EQ(plan.steps[3].path, "gelu_tanh");
}

TEST(ActivationTest, LimitsOfTheRarerFunctions) {
  struct {
    Activation f;
    float at_minus_inf, at_inf;
  } const cases[] = {{Activation::tanh, -1, 1},       {Activation::softplus, 0, kInf},  {Activation::mish, 0, kInf},
                     {Activation::hardsigmoid, 0, 1}, {Activation::hardswish, 0, kInf}, {Activation::leaky_relu, -kInf, kInf},
                     {Activation::elu, -1, kInf}};
  for (const auto& c : cases) {
    const Floats y = apply_to(c.f, {-kInf, kInf, NAN});
    EXPECT_EQ(y[0], c.at_minus_inf) << name(c.f);
    EXPECT_EQ(y[1], c.at_inf) << name(c.f);
    EXPECT_TRUE(std::isnan(y[2])) << name(c.f);
    EXPECT_EQ(parse_activation(name(c.f)), c.f);
  }
}

TEST(ActivationTest, ParametersAreToldAndChecked) {
  const TensorSpec in[] = {{{1, 2}}};
  EXPECT_EQ(LeakyReLU(0.2F).as_epilogue(in), (EpilogueOp{EpilogueOp::Kind::activation, Activation::leaky_relu, 0.2F}));
  EXPECT_EQ(LeakyReLU().as_epilogue(in)->parameter, 0.01F);
  EXPECT_EQ(ActivationLayer(Activation::mish, 5).parameter(), 0);
  EXPECT_EQ(ELU(2).describe(), "alpha 2");
  EXPECT_EQ(test::message_of<OptionError>([] { ELU(NAN); }), "elu expects a finite parameter, got nan");
  EXPECT_EQ(run_reference(ELU(2), {{{2}, {-1, 3}}})[1], 3);
  EXPECT_NEAR(run_reference(ELU(2), {{{2}, {-1, 3}}})[0], 2 * (0.36787944 - 1), 1e-7);
}

}  // namespace
}  // namespace frieze
