#include <gtest/gtest.h>

#include <cmath>

#include <frieze/core/error.h>
#include <frieze/layers/arithmetic/arithmetic.h>
#include <frieze/layers/concat/concat.h>
#include <frieze/layers/embedding/embedding.h>
#include <frieze/layers/glu/glu.h>
#include <frieze/layers/prelu/prelu.h>
#include <frieze/layers/reduce/reduce.h>
#include <frieze/layers/reshape/reshape.h>
#include "support/constants.h"
#include "support/reference.h"

namespace frieze {
namespace {

using test::inferred_shape;
using test::kInf;
using test::message_of;
using test::run_reference;
using Floats = std::vector<float>;

Floats apply_unary(UnaryFunction f, const Floats& x, float p = 0, float q = 0) {
  return run_reference(Unary(f, p, q), {{Shape{static_cast<std::int64_t>(x.size())}, x}});
}
Floats apply_binary(BinaryFunction f, const Floats& a, const Floats& b) {
  const Shape shape{static_cast<std::int64_t>(a.size())};
  return run_reference(Binary(f), {{shape, a}, {shape, b}});
}
Shape traced_shape(const std::vector<Shape>& inputs, const test::FunctionModel::Function& f) {
  const Plan plan = test::trace_function(inputs, f);
  return plan.spec(plan.output("y0")).shape;
}

TEST(ArithmeticTest, NumbersAndNan) {
  EXPECT_EQ(apply_unary(UnaryFunction::subtract_from, {1, -2}, 3), (Floats{2, 5}));
  EXPECT_EQ(apply_unary(UnaryFunction::divide_into, {4, 0}, 2), (Floats{0.5F, kInf}));
  EXPECT_EQ(apply_unary(UnaryFunction::clamp, {-5, 0.5F, 9, kInf}, -1, 2), (Floats{-1, 0.5F, 2, 2}));
  EXPECT_TRUE(std::isnan(apply_unary(UnaryFunction::clamp, {NAN}, -1, 2)[0]));
  EXPECT_EQ(apply_unary(UnaryFunction::greater, {1, 2, NAN}, 1), (Floats{0, 1, 0}));
  EXPECT_EQ(apply_unary(UnaryFunction::not_equal, {1, 2, NAN}, 1), (Floats{0, 1, 1}));
  EXPECT_EQ(apply_unary(UnaryFunction::floor, {-0.5F, 1.5F}), (Floats{-1, 1}));
  EXPECT_TRUE(std::isnan(apply_unary(UnaryFunction::sqrt, {-1})[0]));
  EXPECT_EQ(apply_unary(UnaryFunction::log, {0, 1}), (Floats{-kInf, 0}));
}

TEST(ArithmeticTest, MinimumAndMaximumKeepNan) {
  for (const BinaryFunction f : {BinaryFunction::minimum, BinaryFunction::maximum}) {
    EXPECT_TRUE(std::isnan(apply_binary(f, {NAN}, {1})[0]));
    EXPECT_TRUE(std::isnan(apply_binary(f, {1}, {NAN})[0]));
  }
  EXPECT_EQ(apply_binary(BinaryFunction::minimum, {1, 5}, {2, 3}), (Floats{1, 3}));
  EXPECT_EQ(apply_binary(BinaryFunction::maximum, {1, 5}, {2, 3}), (Floats{2, 5}));
}

TEST(ArithmeticTest, WhereTakesNanAsTrueAndMovesWhatItChooses) {
  const Floats y = run_reference(Where(), {{{4}, {1, 0, NAN, -0.0F}}, {{1}, {7}}, {{4}, {1, 2, 3, 4}}});
  EXPECT_EQ(y, (Floats{7, 2, 7, 4}));
  EXPECT_EQ(inferred_shape(Where(), {{5, 1}, {2, 1, 1}, {3}}), (Shape{2, 5, 3}));
}

TEST(ArithmeticTest, OperatorsMakeOneStepEach) {
  const Plan plan = test::trace_function({{2, 3}, {3}}, [](const std::vector<Value>& x) {
    return std::vector<Value>{-((x[0] + 1 - x[1]) / 8 * 3.0F) - 2 / x[1], where(greater(x[0], 0.5F), x[0], -1.0F)};
  });
  std::string names;
  for (const Step& step : plan.steps) names += step.path + ' ';
  for (const char* name : {"add ", "sub ", "div ", "scale ", "neg ", "greater ", "where "})
    EXPECT_NE(names.find(name), std::string::npos) << names;
  EXPECT_EQ(plan.steps.size(), 9U) << names;
  EXPECT_EQ(plan.constants.size(), 1U);
}

TEST(ArithmeticTest, Refusals) {
  EXPECT_EQ(message_of<OptionError>([] { Unary(UnaryFunction::add, kInf); }), "add expects a finite number, got inf");
  EXPECT_EQ(message_of<OptionError>([] { Unary(UnaryFunction::clamp, NAN, 1); }), "clamp expects numbers as its bounds, got nan and 1");
  EXPECT_THROW(traced_shape({{2}}, [](const auto& x) { return std::vector<Value>{clamp(x[0], std::nullopt)}; }), OptionError);
  EXPECT_THROW(inferred_shape(Binary(BinaryFunction::divide), {{2}, {3}}), ShapeError);
  EXPECT_THROW(inferred_shape(Where(), {{2}, {2}}), ShapeError);
}

TEST(ReduceTest, AnySetOfAxesInEitherFormat) {
  const Shape x{2, 3, 1, 2};
  const Floats values = test::iota(12);
  for (const Format format : {Format::nchw, Format::nhwc}) {
    const auto reduced = [&](Reduction f, std::vector<int> axes) {
      return run_reference(Reduce(f, std::move(axes)), {{x, values}}, DType::f32, format);
    };
    EXPECT_EQ(reduced(Reduction::sum, {1}), (Floats{6, 9, 24, 27}));
    EXPECT_EQ(reduced(Reduction::mean, {-1, 0}), (Floats{3.5F, 5.5F, 7.5F}));
    EXPECT_EQ(reduced(Reduction::max, {}), (Floats{11}));
    EXPECT_EQ(reduced(Reduction::min, {0}), (Floats{0, 1, 2, 3, 4, 5}));
  }
  EXPECT_EQ(inferred_shape(Reduce(Reduction::sum, {1, 3}), {x}), (Shape{2, 1}));
  EXPECT_EQ(inferred_shape(Reduce(Reduction::sum, {1, 3}, true), {x}), (Shape{2, 1, 1, 1}));
  EXPECT_EQ(inferred_shape(Reduce(Reduction::sum), {x}), Shape{});
}

TEST(ReduceTest, NanAndInfinities) {
  EXPECT_TRUE(std::isnan(run_reference(Reduce(Reduction::max), {{{3}, {1, NAN, 2}}})[0]));
  EXPECT_TRUE(std::isnan(run_reference(Reduce(Reduction::min), {{{3}, {NAN, 1, 2}}})[0]));
  EXPECT_EQ(run_reference(Reduce(Reduction::max), {{{2}, {-kInf, -kInf}}})[0], -kInf);
  EXPECT_TRUE(std::isnan(run_reference(Reduce(Reduction::sum), {{{2}, {kInf, -kInf}}})[0]));
}

TEST(ReduceTest, Refusals) {
  EXPECT_EQ(message_of<OptionError>([] {
              inferred_shape(Reduce(Reduction::sum, {1, -1}), {{2, 3}});
            }),
            "sum takes every axis once, got over [1,-1] for [2,3]");
  EXPECT_THROW(inferred_shape(Reduce(Reduction::max, {2}), {{2, 3}}), ShapeError);
  EXPECT_THROW(inferred_shape(Reduce(Reduction::max, {-3}), {{2, 3}}), ShapeError);
  EXPECT_THROW(inferred_shape(Reduce(Reduction::mean), {{2, 0}}), ShapeError);
}

TEST(GluTest, TheSecondHalfIsTheGate) {
  EXPECT_EQ(run_reference(Glu(Activation::relu), {{{1, 4}, {2, 3, 5, -1}}}), (Floats{10, 0}));
  EXPECT_EQ(run_reference(Glu(Activation::relu, 0), {{{2, 2}, {2, 3, 5, -1}}}), (Floats{10, 0}));
  EXPECT_THROW(inferred_shape(Glu(), {{2, 3}}), ShapeError);
  EXPECT_THROW(inferred_shape(Glu(Activation::silu, 2), {{2, 2}}), ShapeError);
  EXPECT_THROW((void)Glu(Activation::elu), OptionError);
}

TEST(PReLUTest, OneSlopeOrOneAChannel) {
  PReLU one, each(2);
  one.Module::parameters()[0]->values = {0.5F};
  each.Module::parameters()[0]->values = {0.5F, -1};
  EXPECT_EQ(run_reference(one, {{{1, 2, 2}, {-2, 2, -4, 4}}}), (Floats{-1, 2, -2, 4}));
  EXPECT_EQ(run_reference(each, {{{1, 2, 2}, {-2, 2, -4, 4}}}), (Floats{-1, 2, 4, 4}));
  EXPECT_THROW(inferred_shape(each, {{1, 3, 2}}), ShapeError);
  EXPECT_THROW(inferred_shape(each, {{2}}), ShapeError);
  EXPECT_THROW(PReLU(0), OptionError);
}

TEST(EmbeddingTest, IndicesBeyondTheTableGiveNan) {
  Embedding table(3, 2, DType::bf16);
  table.Module::parameters()[0]->values = {1, 2, 3, 4, 5, 1.001F};
  const std::int64_t numbers[] = {2, -1, 3, 0};
  for (const DType t : {DType::i32, DType::i64}) {
    const HostTensor x({{2, 2}, t}, numbers), y({{2, 2, 2}, DType::bf16});
    const TensorSpec spec[] = {x.spec()};
    EXPECT_EQ(table.infer(spec).out[0], y.spec());
    const TensorView in[] = {x.view()}, out[] = {y.view()};
    table.reference({in, out, DType::bf16});
    const Floats got = y.floats();
    EXPECT_EQ(got[0], 5);
    EXPECT_EQ(got[1], 1);
    for (const std::size_t i : {2, 3, 4, 5}) EXPECT_TRUE(std::isnan(got[i])) << i;
    EXPECT_EQ(got[7], 2);
  }
  EXPECT_THROW(inferred_shape(table, {{2}}), DTypeError);
  EXPECT_THROW(Embedding(0, 2), OptionError);
  EXPECT_THROW(Embedding(2, 2, DType::i32), OptionError);
}

TEST(TimestepTest, OptionsAndTypes) {
  const TensorSpec steps[] = {{{3}, DType::i64}}, halves[] = {{{3}, DType::bf16}}, image[] = {{{3, 1}, DType::f32}};
  EXPECT_EQ(TimestepEmbedding(5).infer(steps).out[0], (TensorSpec{{3, 5}, DType::f32}));
  EXPECT_EQ(TimestepEmbedding(6).infer(halves).out[0].dtype, DType::bf16);
  EXPECT_EQ(TimestepEmbedding(6, {.dtype = DType::f16}).infer(halves).out[0].dtype, DType::f16);
  EXPECT_THROW(TimestepEmbedding(6).infer(image), ShapeError);
  EXPECT_THROW(TimestepEmbedding(1), OptionError);
  EXPECT_THROW(TimestepEmbedding(2), OptionError);  // half is the shift: a division by 0
  EXPECT_THROW(TimestepEmbedding(8, {.max_period = 0}), OptionError);
  EXPECT_EQ(run_reference(TimestepEmbedding(5), {{{1}, {0}}}), (Floats{0, 0, 1, 1, 0}));
}

TEST(ShapesTest, SqueezeUnsqueezeStack) {
  const auto one = [](const Shape& x, Value (*f)(Value)) {
    return traced_shape({x}, [f](const std::vector<Value>& v) { return std::vector<Value>{f(v[0])}; });
  };
  EXPECT_EQ(one({1, 3, 1}, [](Value v) { return squeeze(v); }), (Shape{3}));
  EXPECT_EQ(one({1, 3, 1}, [](Value v) { return squeeze(v, -1); }), (Shape{1, 3}));
  EXPECT_THROW(one({1, 3}, [](Value v) { return squeeze(v, 1); }), ShapeError);
  EXPECT_EQ(one({2, 3}, [](Value v) { return unsqueeze(v, 1); }), (Shape{2, 1, 3}));
  EXPECT_EQ(one({2, 3}, [](Value v) { return unsqueeze(v, -1); }), (Shape{2, 3, 1}));
  EXPECT_THROW(one({2, 3}, [](Value v) { return unsqueeze(v, 3); }), ShapeError);
  const auto stacked = [](const std::vector<Shape>& shapes, int axis) {
    return traced_shape(shapes, [axis](const std::vector<Value>& v) { return std::vector<Value>{stack(v, axis)}; });
  };
  EXPECT_EQ(stacked({{2, 3}, {2, 3}}, -1), (Shape{2, 3, 2}));
  EXPECT_EQ(stacked({{2, 3}, {2, 3}, {2, 3}}, 0), (Shape{3, 2, 3}));
  EXPECT_NE(message_of<ShapeError>([&] {
              stacked({{2, 3}, {2, 4}}, 0);
            }).find("stack expects values of one shape, got [2,3] and [2,4]"),
            std::string::npos);
}

}  // namespace
}  // namespace frieze
