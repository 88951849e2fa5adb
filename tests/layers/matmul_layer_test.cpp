#include <frieze/layers/matmul/matmul.h>

#include <gtest/gtest.h>

#include <string>

#include <frieze/core/error.h>
#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/permute/permute.h>
#include "support/parity_grid.h"
#include "support/reference.h"

#if FRIEZE_WITH_CUDA
#include <frieze/core/cuda/lt_matmul.h>
#endif

namespace frieze {
namespace {

using test::act;
using test::expect_parity;
using test::Fill;
using test::inferred_shape;
using test::kAdd;
using test::kMul;
using test::kTypes;
using test::message_of;
using test::ParityCase;
using test::run_reference;
using Values = std::vector<float>;

TEST(MatMulLayer, ProductsByHand) {
  EXPECT_EQ(run_reference(MatMul(), {{{2, 3}, {1, 2, 3, 4, 5, 6}}, {{3, 2}, {1, 0, 0, 1, 2, 2}}}), (Values{7, 8, 16, 17}));
  EXPECT_EQ(run_reference(MatMul(), {{{3}, {1, 2, 3}}, {{3}, {4, 5, 6}}}), (Values{32}));
  // One b for both matrices of a, and one matrix of a for both of b.
  EXPECT_EQ(run_reference(MatMul(), {{{2, 1, 2}, {1, 2, 3, 4}}, {{2, 1}, {10, 1}}}), (Values{12, 34}));
  EXPECT_EQ(run_reference(MatMul(), {{{1, 2}, {1, 2}}, {{2, 2, 1}, {10, 1, 20, 2}}}), (Values{12, 24}));
}

TEST(MatMulLayer, ShapesAsPyTorch) {
  const auto shape = [](const Shape& a, const Shape& b) { return inferred_shape(MatMul(), {a, b}); };
  EXPECT_EQ(shape({5, 7}, {7, 3}), (Shape{5, 3}));
  EXPECT_EQ(shape({7}, {7}), Shape{});
  EXPECT_EQ(shape({7}, {7, 3}), (Shape{3}));
  EXPECT_EQ(shape({5, 7}, {7}), (Shape{5}));
  EXPECT_EQ(shape({7}, {2, 7, 3}), (Shape{2, 3}));
  EXPECT_EQ(shape({2, 5, 7}, {7}), (Shape{2, 5}));
  EXPECT_EQ(shape({4, 1, 5, 7}, {3, 7, 2}), (Shape{4, 3, 5, 2}));
  EXPECT_EQ(shape({1, 1, 1, 1, 1, 9, 5, 7}, {7, 2}), (Shape{1, 1, 1, 1, 1, 9, 5, 2}));
}

TEST(MatMulLayer, Refusals) {
  const auto refused = [](const Shape& a, const Shape& b) { return message_of<ShapeError>([&] { inferred_shape(MatMul(), {a, b}); }); };
  EXPECT_EQ(refused({5, 7}, {6, 3}), "MatMul expects b with 7 rows, as a has columns, got 6 (a [5,7], b [6,3])");
  EXPECT_EQ(refused({7}, {6}), "MatMul expects b with 7 rows, as a has columns, got 6 (a [7], b [6])");
  EXPECT_EQ(refused({2, 5, 7}, {3, 7, 4}), "MatMul expects axes before the last two that broadcast, got [2,5,7] and [3,7,4]");
  EXPECT_EQ(refused(Shape{}, {7}), "MatMul expects rank 1 to 8, got [] and [7]");
  EXPECT_THROW((void)MatMul().infer(std::vector<TensorSpec>{{{2, 2}, DType::f16}, {{2, 2}, DType::bf16}}), DTypeError);
  EXPECT_THROW((void)MatMul().infer(std::vector<TensorSpec>(2, {{2, 2}, DType::i32})), DTypeError);
  EXPECT_THROW((void)MatMul().infer(std::vector<TensorSpec>(1, {{2, 2}})), ShapeError);
}

TEST(MatMulLayer, TransposedViewsTakeNoStep) {
  const test::FunctionModel model([](const std::vector<Value>& x) { return std::vector<Value>{matmul(x[0], transpose(x[1], 1, 2))}; });
  const Session net = compile(model, {{"a", {2, 5, 7}}, {"b", {2, 3, 7}}}, Device::reference());
  ASSERT_EQ(net.plan().steps.size(), 1U);
  EXPECT_EQ(net.plan().steps[0].layer->type_name(), "MatMul");
}

bool has_library() {
#if FRIEZE_WITH_CUDA
  return !cuda::LtMatmul::library_version().empty();
#else
  return false;
#endif
}

void run(const ParityCase& c, const std::string& path = "") {
  const test::ParityReport report = expect_parity(MatMul(), c);
  if (path == "cublasLt" && !has_library()) return;
  EXPECT_NE(report.describe.find(path), std::string::npos) << "ran: " << report.describe << "\nnot: " << path;
}

TEST(MatMulGpu, Shapes) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const std::int64_t k : {1, 3, 31, 64, 65, 384, 1025}) {
      for (const std::int64_t n : {1, 8, 33, 130}) {
        run({.inputs = {{7, k}, {k, n}}, .dtype = t});
        run({.inputs = {{k}, {k, n}}, .dtype = t});
        run({.inputs = {{3, 65, k}, {k, n}}, .dtype = t});
        run({.inputs = {{3, 9, k}, {3, k, n}}, .dtype = t});
      }
      run({.inputs = {{k}, {k}}, .dtype = t});
      run({.inputs = {{2, 5, k}, {k}}, .dtype = t});
    }
    run({.inputs = {{96, 64}, {64, 128}}, .dtype = t}, "cublasLt");
    run({.inputs = {{2, 3, 40, 64}, {2, 3, 64, 48}}, .dtype = t}, "batch of 6");
    run({.inputs = {{2, 3, 40, 64}, {3, 64, 48}}, .dtype = t}, "batch of 3");
    run({.inputs = {{2, 1, 40, 64}, {3, 64, 48}}, .dtype = t}, "batch of 3");
    run({.inputs = {{2, 3, 40, 64}, {2, 1, 64, 48}}, .dtype = t}, "batch of 2");
    run({.inputs = {{5, 3, 3}, {5, 3, 3}}, .dtype = t}, "own 128x64 tiles");
    run({.inputs = {{2, 1, 3, 1, 1, 2, 9, 16}, {3, 1, 4, 1, 16, 8}}, .dtype = t});
  }
}

TEST(MatMulGpu, Epilogues) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const std::vector<EpilogueOp>& chain : std::vector<std::vector<EpilogueOp>>{
             {act(Activation::relu)}, {kAdd}, {act(Activation::gelu), kMul, kAdd}, {kAdd, kMul, kAdd, kMul}}) {
      run({.inputs = {{65, 96}, {96, 48}}, .dtype = t, .epilogue = chain}, "own epilogue pass");
      run({.inputs = {{4, 65, 96}, {4, 96, 48}}, .dtype = t, .epilogue = chain}, "own epilogue pass");
      run({.inputs = {{4, 5, 7}, {4, 7, 3}}, .dtype = t, .epilogue = chain}, "own 128x64 tiles");
    }
    run({.inputs = {{8200, 32}, {32, 1024}}, .dtype = t, .epilogue = {act(Activation::silu)}}, "own epilogue pass");
  }
}

TEST(MatMulGpu, Placements) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const std::vector<Shape>& inputs : std::vector<std::vector<Shape>>{{{70, 64}, {64, 48}}, {{3, 9, 33}, {3, 33, 31}}}) {
      test::each_placement({.inputs = inputs, .dtype = t}, {.strided = true}, [](const ParityCase& c) { run(c); });
    }
  }
}

TEST(MatMulGpu, Values) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const Fill fill : {Fill::zeros, Fill::constant, Fill::subnormal, Fill::mixed, Fill::special}) {
      run({.inputs = {{9, 33}, {33, 40}}, .dtype = t, .fill = fill});
      run({.inputs = {{2, 9, 32}, {2, 32, 40}}, .dtype = t, .fill = fill});
    }
  }
}

TEST(MatMulGpu, TransposedViews) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const std::int64_t k : {8, 33, 64}) {
      const test::FunctionModel model([](const std::vector<Value>& x) {
        return std::vector<Value>{matmul(x[0], transpose(x[1], 1, 2)), matmul(transpose(x[0], 1, 2), x[2]),
                                  matmul(transpose(x[0], 1, 2), transpose(x[3], 1, 2))};
      });
      Session net = compile(model, {{"a", {3, 40, k}, t}, {"b", {3, 24, k}, t}, {"c", {3, 40, 16}, t}, {"d", {3, 16, 40}, t}},
                            Device::cuda(), {.tune = false});
      EXPECT_EQ(net.plan().steps.size(), 3U);
      const VerifyReport report = verify(net);
      EXPECT_TRUE(report.ok()) << report;
    }
  }
}

}  // namespace
}  // namespace frieze
