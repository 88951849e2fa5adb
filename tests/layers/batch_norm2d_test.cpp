#include <gtest/gtest.h>

#include <frieze/core/error.h>
#include <frieze/layers/batch_norm2d/batch_norm2d.h>
#include "support/parity.h"
#include "support/reference.h"

namespace frieze {
namespace {

using test::expect_parity;
using test::Fill;
using test::inferred_shape;
using test::message_of;
using test::run_reference;
using Floats = std::vector<float>;

void set(BatchNorm2d& norm, const Floats& weight, const Floats& bias, const Floats& mean, const Floats& var) {
  norm.visit_parameters([&](const std::string& key, Parameter& p) {
    p.values = key == "weight" ? weight : key == "bias" ? bias : key == "running_mean" ? mean : var;
  });
}

TEST(BatchNorm2dTest, IsTheFormula) {
  BatchNorm2d norm(2, 0);
  set(norm, {3, 1}, {10, -1}, {1, 2}, {4, 0.25F});
  for (const Format format : {Format::nchw, Format::nhwc}) {
    EXPECT_EQ(run_reference(norm, {{{1, 2, 1, 2}, {1, 5, 2, 3}}}, DType::f32, format), (Floats{10, 16, -1, 1}));
  }
  BatchNorm2d eps(1, 0.75);
  set(eps, {1}, {0}, {0}, {0.25F});
  EXPECT_EQ(run_reference(eps, {{{1, 1, 1, 1}, {7}}}), (Floats{7})) << "eps is added to the variance";
}

TEST(BatchNorm2dTest, OffersItsFactors) {
  BatchNorm2d norm(1, 0);
  set(norm, {3}, {10}, {1}, {4});
  const BatchNorm2d::Factors factors = norm.factors();
  EXPECT_EQ(factors.scale, std::vector<double>{1.5});
  EXPECT_EQ(factors.shift, std::vector<double>{8.5});
}

TEST(BatchNorm2dTest, ShapesAndRefusals) {
  EXPECT_EQ(inferred_shape(BatchNorm2d(3), {{2, 3, 4, 5}}), (Shape{2, 3, 4, 5}));
  EXPECT_EQ(message_of<ShapeError>([] {
              inferred_shape(BatchNorm2d(3), {{1, 4, 2, 2}});
            }),
            "BatchNorm2d expects 3 channels, got 4 (x [1,4,2,2] as [N,C,H,W])");
  EXPECT_THROW(BatchNorm2d(0), OptionError);
  EXPECT_THROW(BatchNorm2d(1, -1e-5), OptionError);
}

TEST(BatchNorm2dGpu, ChannelsFormatsAndFills) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    for (const Format f : {Format::nchw, Format::nhwc}) {
      for (const std::int64_t c : {1, 3, 31, 32, 33, 64, 96, 384, 1025}) {
        BatchNorm2d norm(c);
        init_random(norm, 9);
        expect_parity(norm, {.inputs = {{2, c, 3, 5}}, .dtype = t, .format = f});
        expect_parity(norm, {.inputs = {{2, c, 3, 5}}, .dtype = t, .format = f, .in_place = true});
        expect_parity(norm, {.inputs = {{1, c, 1, 1}}, .dtype = t, .format = f, .fill = Fill::special});
        expect_parity(norm, {.inputs = {{2, c, 4, 8}}, .dtype = t, .format = f});
      }
    }
  }
}

}  // namespace
}  // namespace frieze
