#include <gtest/gtest.h>

#include <cmath>

#include <frieze/core/error.h>
#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/attention/attention.h>
#include <frieze/layers/permute/permute.h>
#include <frieze/layers/reshape/reshape.h>
#include <frieze/layers/split/split.h>
#include "support/constants.h"
#include "support/reference.h"

namespace frieze {
namespace {

using test::inferred_shape;
using test::kInf;
using test::message_of;
using test::run_reference;
using Values = std::vector<float>;

// One query of width 1: the scores are q * k.
Values attend(float q, const Values& k, const Values& v, const AttentionOptions& options = {.scale = 1.0}, const Values& mask = {}) {
  const auto keys = static_cast<std::int64_t>(k.size());
  std::vector<test::Input> inputs{{{1, 1}, {q}}, {{keys, 1}, k}, {{keys, 1}, v}};
  if (!mask.empty()) inputs.push_back({{1, keys}, mask});
  return run_reference(ScaledDotProductAttention(options), inputs);
}

void expect_values(const Values& got, const Values& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-6 * std::max(1.0F, std::abs(expected[i]))) << i;
}

TEST(AttentionTest, WeighsValuesByTheSoftmaxOfScores) {
  const float e = std::exp(1.0F);
  expect_values(attend(1, {0, 1}, {10, 20}), {(10 + 20 * e) / (1 + e)});
  expect_values(attend(2, {0, 1}, {10, 20}, {.scale = 0.5}), {(10 + 20 * e) / (1 + e)});
  expect_values(attend(1, {0, 1}, {10, 20}, {.scale = -1.0}), {(10 * e + 20) / (1 + e)});
  // 1 / sqrt(4) by default.
  expect_values(
      run_reference(ScaledDotProductAttention(), {{{1, 4}, {1, 1, 0, 0}}, {{2, 4}, {1, 1, 5, 5, 0, 0, 5, 5}}, {{2, 1}, {10, 20}}}),
      {(10 * e + 20) / (1 + e)});
}

TEST(AttentionTest, LargeScoresDoNotOverflow) {
  expect_values(attend(1000, {1, 0.5F, -1}, {10, 20, 30}), {10});
  expect_values(attend(-3e4F, {3e4F, 2e4F, 3e4F}, {10, 20, 30}), {20});
}

TEST(AttentionTest, CausalRowsSeeTheKeysUpToTheirOwnIndex) {
  const auto run = [](std::int64_t rows, std::int64_t keys) {
    Values v;
    for (std::int64_t j = 0; j < keys; ++j) v.push_back(static_cast<float>(j));
    return run_reference(
        ScaledDotProductAttention({.is_causal = true}),
        {{{rows, 1}, Values(static_cast<std::size_t>(rows))}, {{keys, 1}, Values(static_cast<std::size_t>(keys))}, {{keys, 1}, v}});
  };
  expect_values(run(3, 3), {0, 0.5F, 1});
  expect_values(run(2, 4), {0, 0.5F});
  expect_values(run(4, 2), {0, 0.5F, 0.5F, 0.5F});
}

TEST(AttentionTest, MasksHideOrAdd) {
  const float e = std::exp(1.0F);
  expect_values(attend(0, {1, 1, 1}, {10, 20, 30}, {}, {0, -kInf, 1}), {(10 + 30 * e) / (1 + e)});
  expect_values(attend(0, {1, 1}, {10, 20}, {}, {-kInf, -kInf}), {0});
  EXPECT_TRUE(std::isnan(attend(0, {1, 1}, {10, 20}, {}, {kInf, 0})[0]));
  EXPECT_TRUE(std::isnan(attend(0, {1, 1}, {10, 20}, {}, {NAN, 0})[0]));

  // Booleans: any integer but 0 shows a key; a hidden one's score may be NaN.
  const ScaledDotProductAttention layer({.scale = 1.0});
  for (const DType t : {DType::i32, DType::i64}) {
    const HostTensor q({Shape{1, 1}}, std::vector<float>{1}), k({Shape{3, 1}}, std::vector<float>{NAN, 0, 1}),
        v({Shape{3, 1}}, std::vector<float>{5, 10, 20}), mask({Shape{3}, t}, std::vector<std::int64_t>{0, 7, -1});
    const HostTensor y({Shape{1, 1}});
    const TensorView views[] = {q.view(), k.view(), v.view(), mask.view()}, made[] = {y.view()};
    layer.reference({views, made});
    expect_values(y.floats(), {(10 + 20 * e) / (1 + e)});
  }
}

TEST(AttentionTest, SpecialScores) {
  for (const float bad : {NAN, kInf}) EXPECT_TRUE(std::isnan(attend(1, {bad, 0}, {10, 20})[0]));
  expect_values(attend(1, {-kInf, 0}, {10, 20}), {20});
  expect_values(attend(1, {-kInf, -kInf}, {10, 20}), {0});
}

TEST(AttentionTest, HeadsShareKeysAndValues) {
  // Values tell which head of v was taken: heads 0 and 1 share the first, 2 and 3 the second.
  const Values zeros(8);
  expect_values(run_reference(ScaledDotProductAttention({.enable_gqa = true}),
                              {{{1, 4, 1, 2}, zeros}, {{1, 2, 1, 2}, Values(4)}, {{1, 2, 1, 1}, {10, 20}}}),
                {10, 10, 20, 20});
  expect_values(
      run_reference(ScaledDotProductAttention(), {{{2, 2, 1, 2}, zeros}, {{1, 1, 1, 2}, Values(2)}, {{2, 2, 1, 1}, {1, 2, 3, 4}}}),
      {1, 2, 3, 4});
  EXPECT_EQ(inferred_shape(ScaledDotProductAttention(), {{2, 3, 5, 8}, {2, 3, 7, 8}, {2, 3, 7, 6}}), (Shape{2, 3, 5, 6}));
}

TEST(AttentionTest, Refusals) {
  const auto refused = [](const std::vector<Shape>& shapes, const AttentionOptions& options = {}) {
    return message_of<ShapeError>([&] { inferred_shape(ScaledDotProductAttention(options), shapes); });
  };
  EXPECT_EQ(refused({{1, 2, 5, 8}, {1, 2, 7, 9}, {1, 2, 7, 8}}),
            "ScaledDotProductAttention expects k as wide as q, 8, got 9 (q [1,2,5,8], k [1,2,7,9], v [1,2,7,8] as [N,heads,tokens,width])");
  EXPECT_EQ(refused({{1, 2, 5, 8}, {1, 2, 7, 8}, {1, 2, 6, 8}}),
            "ScaledDotProductAttention expects as many rows of v as of k, 7, got 6 (q [1,2,5,8], k [1,2,7,8], v [1,2,6,8] as "
            "[N,heads,tokens,width])");
  refused({{5, 8}, {5, 8}});
  refused({{8}, {8}, {8}});
  refused({{1, 1, 2, 5, 8}, {1, 1, 2, 5, 8}, {1, 1, 2, 5, 8}});
  refused({{2, 5, 8}, {1, 2, 5, 8}, {1, 2, 5, 8}});
  refused({{3, 2, 5, 8}, {2, 2, 5, 8}, {3, 2, 5, 8}});
  refused({{1, 4, 5, 8}, {1, 2, 5, 8}, {1, 2, 5, 8}});  // without enable_gqa
  EXPECT_EQ(refused({{1, 4, 5, 8}, {1, 4, 5, 8}, {1, 3, 5, 8}}, {.enable_gqa = true}),
            "ScaledDotProductAttention expects a divisor of 4 heads in v, got 3 (q [1,4,5,8], k [1,4,5,8], v [1,3,5,8] as "
            "[N,heads,tokens,width])");
  EXPECT_EQ(refused({{1, 4, 5, 8}, {1, 4, 7, 8}, {1, 4, 7, 8}, {1, 3, 5, 7}}),
            "ScaledDotProductAttention expects a mask that broadcasts to [1,4,5,7], got [1,3,5,7]");
  refused({{4, 5, 8}, {4, 7, 8}, {4, 7, 8}, {1, 4, 5, 7}});
  EXPECT_EQ(refused({{5, 8}, {5, 8}, {5, 8}, {5, 5}}, {.is_causal = true}),
            "ScaledDotProductAttention takes a mask or is_causal, not both");
  EXPECT_EQ(message_of<OptionError>([] { ScaledDotProductAttention({.scale = kInf}); }),
            "ScaledDotProductAttention expects a finite scale, got inf");
  const std::vector<TensorSpec> other_mask{{{5, 8}, DType::f16}, {{5, 8}, DType::f16}, {{5, 8}, DType::f16}, {{5, 5}, DType::bf16}};
  EXPECT_EQ(message_of<DTypeError>([&] { ScaledDotProductAttention().infer(other_mask); }),
            "ScaledDotProductAttention takes a mask of i32, i64, f32 or f16, got bf16");
  const std::vector<TensorSpec> integers(3, {{5, 8}, DType::i32});
  EXPECT_THROW(ScaledDotProductAttention().infer(integers), DTypeError);
}

// q, k and v lie in one projection, and the output where the next layer wants it: no step copies.
TEST(AttentionTest, ViewsTakeNoStep) {
  const test::FunctionModel slices([](const std::vector<Value>& x) {
    const std::vector<Value> parts = split(permute(reshape(x[0], {2, 5, 3, 4, 8}), {2, 0, 3, 1, 4}), 1, 0);
    const auto part = [&](std::size_t i) { return reshape(parts[i], {2, 4, 5, 8}); };
    const Value heads = permute(scaled_dot_product_attention(part(0), part(1), part(2)), {0, 2, 1, 3});
    return std::vector<Value>{relu(reshape(heads, {2, 5, 32}))};
  });
  const Session of_slices = compile(slices, {{"qkv", {2, 5, 96}}}, Device::reference());
  ASSERT_EQ(of_slices.plan().steps.size(), 2U);  // the attention and what follows
  EXPECT_TRUE(verify(of_slices).ok());

  const test::FunctionModel image([](const std::vector<Value>& x) {
    const std::vector<Value> parts = chunk(reshape(x[0], {2, 24, 15}), 3);
    const auto rows = [&](std::size_t i) { return transpose(parts[i], 1, 2); };
    return std::vector<Value>{transpose(scaled_dot_product_attention(rows(0), rows(1), rows(2)), 1, 2)};
  });
  const Session of_image = compile(image, {{"x", {2, 24, 3, 5}}}, Device::reference());
  ASSERT_EQ(of_image.plan().steps.size(), 1U);
  EXPECT_TRUE(verify(of_image).ok());
}

TEST(AttentionTest, FreeFunction) {
  const Shape shape{1, 2, 5, 8};
  const Plan plan = test::trace_function({shape, shape, shape, {5, 5}}, [](const std::vector<Value>& x) {
    return std::vector<Value>{scaled_dot_product_attention(x[0], x[1], x[2], {.mask = x[3], .scale = 0.5}),
                              scaled_dot_product_attention(x[0], x[1], x[2], {.is_causal = true})};
  });
  ASSERT_EQ(plan.steps.size(), 2U);
  EXPECT_EQ(plan.steps[0].inputs.size(), 4U);
  EXPECT_EQ(plan.steps[0].layer->describe(), "scale 0.5");
  EXPECT_EQ(plan.steps[1].layer->describe(), "causal");
  EXPECT_NE(message_of<ShapeError>([&] {
              (void)test::trace_function({{5, 8}, {5, 9}, {5, 9}}, [](const std::vector<Value>& x) {
                return std::vector<Value>{scaled_dot_product_attention(x[0], x[1], x[2])};
              });
            }).find("attention_test.cpp:"),
            std::string::npos);
}

}  // namespace
}  // namespace frieze
