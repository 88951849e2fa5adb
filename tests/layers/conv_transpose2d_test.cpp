#include <gtest/gtest.h>

#include <cmath>

#include <frieze/core/error.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/conv_transpose2d/conv_transpose2d.h>
#include "support/parity.h"
#include "support/reference.h"

namespace frieze {
namespace {

using test::inferred_shape;
using test::message_of;
using test::run_reference;

struct Transposed {
  std::int64_t in, out;
  Size2d kernel;
  ConvTranspose2dOptions options;
  Shape x;
};

const Transposed kTransposed[] = {
    {1, 1, 1, {}, {1, 1, 1, 1}},
    {3, 2, 2, {.stride = 2}, {2, 3, 4, 5}},
    {3, 2, 3, {.stride = 2, .padding = 1, .output_padding = 1}, {1, 3, 4, 5}},
    {4, 6, 4, {.stride = 2, .padding = 1, .groups = 2, .bias = false}, {2, 4, 3, 5}},
    {2, 3, {5, 2}, {.stride = {3, 4}, .padding = {2, 1}, .output_padding = {2, 3}}, {1, 2, 4, 3}},
    {2, 3, {4, 3}, {.padding = {5, 4}, .dilation = {3, 2}}, {1, 2, 3, 5}},
    {2, 3, {2, 3}, {.stride = {1, 2}, .padding = {1, 0}, .dilation = {2, 1}}, {1, 2, 4, 5}},
    {2, 3, {1, 7}, {.stride = {1, 3}, .padding = {0, 9}, .output_padding = {0, 2}}, {1, 2, 3, 11}},
    {2, 4, {2, 1}, {.stride = 5, .output_padding = 4, .groups = 2}, {3, 2, 2, 2}},
    {2, 2, 3, {.stride = 2, .padding = 4}, {1, 2, 9, 8}},
};

// The definition, in the order in which the formula stands.
std::vector<float> by_definition(const ConvTranspose2d& layer, const Shape& x_shape, const std::vector<float>& x) {
  const ConvTranspose2dOptions& o = layer.options();
  const Shape y_shape = inferred_shape(layer, {x_shape});
  const std::int64_t in_group = layer.in_channels() / o.groups, out_group = layer.out_channels() / o.groups;
  std::vector<float> y;
  for (std::int64_t n = 0; n < y_shape.n(); ++n) {
    for (std::int64_t c = 0; c < y_shape.c(); ++c) {
      for (std::int64_t i = 0; i < y_shape.h(); ++i) {
        for (std::int64_t j = 0; j < y_shape.w(); ++j) {
          double sum = o.bias ? layer.bias().values[static_cast<std::size_t>(c)] : 0.0F;
          for (std::int64_t k = 0; k < in_group * x_shape.h() * x_shape.w(); ++k) {
            const std::int64_t w = k % x_shape.w(), h = k / x_shape.w() % x_shape.h();
            const std::int64_t from = c / out_group * in_group + k / x_shape.w() / x_shape.h();
            const std::int64_t r = i + o.padding.h - h * o.stride.h, s = j + o.padding.w - w * o.stride.w;
            if (r < 0 || s < 0 || r % o.dilation.h != 0 || s % o.dilation.w != 0) continue;
            if (r / o.dilation.h >= layer.kernel().h || s / o.dilation.w >= layer.kernel().w) continue;
            const std::int64_t factor = ((from * out_group + c % out_group) * layer.kernel().h + r / o.dilation.h) * layer.kernel().w;
            sum += static_cast<double>(layer.weight().values[static_cast<std::size_t>(factor + s / o.dilation.w)]) *
                   static_cast<double>(x[static_cast<std::size_t>(((n * x_shape.c() + from) * x_shape.h() + h) * x_shape.w() + w)]);
          }
          y.push_back(static_cast<float>(sum));
        }
      }
    }
  }
  return y;
}

TEST(ConvTranspose2dTest, EqualsItsDefinition) {
  for (const Transposed& c : kTransposed) {
    ConvTranspose2d layer(c.in, c.out, c.kernel, c.options);
    init_random(layer, 3);
    const auto count = static_cast<std::size_t>(c.x.elements());
    const std::vector<float> x = test::random_values(count, 7, test::Fill::normal, DType::f32, c.x.c());
    for (const Format format : {Format::nchw, Format::nhwc}) {
      const std::vector<float> got = run_reference(layer, {{c.x, x}}, DType::f32, format), expected = by_definition(layer, c.x, x);
      ASSERT_EQ(got.size(), expected.size());
      for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], expected[i], 1e-6) << layer.describe() << " at " << i;
    }
  }
}

// What the GPU does: convolutions of the phases, their outputs put in their places.
TEST(ConvTranspose2dTest, ItsPartsMakeTheSame) {
  std::size_t convolutions = 0, without = 0;
  for (const Transposed& c : kTransposed) {
    ConvTranspose2d layer(c.in, c.out, c.kernel, c.options);
    init_random(layer, 4);
    const auto count = static_cast<std::size_t>(c.x.elements());
    const std::vector<float> x = test::random_values(count, 8, test::Fill::normal, DType::f32, c.x.c());
    const std::vector<float> expected = run_reference(layer, {{c.x, x}});
    const Shape y = inferred_shape(layer, {c.x});
    const ConvTranspose2dOptions& o = layer.options();
    std::vector<int> written(expected.size());
    for (const ConvTranspose2d::Part& part : layer.parts(c.x)) {
      part.conv != nullptr ? ++convolutions : ++without;
      std::vector<float> z;
      Shape shape;
      if (part.conv != nullptr) {
        z = run_reference(*part.conv, {{c.x, x}});
        shape = inferred_shape(*part.conv, {c.x});
      }
      for (std::size_t at = 0; at < expected.size(); ++at) {
        const auto e = static_cast<std::int64_t>(at);
        const std::int64_t j = e % y.w() + o.padding.w, i = e / y.w() % y.h() + o.padding.h, channel = e / y.w() / y.h() % y.c();
        const std::int64_t p = i % o.stride.h - part.begin.h, q = j % o.stride.w - part.begin.w, n = e / y.w() / y.h() / y.c();
        if (p < 0 || p >= part.count.h || q < 0 || q >= part.count.w) continue;
        ++written[at];
        float got = o.bias ? layer.bias().values[static_cast<std::size_t>(channel)] : 0.0F;
        if (part.conv != nullptr) {
          const std::int64_t group = y.c() / o.groups, phases = std::int64_t{part.count.h} * part.count.w;
          const std::int64_t from = (channel / group * phases + p * part.count.w + q) * group + channel % group;
          const std::int64_t u = i / o.stride.h - part.first.h, v = j / o.stride.w - part.first.w;
          ASSERT_TRUE(u >= 0 && u < shape.h() && v >= 0 && v < shape.w()) << layer.describe();
          got = z[static_cast<std::size_t>(((n * shape.c() + from) * shape.h() + u) * shape.w() + v)];
        }
        ASSERT_NEAR(got, expected[at], 1e-5) << layer.describe() << " at " << at;
      }
    }
    const bool any = !layer.parts(c.x).empty();
    EXPECT_EQ(written, std::vector<int>(expected.size(), any ? 1 : 0)) << layer.describe();
  }
  EXPECT_GT(convolutions, 15U);
  EXPECT_GT(without, 2U);
  EXPECT_TRUE(ConvTranspose2d(1, 1, 3, {.stride = 2, .dilation = 2}).parts({1, 1, 4, 4}).empty());
}

TEST(ConvTranspose2dTest, ShapesAndRefusals) {
  EXPECT_EQ(inferred_shape(ConvTranspose2d(8, 4, 2, {.stride = 2}), {{3, 8, 5, 7}}), (Shape{3, 4, 10, 14}));
  const ConvTranspose2d layer(8, 4, 3, {.stride = 2, .padding = 1, .output_padding = 1, .groups = 4});
  EXPECT_EQ(inferred_shape(layer, {{3, 8, 5, 7}}), (Shape{3, 4, 10, 14}));
  EXPECT_EQ(layer.weight().shape, (Shape{8, 1, 3, 3}));
  EXPECT_EQ(layer.describe(), "8->4 3x3 stride 2 padding 1 output padding 1 groups 4");
  EXPECT_EQ(message_of<ShapeError>([&] {
              inferred_shape(layer, {{3, 4, 5, 7}});
            }),
            "ConvTranspose2d expects 8 input channels, got 4 (x [3,4,5,7] as [N,C,H,W], weight [8,1,3,3] as [C_in,C_out/groups,KH,KW], 4 "
            "groups)");
  EXPECT_EQ(message_of<OptionError>([] { ConvTranspose2d extra(1, 1, 3, {.stride = 2, .output_padding = 2}); }),
            "ConvTranspose2d: output_padding must be less than the stride or the dilation, got 2 for stride 2 and dilation 1");
  EXPECT_THROW(ConvTranspose2d(0, 1, 3), OptionError);
  EXPECT_THROW(ConvTranspose2d(1, 1, 0), OptionError);
  EXPECT_THROW(ConvTranspose2d(1, 1, 1, {.stride = 0}), OptionError);
  EXPECT_THROW(ConvTranspose2d(1, 1, 1, {.padding = -1}), OptionError);
  EXPECT_THROW(ConvTranspose2d(4, 6, 1, {.groups = 4}), OptionError);
  EXPECT_THROW(inferred_shape(ConvTranspose2d(1, 1, 3, {.padding = 3}), {{1, 1, 4, 9}}), ShapeError) << "nothing left";
  EXPECT_THROW(inferred_shape(ConvTranspose2d(1, 1, 3, {.stride = 1 << 30}), {{1, 1, std::int64_t{1} << 40, 9}}), ShapeError);
  EXPECT_THROW(inferred_shape(layer, {{8, 5, 7}}), ShapeError);
}

}  // namespace
}  // namespace frieze
