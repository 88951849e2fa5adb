#include <frieze/layers/activation/activation.h>

#include <gtest/gtest.h>

#include "support/parity_grid.h"

namespace frieze {
namespace {

using test::expect_parity;
using test::ParityCase;

constexpr Activation kFunctions[] = {Activation::relu, Activation::silu, Activation::gelu, Activation::gelu_tanh, Activation::sigmoid};

TEST(ActivationGpu, ChannelsAndFormats) {
  FRIEZE_NEEDS_GPU();
  for (const Activation f : kFunctions) {
    const ActivationLayer layer(f);
    test::each_type_and_format([&](DType t, Format format) {
      for (const std::int64_t c : test::kChannels) {
        for (const Shape& x : test::images(c)) expect_parity(layer, {.inputs = {x}, .dtype = t, .format = format});
      }
    });
  }
}

TEST(ActivationGpu, AnyRank) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    for (const Shape& x : {Shape{1}, Shape{4097}, Shape{31, 33}, Shape{2, 3, 5, 7, 2, 1, 3, 2}}) {
      expect_parity(ActivationLayer(Activation::silu), {.inputs = {x}, .dtype = t});
    }
  }
}

TEST(ActivationGpu, Placements) {
  FRIEZE_NEEDS_GPU();
  for (const Activation f : kFunctions) {
    const ActivationLayer layer(f);
    test::each_type_and_format([&](DType t, Format format) {
      for (const Shape& x : {Shape{2, 33, 5, 7}, Shape{1, 32, 3, 16}}) {
        test::each_placement({.inputs = {x}, .dtype = t, .format = format}, {.strided = true, .in_place = true},
                             [&](const ParityCase& c) { expect_parity(layer, c); });
      }
    });
  }
}

TEST(ActivationGpu, SpecialValues) {
  FRIEZE_NEEDS_GPU();
  for (const Activation f : kFunctions) {
    const ActivationLayer layer(f);
    for (const DType t : test::kTypes) {
      for (const test::Fill fill : test::kFills) {
        expect_parity(layer, {.inputs = {{2, 33, 5, 7}}, .dtype = t, .format = Format::nhwc, .fill = fill});
        expect_parity(layer, {.inputs = {{2, 32, 3, 16}}, .dtype = t, .fill = fill});
      }
    }
  }
}

}  // namespace
}  // namespace frieze
