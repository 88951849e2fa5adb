// rms_norm2d() refuses before it asks for a device: runs without one.
#include <gtest/gtest.h>

#if FRIEZE_WITH_CUDA
#include <cmath>
#include <string>
#include <utility>

#include <frieze/core/error.h>
#include <frieze/layers/rms_norm2d/rms_norm2d.h>

namespace frieze {
namespace {

// Never read: the checks look at addresses only.
alignas(256) char memory[4096];

TensorView view(const Shape& shape, std::ptrdiff_t offset, DType t = DType::f32) { return TensorView(memory + offset, {shape, t}); }

const Shape kShape{1, 8, 4, 4};  // 512 bytes

template <class E>
void expect_refused(const TensorView& x, const TensorView& y, const RMSNorm2dCall& call, const char* part) {
  try {
    rms_norm2d(x, y, call, nullptr);
    ADD_FAILURE() << "accepted; expected: " << part;
  } catch (const E& e) {
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  } catch (const std::exception& e) {
    ADD_FAILURE() << "another type of error: " << e.what();
  }
}

TEST(RMSNorm2dRefusals, ShapesTypesAndOptions) {
  const TensorView x = view(kShape, 0), y = view(kShape, 1024);
  expect_refused<ShapeError>(view({8, 4, 4}, 0), view({8, 4, 4}, 1024), {}, "rank 4");
  expect_refused<ShapeError>(view({0, 8, 4, 4}, 0), view({0, 8, 4, 4}, 1024), {}, "at least one element");
  expect_refused<ShapeError>(x, view({1, 8, 4, 5}, 1024), {}, "y of x's shape, got x [1,8,4,4] and y [1,8,4,5]");
  expect_refused<DTypeError>(x, view(kShape, 1024, DType::f16), {}, "y of x's type, got x f32 and y f16");
  RMSNorm2dCall call;
  for (const double eps : {-1e-5, std::nan(""), HUGE_VAL}) {
    call.eps = eps;
    expect_refused<OptionError>(x, y, call, "finite eps");
  }
}

TEST(RMSNorm2dRefusals, Pointers) {
  const TensorView x = view(kShape, 0), y = view(kShape, 1024);
  TensorView none = x;
  none.data = nullptr;
  expect_refused<OptionError>(none, y, {}, "memory of x");
  expect_refused<OptionError>(x, none, {}, "memory of y");
  expect_refused<OptionError>(view(kShape, 2), y, {}, "x aligned");
  expect_refused<OptionError>(x, view(kShape, 1026), {}, "y aligned");
  RMSNorm2dCall call;
  call.weight = memory + 2049;
  expect_refused<OptionError>(x, y, call, "weight aligned");
  call = {};
  call.bias = memory + 2050;
  expect_refused<OptionError>(x, y, call, "bias aligned");
}

TEST(RMSNorm2dRefusals, ResidualsThatAreAskedFor) {
  const TensorView x = view(kShape, 0), y = view(kShape, 1024);
  for (const ResidualMode mode : {ResidualMode::before, ResidualMode::after}) {
    RMSNorm2dCall call;
    call.residual_mode = mode;
    expect_refused<ShapeError>(x, y, call, "residual of x's shape");
    call.residual = view(kShape, 2048, DType::bf16);
    expect_refused<DTypeError>(x, y, call, "residual of x's type");
    call.residual = x;
    call.residual.data = nullptr;
    expect_refused<OptionError>(x, y, call, "memory of residual");
    call.residual = view(kShape, 1024 + 4);
    expect_refused<ShapeError>(x, y, call, "exactly the residual");
  }
}

TEST(RMSNorm2dRefusals, OverlapsThatAreNotExact) {
  const TensorView x = view(kShape, 512);
  for (const std::ptrdiff_t offset : {4, 508, 516, 1020}) {
    expect_refused<ShapeError>(x, view(kShape, offset), {}, "exactly x");
  }
  TensorView swapped = x;
  std::swap(swapped.strides[2], swapped.strides[3]);
  expect_refused<ShapeError>(x, swapped, {}, "exactly x");
  TensorView repeats = view(kShape, 2048);
  repeats.strides[1] = 0;
  expect_refused<ShapeError>(x, repeats, {}, "stride 0");
}

}  // namespace
}  // namespace frieze
#endif
