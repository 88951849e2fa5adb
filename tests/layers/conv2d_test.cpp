#include <frieze/layers/conv2d/conv2d.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <frieze/core/error.h>

namespace frieze {
namespace {

std::vector<float> uniform(std::int64_t count, std::uint64_t seed) {
  std::mt19937_64 bits(seed);
  std::vector<float> v(static_cast<std::size_t>(count));
  for (float& x : v) x = static_cast<float>(static_cast<double>(bits() >> 40) * 0x1p-23 - 1);
  return v;
}

std::vector<float> run(const Conv2d& conv, const Shape& shape, std::span<const float> x, DType dtype = DType::f32,
                       Format format = Format::nchw) {
  const TensorSpec spec{shape, dtype, format};
  const HostTensor in(spec, x);
  TensorSpec out = conv.infer({&spec, 1}).out[0];
  out.format = format;
  const HostTensor y(out);
  const TensorView view = in.view();
  const TensorView made = y.view();
  conv.reference({{&view, 1}, {&made, 1}, dtype});
  return y.floats();
}

struct Sum {
  double value = 0;
  double magnitude = 0;  // sum of |terms|
  int terms = 0;
  void add(double term) {
    value += term;
    magnitude += std::abs(term);
    ++terms;
  }
};

// How far a correct reference in `dtype` may be from this sum: its one store, by half a spacing in the normal range and half
// a subnormal below it (graph/BUDGETS.md), and the additions in double, whose order differs. The products are exact.
double allowed(const Sum& sum, DType dtype) {
  constexpr double kDoubleRoundoff = 0x1p-53;
  return unit_roundoff(dtype) * std::abs(sum.value) + min_subnormal(dtype) / 2 + 2 * sum.terms * kDoubleRoundoff * sum.magnitude;
}

// The formula of the header, one output at a time.
Sum naive(const Conv2d& conv, const Shape& shape, const std::vector<float>& x, DType dtype, std::int64_t n, std::int64_t o, std::int64_t i,
          std::int64_t j) {
  const auto weight = conv.weight().rounded(dtype);
  const std::int64_t in_group = conv.in_channels() / conv.groups(), group = o / (conv.out_channels() / conv.groups());
  Sum sum;
  if (conv.has_bias()) sum.add(conv.bias().rounded(dtype)[static_cast<std::size_t>(o)]);
  for (std::int64_t c = 0; c < in_group; ++c) {
    for (std::int64_t r = 0; r < conv.kernel().h; ++r) {
      for (std::int64_t s = 0; s < conv.kernel().w; ++s) {
        const std::int64_t y = i * conv.stride().h - conv.padding().top + r * conv.dilation().h;
        const std::int64_t z = j * conv.stride().w - conv.padding().left + s * conv.dilation().w;
        if (y < 0 || y >= shape.h() || z < 0 || z >= shape.w()) continue;
        const double w = weight[static_cast<std::size_t>(((o * in_group + c) * conv.kernel().h + r) * conv.kernel().w + s)];
        sum.add(w * x[static_cast<std::size_t>(((n * shape.c() + group * in_group + c) * shape.h() + y) * shape.w() + z)]);
      }
    }
  }
  return sum;
}

void expect_naive(Conv2d& conv, const Shape& shape, DType dtype = DType::f32, Format format = Format::nchw) {
  SCOPED_TRACE(testing::Message() << conv.describe() << " on " << shape << " " << dtype << " " << format);
  init_random(conv, 3);
  const TensorSpec spec{shape, dtype, format};
  std::vector<float> x = uniform(shape.elements(), 4);
  for (float& v : x) v = round_to(dtype, v);
  const Shape out = conv.infer({&spec, 1}).out[0].shape;
  const std::vector<float> y = run(conv, shape, x, dtype, format);
  ASSERT_EQ(static_cast<std::int64_t>(y.size()), out.elements());
  std::size_t at = 0;
  for (std::int64_t n = 0; n < out.n(); ++n) {
    for (std::int64_t o = 0; o < out.c(); ++o) {
      for (std::int64_t i = 0; i < out.h(); ++i) {
        for (std::int64_t j = 0; j < out.w(); ++j, ++at) {
          const Sum expected = naive(conv, shape, x, dtype, n, o, i, j);
          ASSERT_NEAR(y[at], expected.value, allowed(expected, dtype)) << n << "," << o << "," << i << "," << j;
        }
      }
    }
  }
}

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

std::string infer_message(const Conv2d& conv, const Shape& shape) {
  return message_of([&] {
    const TensorSpec spec{shape, DType::f32};
    (void)conv.infer({&spec, 1});
  });
}

// x = 1 2 3 / 4 5 6 / 7 8 9, weight = 1 0 / 0 10, no padding: y = x[i,j] + 10 x[i+1,j+1].
TEST(Conv2dReference, HandComputedTwoByTwo) {
  Conv2d conv(1, 1, 2, {.padding = 0});
  conv.parameters()[0]->values = {1, 0, 0, 10};
  conv.parameters()[1]->values = {0.5F};
  EXPECT_EQ(run(conv, {1, 1, 3, 3}, std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9}), (std::vector<float>{51.5, 62.5, 84.5, 95.5}));
}

// All ones, 3x3, same padding: every output counts the pixels that its window sees.
TEST(Conv2dReference, SamePaddingCountsTheWindow) {
  Conv2d conv(1, 2, 3, {.padding = 1, .bias = false});
  for (float& w : conv.parameters()[0]->values) w = 1;
  const std::vector<float> counts{4, 6, 4, 6, 9, 6, 4, 6, 4};
  std::vector<float> twice = counts;
  twice.insert(twice.end(), counts.begin(), counts.end());
  EXPECT_EQ(run(conv, {1, 1, 3, 3}, std::vector<float>(9, 1.0F)), twice);
}

TEST(Conv2dReference, GroupsDoNotMix) {
  Conv2d conv(4, 2, 1, {.groups = 2, .bias = false});
  conv.parameters()[0]->values = {1, 10, 100, 1000};
  EXPECT_EQ(run(conv, {1, 4, 1, 1}, std::vector<float>{1, 2, 3, 4}), (std::vector<float>{21, 4300}));
}

TEST(Conv2dReference, EqualsTheFormula) {
  struct Case {
    std::int64_t in, out;
    Size2d kernel;
    Conv2dOptions options;
    Shape x;
  };
  const std::vector<Case> cases{
      {1, 1, 1, {}, {1, 1, 1, 1}},
      {3, 8, 3, {.padding = 1}, {2, 3, 7, 5}},
      {33, 31, 1, {}, {1, 33, 3, 5}},
      {5, 4, 3, {.stride = 2, .padding = 1}, {1, 5, 9, 8}},
      {5, 4, {3, 5}, {.stride = {2, 3}, .padding = {0, 4}, .dilation = {2, 1}}, {1, 5, 9, 11}},
      {4, 6, 3, {.padding = 3, .dilation = 3, .groups = 2}, {2, 4, 7, 9}},
      {6, 6, 3, {.padding = 1, .groups = 6}, {2, 6, 5, 7}},
      {6, 6, 7, {.stride = 2, .padding = 3, .groups = 6, .bias = false}, {1, 6, 5, 7}},
      {6, 12, 5, {.padding = 2, .groups = 6}, {1, 6, 5, 5}},
      {2, 3, 2, {.stride = 2, .padding = 0}, {1, 2, 6, 6}},
      {2, 3, 1, {.padding = 2}, {1, 2, 3, 3}},
      {1, 1, 5, {.padding = 9}, {1, 1, 2, 3}},
      {2, 2, 3, {.stride = 5, .padding = 7, .groups = 2}, {1, 2, 3, 3}},
      {64, 3, {1, 3}, {.padding = {0, 1}}, {1, 64, 2, 40}},
  };
  for (const Case& c : cases) {
    Conv2d conv(c.in, c.out, c.kernel, c.options);
    expect_naive(conv, c.x);
    expect_naive(conv, c.x, DType::bf16, Format::nhwc);
    expect_naive(conv, c.x, DType::f16, Format::nhwc);
  }
}

// More than one band of rows a task, and more tasks than threads.
TEST(Conv2dReference, LargeEnoughToBeSplit) {
  Conv2d conv(16, 5, 3, {.padding = 1});
  init_random(conv, 1);
  const Shape shape{2, 16, 61, 150};
  const std::vector<float> x = uniform(shape.elements(), 2);
  const std::vector<float> y = run(conv, shape, x);
  for (const auto [n, o, i, j] : {std::array<std::int64_t, 4>{0, 0, 0, 0}, {1, 4, 60, 149}, {0, 3, 29, 70}, {1, 0, 30, 1}, {1, 2, 59, 0}}) {
    const Sum expected = naive(conv, shape, x, DType::f32, n, o, i, j);
    EXPECT_NEAR(y[static_cast<std::size_t>(((n * 5 + o) * 61 + i) * 150 + j)], expected.value, allowed(expected, DType::f32));
  }
}

TEST(Conv2dReference, NaNReachesItsWindowOnly) {
  Conv2d conv(1, 2, 3, {.padding = 1});
  init_random(conv, 1);
  std::vector<float> x(49, 1.0F);
  x[3 * 7 + 3] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> y = run(conv, {1, 1, 7, 7}, x);
  for (std::size_t i = 0; i < y.size(); ++i) {
    const std::size_t row = i % 49 / 7, col = i % 7;
    EXPECT_EQ(std::isnan(y[i]), row >= 2 && row <= 4 && col >= 2 && col <= 4) << i;
  }
}

TEST(Conv2dInfer, ShapesAndCost) {
  const Conv2d conv(3, 8, 3, {.stride = 2, .padding = 1});
  const TensorSpec x{{2, 3, 9, 10}, DType::bf16};
  const Inferred inferred = conv.infer({&x, 1});
  EXPECT_EQ(inferred.out[0], (TensorSpec{{2, 8, 5, 5}, DType::bf16}));
  EXPECT_EQ(inferred.flops, 2.0 * 27 * 2 * 8 * 25);
  EXPECT_EQ(inferred.bytes, 2.0 * (2 * 3 * 90 + 2 * 8 * 25 + 8 * 27 + 8));
  EXPECT_EQ(conv.describe(), "3->8 3x3 stride 2 padding 1");
  EXPECT_EQ(conv.padding(), Size2d(1));
  EXPECT_EQ(Conv2d(4, 4, {1, 7}, {.padding = {0, 3}, .groups = 4, .bias = false}).describe(), "4->4 1x7 padding 0x3 depthwise no bias");
}

// As nn.Conv2d: no zeros around the image unless asked for.
TEST(Conv2dInfer, PadsNothingByDefault) {
  const TensorSpec x{{1, 3, 9, 10}};
  EXPECT_EQ(Conv2d(3, 8, 3).padding(), Size2d(0));
  EXPECT_EQ(Conv2d(3, 8, 3).infer({&x, 1}).out[0].shape, (Shape{1, 8, 7, 8}));
  EXPECT_EQ(Conv2d(3, 8, {1, 4}, {.stride = 2}).infer({&x, 1}).out[0].shape, (Shape{1, 8, 5, 4})) << "even kernels need no padding named";
  EXPECT_EQ(Conv2d(3, 8, {3, 5}, {.dilation = 2}).infer({&x, 1}).out[0].shape, (Shape{1, 8, 5, 2}));
}

TEST(Conv2dInfer, SamePaddingOnRequest) {
  const TensorSpec x{{1, 3, 9, 10}};
  const Conv2d conv(3, 8, {3, 5}, {.padding = -1, .dilation = 2});
  EXPECT_EQ(conv.padding(), Size2d(2, 4));
  EXPECT_EQ(conv.infer({&x, 1}).out[0].shape, (Shape{1, 8, 9, 10}));
  EXPECT_EQ(Conv2d(3, 8, {3, 5}, {.padding = {-1, 0}}).padding(), Size2d(1, 0));
}

TEST(Conv2dInfer, KernelMayJustFit) {
  const TensorSpec x{{1, 1, 3, 4}, DType::f32};
  EXPECT_EQ(Conv2d(1, 1, {3, 4}, {.padding = 0}).infer({&x, 1}).out[0].shape, (Shape{1, 1, 1, 1}));
}

TEST(Conv2dRefuses, WrongChannels) {
  const Conv2d conv(128, 256, 3);
  EXPECT_EQ(infer_message(conv, {1, 64, 32, 32}),
            "Conv2d expects 128 input channels, got 64 (x [1,64,32,32] as [N,C,H,W], weight [256,128,3,3] as [C_out,C_in/groups,KH,KW], "
            "1 group)");
}

TEST(Conv2dRefuses, WrongRankCountAndEmptyImages) {
  const Conv2d conv(3, 4, 3, {.padding = 1});
  EXPECT_EQ(infer_message(conv, {3, 8, 8}), "Conv2d expects rank 4 as [N,C,H,W], got [3,8,8] of rank 3");
  for (const Shape& shape : {Shape{0, 3, 8, 8}, Shape{1, 0, 8, 8}, Shape{1, 3, 0, 8}, Shape{1, 3, 8, 0}}) {
    EXPECT_NE(infer_message(conv, shape).find("extents of at least 1"), std::string::npos) << shape;
  }
  const TensorSpec two[] = {{{1, 3, 8, 8}, DType::f32}, {{1, 3, 8, 8}, DType::f32}};
  EXPECT_THROW((void)conv.infer(two), ShapeError);
  EXPECT_THROW((void)conv.infer({}), ShapeError);
}

TEST(Conv2dRefuses, KernelLargerThanTheImage) {
  EXPECT_EQ(infer_message(Conv2d(1, 1, 5, {.padding = 1}), {1, 1, 2, 9}),
            "Conv2d expects an image at least as large as its kernel, got 2x9 padded by 1 for a 5x5 kernel with dilation 1 (x [1,1,2,9] as "
            "[N,C,H,W])");
  EXPECT_NE(infer_message(Conv2d(1, 1, 3, {.padding = 0, .dilation = 4}), {1, 1, 8, 9}).find("dilation 4"), std::string::npos);
  // With the stride, (2 - 3) / 2 would round to zero and give an output of one pixel.
  EXPECT_NE(infer_message(Conv2d(1, 1, 3, {.stride = 2, .padding = 0}), {1, 1, 2, 2}), "no error");
}

TEST(Conv2dRefuses, Overflow) {
  const std::int64_t huge = std::int64_t{1} << 40;
  EXPECT_NE(infer_message(Conv2d(1, 1 << 20, 1, {}), {1, 1, huge, 8}).find("2^63 - 1"), std::string::npos);
  EXPECT_NE(infer_message(Conv2d(1, 1, 1, {.padding = 2147483647}), {1, 1, std::numeric_limits<std::int64_t>::max(), 1}).find("2^63 - 1"),
            std::string::npos);
  EXPECT_THROW(Conv2d(std::int64_t{1} << 40, std::int64_t{1} << 40, 1), ShapeError);
}

TEST(Conv2dRefuses, ImpossibleOptions) {
  EXPECT_EQ(message_of([] { Conv2d(6, 4, 3, {.groups = 4}); }), "Conv2d: groups must divide the channels, got 4 groups for 6 -> 4");
  EXPECT_EQ(message_of([] {
              Conv2d(1, 1, {3, 4}, {.padding = -1});
            }),
            "Conv2d: padding \"same\" needs an odd kernel, got a width of 4; give an explicit padding");
  EXPECT_EQ(message_of([] { Conv2d(1, 1, 3, {.stride = 0}); }), "Conv2d: stride must be at least 1, got 0");
  EXPECT_EQ(message_of([] { Conv2d(1, 1, 3, {.padding = {0, -2}}); }), "Conv2d: padding must be at least -1, got 0x-2");
  EXPECT_THROW(Conv2d(0, 1, 3), OptionError);
  EXPECT_THROW(Conv2d(1, -1, 3), OptionError);
  EXPECT_THROW(Conv2d(1, 1, 0), OptionError);
  EXPECT_THROW(Conv2d(1, 1, 3, {.dilation = -1}), OptionError);
  EXPECT_THROW(Conv2d(1, 1, 3, {.groups = 0}), OptionError);
  EXPECT_THROW(Conv2d(1, 1, 2147483647, {.padding = -1, .dilation = 2147483647}), OptionError);
}

double typical_size(const Conv2d& conv, const Shape& shape, std::span<const float> x) {
  const HostTensor in(TensorSpec{shape, DType::f32}, x);
  const TensorView view = in.view();
  return conv.typical_size({&view, 1});
}

// sqrt(products) * rms(x) * rms(w).
TEST(Conv2dTypicalSize, HandComputed) {
  Conv2d conv(8, 4, {3, 5}, {.padding = 0, .groups = 2});
  ParameterValues& weight = conv.parameters()[0]->values;
  conv.parameters()[1]->values = {1e6F, 1e6F, 1e6F, 1e6F};  // the bias is no product
  for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = i % 2 == 0 ? 0.5F : -0.5F;
  std::vector<float> x(2 * 8 * 4 * 6);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = i % 4 == 0 ? 3.0F : i % 4 == 1 ? -5.0F : 1.0F;  // rms 3: (9 + 25 + 1 + 1) / 4
  EXPECT_DOUBLE_EQ(typical_size(conv, {2, 8, 4, 6}, x), std::sqrt(60.0) * 3 * 0.5);                 // 8/2 channels * 3 * 5
  for (float& w : weight) w *= 8;
  EXPECT_DOUBLE_EQ(typical_size(conv, {2, 8, 4, 6}, x), std::sqrt(60.0) * 3 * 4);
}

// Where all x are +-3 and all weights +-0.5, each product is 1.5: the largest of all outputs' sqrt(number of products) * 1.5.
TEST(Conv2dTypicalSize, CountsTheProductsOfTheOutputThatHasMost) {
  struct Case {
    std::int64_t in, out;
    Size2d kernel;
    Conv2dOptions options;
    Shape x;
    int products;
  };
  const std::vector<Case> cases{
      {3, 8, 3, {.padding = 1}, {2, 3, 7, 5}, 27},
      {33, 31, 1, {}, {1, 33, 3, 5}, 33},
      {6, 6, 3, {.padding = 1, .groups = 6}, {2, 6, 5, 7}, 9},                                       // depthwise
      {6, 12, 5, {.padding = 2, .groups = 3}, {1, 6, 5, 5}, 50},                                     // two channels a group
      {5, 4, {3, 5}, {.stride = {2, 3}, .padding = {0, 4}, .dilation = {2, 1}}, {1, 5, 9, 11}, 75},  // one window is all inside
      {5, 4, 3, {.padding = 1}, {1, 5, 1, 1}, 5},                                                    // eight of nine see padding only
      {5, 4, 3, {.padding = 1}, {1, 5, 2, 2}, 20},                                                   // four of nine see the image
      {4, 6, 3, {.padding = 3, .dilation = 3, .groups = 2}, {1, 4, 4, 4}, 8},                        // of three taps two, as 4 < 7
      {1, 1, 5, {.padding = 9}, {1, 1, 2, 3}, 6},                                                    // the whole image
      {2, 2, 3, {.stride = 5, .padding = 7, .groups = 2}, {1, 2, 3, 3}, 1},                          // one corner alone is looked at
      {1, 1, 1, {.stride = 9, .padding = 4}, {1, 1, 2, 2}, 0},                                       // nothing is
  };
  for (const Case& c : cases) {
    Conv2dOptions options = c.options;
    options.bias = false;
    Conv2d conv(c.in, c.out, c.kernel, options);
    SCOPED_TRACE(testing::Message() << conv.describe() << " on " << c.x);
    std::mt19937 bits(6);
    for (float& w : conv.parameters()[0]->values) w = bits() % 2 == 0 ? 0.5F : -0.5F;
    std::vector<float> x(static_cast<std::size_t>(c.x.elements()));
    for (float& v : x) v = bits() % 2 == 0 ? 3.0F : -3.0F;
    int most = 0;
    const TensorSpec spec{c.x, DType::f32};
    const Shape out = conv.infer({&spec, 1}).out[0].shape;
    for (std::int64_t o = 0; o < out.c(); ++o) {
      for (std::int64_t i = 0; i < out.h(); ++i) {
        for (std::int64_t j = 0; j < out.w(); ++j) most = std::max(most, naive(conv, c.x, x, DType::f32, 0, o, i, j).terms);
      }
    }
    EXPECT_EQ(most, c.products);
    EXPECT_DOUBLE_EQ(typical_size(conv, c.x, x), std::sqrt(static_cast<double>(c.products)) * 1.5);
  }
}

// What the name says: random products do not cancel, and the outputs' rms is the typical size.
TEST(Conv2dTypicalSize, IsTheRmsOfRandomOutputs) {
  for (const auto& [in, groups] : {std::pair{16, 1}, {16, 4}, {32, 32}}) {
    Conv2d conv(in, 32, 3, {.stride = 2, .padding = 0, .groups = groups, .bias = false});
    init_random(conv, 8);
    const Shape shape{1, in, 41, 41};
    const std::vector<float> x = uniform(shape.elements(), 9);
    double squares = 0;
    const std::vector<float> y = run(conv, shape, x);
    for (const float v : y) squares += double{v} * v;
    const double rms = std::sqrt(squares / static_cast<double>(y.size()));
    EXPECT_NEAR(typical_size(conv, shape, x) / rms, 1, 0.05) << conv.describe();
  }
}

TEST(Conv2d, AbsorbsUpToFourOperations) {
  const Conv2d conv(3, 4, 3, {.padding = 1});
  const std::vector<EpilogueOp> chain(6, EpilogueOp{EpilogueOp::Kind::activation, Activation::silu});
  const TensorSpec x{{1, 3, 4, 4}, DType::f32};
  EXPECT_EQ(conv.absorbs({&x, 1}, {}), 0U);
  EXPECT_EQ(conv.absorbs({&x, 1}, std::span(chain).first(3)), 3U);
  EXPECT_EQ(conv.absorbs({&x, 1}, chain), 4U);
}

}  // namespace
}  // namespace frieze
