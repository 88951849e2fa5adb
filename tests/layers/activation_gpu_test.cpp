#include <frieze/layers/activation/activation.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/linear/linear.h>

#include <gtest/gtest.h>

#include "support/parity_grid.h"

namespace frieze {
namespace {

using test::expect_parity;
using test::ParityCase;

constexpr Activation kFunctions[] = {Activation::relu,        Activation::silu,      Activation::gelu,       Activation::gelu_tanh,
                                     Activation::sigmoid,     Activation::tanh,      Activation::softplus,   Activation::mish,
                                     Activation::hardsigmoid, Activation::hardswish, Activation::leaky_relu, Activation::elu};

TEST(ActivationGpu, ChannelsAndFormats) {
  FRIEZE_NEEDS_GPU();
  for (const Activation f : kFunctions) {
    const ActivationLayer layer(f);
    test::each_type_and_format([&](DType t, Format format) {
      for (const std::int64_t c : test::kChannels) {
        if (f != Activation::silu && c != 33 && c != 64) continue;  // the kernels differ in their function alone
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
    for (const DType t : test::kTypes) expect_parity(ActivationLayer(f), {.inputs = {{2, 33, 5, 8}}, .dtype = t, .misalign = 1});
  }
  for (const Activation f : {Activation::relu, Activation::gelu, Activation::mish, Activation::elu}) {
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

TEST(ActivationGpu, Parameters) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : test::kTypes) {
    for (const float p : {0.2F, -1.5F, 0.0F, 3.0F}) {
      expect_parity(ActivationLayer(Activation::leaky_relu, p), {.inputs = {{2, 33, 5, 7}}, .dtype = t});
      expect_parity(ActivationLayer(Activation::elu, p), {.inputs = {{2, 32, 4, 8}}, .dtype = t, .format = Format::nhwc});
    }
  }
}

// Behind a product's sums, each as an operation of the chain.
TEST(ActivationGpu, InTheChainsOfConvolutions) {
  FRIEZE_NEEDS_GPU();
  Conv2d conv(16, 24, 3, {.padding = 1}), pointwise(16, 24, 1), depthwise(16, 16, 3, {.padding = 1, .groups = 16});
  Linear linear(16, 24);
  for (Layer* const layer : std::initializer_list<Layer*>{&conv, &pointwise, &depthwise, &linear}) init_random(*layer, 7);
  for (const DType t : test::kTypes) {
    for (const Activation f : kFunctions) {
      const std::vector<EpilogueOp> chain = {{EpilogueOp::Kind::activation, f, has_parameter(f) ? 0.3F : 0.0F}};
      for (const Layer* const layer : std::initializer_list<const Layer*>{&conv, &pointwise, &depthwise}) {
        expect_parity(*layer, {.inputs = {{2, 16, 9, 7}}, .dtype = t, .format = Format::nhwc, .epilogue = chain});
      }
      expect_parity(conv, {.inputs = {{1, 16, 8, 8}}, .dtype = t, .epilogue = chain});
      expect_parity(linear, {.inputs = {{5, 16}}, .dtype = t, .epilogue = chain});
    }
  }
}

}  // namespace
}  // namespace frieze
