// Conv2d through cuDNN, wherever cuDNN takes the convolution: FRIEZE_CUDNN=always. Each test asks the kernel for its name.
#include <frieze/layers/conv2d/conv2d.h>

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/environment.h"
#include "support/parity_grid.h"

namespace frieze {
namespace {

using test::act;
using test::Environment;
using test::expect_parity;
using test::Fill;
using test::kAdd;
using test::kHalves;
using test::kMul;
using test::kTypes;
using test::ParityCase;

class Conv2dCudnnGpu : public ::testing::Test {
 protected:
  // How many of `counted_` cases ran in cuDNN; it has no plan for some of the odder ones.
  void run(std::int64_t in, std::int64_t out, Size2d kernel, const Conv2dOptions& options, const ParityCase& c) {
    Conv2d conv(in, out, kernel, options);
    init_random(conv, 11);
    const bool cudnn = expect_parity(conv, c).describe.find("cuDNN 9.") != std::string::npos;
    ++cases_;
    if (cudnn) ++in_cudnn_;
  }
  static ParityCase image(const Shape& shape, DType dtype, const std::vector<EpilogueOp>& chain = {}) {
    return {.inputs = {shape}, .dtype = dtype, .format = Format::nhwc, .epilogue = chain};
  }

  Environment always_{"FRIEZE_CUDNN", "always"};
  int cases_ = 0, in_cudnn_ = 0;
};

bool has_cudnn() {
#ifdef FRIEZE_CUDNN_LIBRARY
  return ::dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL) != nullptr || ::dlopen(FRIEZE_CUDNN_LIBRARY, RTLD_NOW | RTLD_LOCAL) != nullptr;
#else
  return false;
#endif
}

#define FRIEZE_NEEDS_CUDNN() \
  FRIEZE_NEEDS_GPU();        \
  if (!has_cudnn()) GTEST_SKIP() << "needs cuDNN, in this build and on this machine"

TEST_F(Conv2dCudnnGpu, Channels) {
  FRIEZE_NEEDS_CUDNN();
  for (const DType t : kTypes) {
    for (const std::int64_t c : {8, 32, 64, 96, 384}) {
      run(c, c, 3, {.padding = 1}, image({1, c, 7, 5}, t));
      run(c, 64, 3, {.padding = 1, .bias = false}, image({2, c, 1, 1}, t));
      run(c, 8, 1, {}, image({2, c, 9, 3}, t));
    }
    for (const std::int64_t out : {1, 3, 31, 33, 130}) run(64, out, 3, {.padding = 1}, image({1, 64, 13, 11}, t));
  }
  EXPECT_GE(in_cudnn_, cases_ * 3 / 4) << "of " << cases_;
}

TEST_F(Conv2dCudnnGpu, KernelsStridesPaddingsDilations) {
  FRIEZE_NEEDS_CUDNN();
  for (const DType t : kTypes) {
    run(24, 40, 3, {.stride = 2, .padding = 1}, image({2, 24, 9, 8}, t));
    run(24, 40, 3, {.padding = 3, .dilation = 3}, image({1, 24, 11, 7}, t));
    run(24, 40, {1, 7}, {.padding = {0, 3}}, image({1, 24, 4, 9}, t));
    run(24, 40, {5, 3}, {.stride = {1, 2}, .padding = {0, 4}, .dilation = {2, 1}}, image({2, 24, 13, 9}, t));
    run(24, 40, 2, {.stride = 2, .padding = 0}, image({1, 24, 8, 6}, t));
    run(24, 160, 2, {.padding = 1}, image({1, 24, 8, 6}, t));
    run(24, 40, 4, {.padding = 1}, image({1, 24, 5, 7}, t));
    run(24, 40, 1, {.stride = 2}, image({1, 24, 7, 9}, t));
    run(24, 40, 5, {.padding = 2}, image({1, 24, 2, 3}, t));
    run(24, 40, 3, {.padding = 0}, image({1, 24, 3, 3}, t));
  }
  EXPECT_GE(in_cudnn_, cases_ * 3 / 4) << "of " << cases_;
}

TEST_F(Conv2dCudnnGpu, Epilogues) {
  FRIEZE_NEEDS_CUDNN();
  const std::vector<std::vector<EpilogueOp>> chains{{act(Activation::relu)},
                                                    {act(Activation::silu)},
                                                    {act(Activation::gelu)},
                                                    {kAdd},
                                                    {act(Activation::gelu_tanh)},
                                                    {act(Activation::sigmoid)},
                                                    {kMul},
                                                    {kAdd, act(Activation::relu)},
                                                    {act(Activation::silu), kMul},
                                                    {act(Activation::silu), kAdd}};
  for (const DType t : kHalves) {
    for (const auto& chain : chains) {
      run(64, 96, 3, {.padding = 1}, image({1, 64, 11, 13}, t, chain));
      run(64, 64, 3, {.padding = 1, .bias = false}, image({2, 64, 6, 7}, t, chain));
    }
  }
  EXPECT_GE(in_cudnn_, cases_ / 2) << "of " << cases_;
}

// NaN and infinities reach exactly the outputs that see them.
TEST_F(Conv2dCudnnGpu, SpecialValues) {
  FRIEZE_NEEDS_CUDNN();
  for (const DType t : kTypes) {
    for (const Fill fill : {Fill::special, Fill::zeros, Fill::constant, Fill::subnormal, Fill::mixed}) {
      for (const auto& chain : {std::vector<EpilogueOp>{}, {act(Activation::relu)}, {act(Activation::silu)}}) {
        ParityCase c = image({1, 64, 9, 11}, t, chain);
        c.fill = fill;
        run(64, 40, 3, {.padding = 1}, c);
      }
    }
  }
  ParityCase huge = image({1, 64, 9, 11}, DType::f16);  // sums past 65504 overflow at the store, or do not
  huge.fill = Fill::huge;
  run(64, 40, 3, {.padding = 1}, huge);
  EXPECT_GE(in_cudnn_, cases_ / 2) << "of " << cases_;
}

TEST_F(Conv2dCudnnGpu, MisalignedTensorsTakeAnotherPath) {
  FRIEZE_NEEDS_CUDNN();
  for (const DType t : kHalves) {
    ParityCase c = image({2, 64, 5, 7}, t, {kAdd, act(Activation::relu)});
    c.misalign = 1;
    run(64, 24, 3, {.padding = 1}, c);
  }
}

// The fastest of all that are right, found, then remembered.
TEST_F(Conv2dCudnnGpu, TunedAndRemembered) {
  FRIEZE_NEEDS_CUDNN();
  ParityCase c = image({1, 128, 24, 24}, DType::bf16, {act(Activation::silu)});
  c.tune = true;
  Conv2d conv(128, 128, 3, {.padding = 1});
  init_random(conv, 11);
  const std::string first = expect_parity(conv, c).describe, second = expect_parity(conv, c).describe;
  EXPECT_NE(first.find("fastest of"), std::string::npos) << first;
  EXPECT_NE(second.find("from the cache"), std::string::npos) << second;
  EXPECT_EQ(first.substr(0, first.find(" (")), second.substr(0, second.find(" (")));
}

TEST_F(Conv2dCudnnGpu, OffMeansOff) {
  FRIEZE_NEEDS_CUDNN();
  const Environment off("FRIEZE_CUDNN", "off");
  run(128, 128, 3, {.padding = 1}, image({1, 128, 24, 24}, DType::bf16));
  EXPECT_EQ(in_cudnn_, 0);
}

}  // namespace
}  // namespace frieze
