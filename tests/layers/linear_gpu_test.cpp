#include <frieze/layers/linear/linear.h>

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/parity_grid.h"

namespace frieze {
namespace {

using test::act;
using test::expect_parity;
using test::Fill;
using test::kAdd;
using test::kMul;
using test::kTypes;
using test::ParityCase;

void run(std::int64_t in, std::int64_t out, const ParityCase& c, const std::string& path, bool bias = true) {
  Linear linear(in, out, {.bias = bias});
  init_random(linear, 5);
  const test::ParityReport report = expect_parity(linear, c);
  EXPECT_NE(report.describe.find(path), std::string::npos) << "ran: " << report.describe << "\nnot: " << path;
}

TEST(LinearGpu, FeaturesAndRanks) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const std::int64_t in : {1, 3, 31, 32, 33, 64, 96, 384, 1025}) {
      for (const std::int64_t out : {1, 33, 64}) {
        run(in, out, {.inputs = {{7, in}}, .dtype = t}, "");
        run(in, out, {.inputs = {{in}}, .dtype = t}, "", false);
      }
    }
    run(64, 1025, {.inputs = {{300, 64}}, .dtype = t}, "cublasLt");
    run(64, 48, {.inputs = {{2, 3, 5, 64}}, .dtype = t}, "cublasLt");
    run(64, 48, {.inputs = {{2, 1, 3, 1, 5, 1, 1, 64}}, .dtype = t}, "cublasLt");
  }
}

TEST(LinearGpu, Epilogues) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    const std::string pass = t == DType::f32 ? "own epilogue pass" : "f32 sums, own epilogue pass";
    for (const bool bias : {true, false}) {
      for (const std::int64_t out : {64, 33}) {
        const auto c = [&](const std::vector<EpilogueOp>& chain) {
          return ParityCase{.inputs = {{65, 96}}, .dtype = t, .epilogue = chain};
        };
        run(96, out, c({act(Activation::relu)}), "", bias);
        run(96, out, c({act(Activation::gelu_tanh)}), "", bias);
        // With rows of y that are no multiples of 16 bytes, the library rounds a 16-bit sum before it adds the bias: left out.
        run(96, out, c({kAdd}), t != DType::f32 && bias && out == 33 ? pass : "residual", bias);
        run(96, out, c({kAdd, act(Activation::relu)}), "", bias);
        run(96, out, c({act(Activation::gelu)}), pass, bias);
        run(96, out, c({act(Activation::silu)}), pass, bias);
        run(96, out, c({act(Activation::sigmoid), kMul}), pass, bias);
        run(96, out, c({kMul, kAdd}), pass, bias);
        run(96, out, c({kAdd, act(Activation::silu), kMul, kAdd}), pass, bias);
      }
    }
  }
}

// f32 sums of more rows than the workspace holds: 32 MiB / (1024 * 4) = 8192 at a time.
TEST(LinearGpu, RowsInChunks) {
  FRIEZE_NEEDS_GPU();
  run(32, 1024, {.inputs = {{8200, 32}}, .dtype = DType::bf16, .epilogue = {act(Activation::silu)}}, "2 chunks");
}

TEST(LinearGpu, MisalignedTensors) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const std::int64_t elements : {1, 3}) {
      run(64, 48, {.inputs = {{70, 64}}, .dtype = t, .misalign = elements}, "");
      run(33, 31, {.inputs = {{7, 33}}, .dtype = t, .epilogue = {act(Activation::silu), kAdd}, .misalign = elements}, "");
    }
  }
}

TEST(LinearGpu, SpecialValues) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const Fill fill : {Fill::special, Fill::zeros, Fill::constant, Fill::subnormal, Fill::mixed}) {
      for (const auto& chain : {std::vector<EpilogueOp>{}, {act(Activation::relu)}, {act(Activation::gelu_tanh)}}) {
        run(64, 48, {.inputs = {{33, 64}}, .dtype = t, .fill = fill, .epilogue = chain}, "");
      }
    }
  }
}

TEST(LinearGpu, Tuned) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    run(256, 512, {.inputs = {{200, 256}}, .dtype = t, .tune = true}, "cublasLt");
    run(256, 512, {.inputs = {{200, 256}}, .dtype = t, .epilogue = {kAdd, act(Activation::relu)}, .tune = true}, "");
  }
}

}  // namespace
}  // namespace frieze
