#include <gtest/gtest.h>

#include <cmath>

#include <frieze/graph/session.h>
#include <frieze/layers/arithmetic/arithmetic.h>
#include <frieze/layers/embedding/embedding.h>
#include <frieze/layers/glu/glu.h>
#include <frieze/layers/prelu/prelu.h>
#include <frieze/layers/reduce/reduce.h>
#include "support/parity_grid.h"

namespace frieze {
namespace {

using test::expect_parity;
using test::ParityCase;

constexpr int kBinaryFunctions = static_cast<int>(BinaryFunction::prelu) + 1;

TEST(ArithmeticGpu, FunctionsOfOneValue) {
  FRIEZE_NEEDS_GPU();
  for (int f = 0; f <= static_cast<int>(UnaryFunction::not_equal); ++f) {
    const auto function = static_cast<UnaryFunction>(f);
    const bool clamps = function == UnaryFunction::clamp;
    const Unary layer(function, clamps ? -0.5F : function == UnaryFunction::pow ? 3.0F : 0.75F, clamps ? 1.25F : 0.0F);
    test::each_type_and_format([&](DType t, Format format) {
      for (const Shape& x : {Shape{1, 1, 1, 1}, Shape{2, 33, 5, 7}, Shape{2, 64, 9, 31}}) {
        expect_parity(layer, {.inputs = {x}, .dtype = t, .format = format});
      }
      expect_parity(layer, {.inputs = {{2, 33, 5, 8}}, .dtype = t, .format = format, .misalign = 1});
      if (f % 4 != 0) return;  // the kernel for what is not contiguous is one for all functions
      test::each_placement({.inputs = {{2, 33, 5, 8}}, .dtype = t, .format = format}, {.strided = true, .in_place = true},
                           [&](const ParityCase& c) { expect_parity(layer, c); });
    });
    for (const DType t : test::kTypes) {
      for (const test::Fill fill : test::kFills) expect_parity(layer, {.inputs = {{2, 33, 5, 7}}, .dtype = t, .fill = fill});
    }
  }
}

// Where the arguments need more bits of pi than a float has.
TEST(ArithmeticGpu, SineAndCosineOfLargeArguments) {
  FRIEZE_NEEDS_GPU();
  const std::vector<float> x{1e4F, -3.5e5F, 1e8F, 0x1p40F, 3e38F, -1e20F, 12345.678F, 355.0F, 22.0F, 1e-30F};
  for (const UnaryFunction f : {UnaryFunction::sin, UnaryFunction::cos}) expect_parity(Unary(f), {.inputs = {{10}}, .values = {x}});
}

TEST(ArithmeticGpu, FunctionsOfTwoValues) {
  FRIEZE_NEEDS_GPU();
  for (int f = 0; f < kBinaryFunctions; ++f) {
    const Binary layer(static_cast<BinaryFunction>(f));
    test::each_type_and_format([&](DType t, Format format) {
      for (const Shape& full : {Shape{3, 33, 5, 7}, Shape{2, 32, 4, 8}}) {
        for (const Shape& other :
             {full, full.with(0, 1).with(2, 1).with(3, 1), full.with(1, 1), Shape{full[1], 1, 1}, Shape{full[3]}, Shape{1}}) {
          expect_parity(layer, {.inputs = {full, other}, .dtype = t, .format = format});
          if (f < 3) expect_parity(layer, {.inputs = {other, full}, .dtype = t, .format = format});
        }
      }
      test::each_placement({.inputs = {{2, 32, 5, 8}, {2, 32, 5, 8}}, .dtype = t, .format = format}, {.strided = true, .in_place = true},
                           [&](const ParityCase& c) { expect_parity(layer, c); });
    });
    for (const DType t : test::kTypes) {
      for (const test::Fill fill : test::kFills) expect_parity(layer, {.inputs = {{2, 33, 5, 7}, {2, 33, 5, 7}}, .dtype = t, .fill = fill});
    }
  }
}

TEST(ArithmeticGpu, Where) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const Shape& full : {Shape{3, 33, 5, 7}, Shape{2, 32, 4, 8}}) {
      for (const test::Fill fill : {test::Fill::normal, test::Fill::one_hot, test::Fill::special}) {
        expect_parity(Where(), {.inputs = {full, full, full}, .dtype = t, .format = format, .fill = fill});
        expect_parity(Where(), {.inputs = {full.with(1, 1), Shape{1}, full}, .dtype = t, .format = format, .fill = fill});
        expect_parity(Where(), {.inputs = {full, full, Shape{full[1], 1, 1}}, .dtype = t, .format = format, .fill = fill});
      }
      test::each_placement({.inputs = {full, full, full}, .dtype = t, .format = format}, {.strided = true, .in_place = true},
                           [](const ParityCase& c) { expect_parity(Where(), c); });
    }
  });
}

// Every set of axes, in whole packs and odd extents; and what has one line, many short lines, and long lines of few outputs.
TEST(ReduceGpu, EverySetOfAxes) {
  FRIEZE_NEEDS_GPU();
  for (const Reduction f : {Reduction::sum, Reduction::mean, Reduction::max, Reduction::min}) {
    test::each_type_and_format([&](DType t, Format format) {
      for (const Shape& x : {Shape{3, 33, 5, 7}, Shape{2, 64, 8, 16}}) {
        for (int set = 1; set < 16; ++set) {
          std::vector<int> axes;
          for (int axis = 0; axis < 4; ++axis) {
            if ((set >> axis & 1) != 0) axes.push_back(axis);
          }
          expect_parity(Reduce(f, axes, set % 2 == 0), {.inputs = {x}, .dtype = t, .format = format});
        }
      }
    });
  }
}

TEST(ReduceGpu, LinesOfManyLengths) {
  FRIEZE_NEEDS_GPU();
  for (const Reduction f : {Reduction::sum, Reduction::max, Reduction::min}) {
    for (const DType t : test::kTypes) {
      for (const std::int64_t length : {1, 7, 8, 64, 513, 1024, 10007, 100000}) {
        expect_parity(Reduce(f, {1}), {.inputs = {{3, length}}, .dtype = t});
        expect_parity(Reduce(f, {0}), {.inputs = {{length, 3}}, .dtype = t});
        if (length > 5000) continue;
        expect_parity(Reduce(f, {0}), {.inputs = {{length, 24}}, .dtype = t});
        expect_parity(Reduce(f, {1}), {.inputs = {{2, length, 16}}, .dtype = t});
      }
      expect_parity(Reduce(f), {.inputs = {{2, 300003}}, .dtype = t});
      expect_parity(Reduce(f, {1}), {.inputs = {{5000, 40}}, .dtype = t});
      expect_parity(Reduce(f, {0, 2}), {.inputs = {{16, 48, 1000}}, .dtype = t});
      expect_parity(Reduce(f, {1, 2}), {.inputs = {{3, 100, 200, 8}}, .dtype = t});
    }
  }
}

TEST(ReduceGpu, PlacementsAndSpecialValues) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    for (const std::vector<int>& axes : {std::vector<int>{1}, {2, 3}, {3}, {0}}) {
      for (const Format format : test::kFormats) {
        test::each_placement({.inputs = {{2, 32, 6, 40}}, .dtype = t, .format = format}, {.strided = true},
                             [&](const ParityCase& c) { expect_parity(Reduce(Reduction::sum, axes), c); });
      }
      for (const test::Fill fill : test::kFills) {
        expect_parity(Reduce(Reduction::max, axes), {.inputs = {{2, 33, 5, 7}}, .dtype = t, .fill = fill});
        expect_parity(Reduce(Reduction::min, axes), {.inputs = {{2, 32, 4, 8}}, .dtype = t, .fill = fill});
        // Sums of the largest values overflow on the way, or do not, as the order wants.
        if (fill != test::Fill::huge) expect_parity(Reduce(Reduction::mean, axes), {.inputs = {{2, 33, 5, 8}}, .dtype = t, .fill = fill});
      }
    }
  }
}

TEST(GluGpu, AnyAxisAndFunction) {
  FRIEZE_NEEDS_GPU();
  for (const Activation f : {Activation::sigmoid, Activation::silu, Activation::gelu, Activation::relu, Activation::mish}) {
    test::each_type_and_format([&](DType t, Format format) {
      for (int axis = 0; axis < 4; ++axis) {
        expect_parity(Glu(f, axis), {.inputs = {{2, 34, 6, 8}}, .dtype = t, .format = format});
        expect_parity(Glu(f, axis), {.inputs = {{2, 64, 2, 32}}, .dtype = t, .format = format, .fill = test::Fill::special});
      }
      test::each_placement({.inputs = {{2, 64, 5, 8}}, .dtype = t, .format = format}, {.strided = true},
                           [&](const ParityCase& c) { expect_parity(Glu(f, 1), c); });
    });
  }
}

TEST(PReLUGpu, OneSlopeOrOneAChannel) {
  FRIEZE_NEEDS_GPU();
  test::each_type_and_format([](DType t, Format format) {
    for (const std::int64_t channels : {1, 3, 32, 33}) {
      PReLU one, each(channels);
      init_random(one, 3), init_random(each, 4);
      for (const Shape& x : test::images(channels)) {
        expect_parity(one, {.inputs = {x}, .dtype = t, .format = format});
        expect_parity(each, {.inputs = {x}, .dtype = t, .format = format, .fill = test::Fill::special});
      }
      test::each_placement({.inputs = {{2, channels, 5, 8}}, .dtype = t, .format = format}, {.strided = true, .in_place = true},
                           [&](const ParityCase& c) { expect_parity(each, c); });
    }
  });
}

// The harness has inputs of floats only.
void expect_same_on_gpu(const Module& model, const InputSpec& input, const std::vector<std::int64_t>& values, float within) {
  std::vector<HostTensor> results;
  for (const Device& device : {Device::reference(), Device::cuda()}) {
    Session net = compile(model, {input}, device);
    net.input().copy_from(HostTensor({input.shape, input.dtype}, values));
    net.poison();
    net.run();
    results.push_back(net.output().to_host());
  }
  ASSERT_EQ(results[0].spec(), results[1].spec());
  const std::vector<float> expected = results[0].floats(), got = results[1].floats();
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(expected[i]) != std::isnan(got[i]) || std::abs(expected[i] - got[i]) > within) {
      FAIL() << input.dtype << " to " << results[0].spec() << " at " << i << ": " << got[i] << ", expected " << expected[i];
    }
  }
}

TEST(EmbeddingGpu, IndicesOfBothWidthsWithinTheTableAndBeyond) {
  FRIEZE_NEEDS_GPU();
  for (const DType to : test::kTypes) {
    for (const std::int64_t width : {1, 6, 8, 33, 64, 768}) {
      Embedding table(1000, width, to);
      init_random(table, 5);
      for (const DType t : {DType::i32, DType::i64}) {
        std::vector<std::int64_t> indices;
        for (std::int64_t i = 0; i < 3 * 77; ++i) indices.push_back(i * 379 % 1000);
        indices[5] = -1, indices[6] = 1000, indices[7] = t == DType::i64 ? std::int64_t{1} << 40 : 2147483647, indices[8] = -2147483648LL;
        expect_same_on_gpu(table, {"x", {3, 77}, t}, indices, 0);
      }
    }
  }
}

TEST(TimestepGpu, TypesAndWidths) {
  FRIEZE_NEEDS_GPU();
  for (const DType to : test::kTypes) {
    for (const int width : {5, 32, 320}) {
      for (const bool flip : {false, true}) {
        const TimestepEmbedding layer(width, {.flip_sin_to_cos = flip, .downscale_freq_shift = 0, .dtype = to});
        expect_same_on_gpu(layer, {"t", {4}, DType::i64}, {0, 1, 500, 999}, to == DType::f32 ? 1e-6F : to == DType::f16 ? 1e-3F : 8e-3F);
      }
    }
  }
  for (const DType t : test::kTypes) {
    expect_parity(TimestepEmbedding(64), {.inputs = {{300}}, .dtype = t});
    expect_parity(TimestepEmbedding(7), {.inputs = {{3}}, .dtype = t, .fill = test::Fill::special});
  }
}

}  // namespace
}  // namespace frieze
