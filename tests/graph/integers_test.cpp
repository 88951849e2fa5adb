// Values of integers: through ports, taps and verify, exactly; layers of floats refuse them.
#include <gtest/gtest.h>

#include "graph/test_layers.h"

#include <frieze/graph/finite.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/batch_norm2d/batch_norm2d.h>
#include <frieze/layers/cast/cast.h>
#include <frieze/layers/concat/concat.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/linear/linear.h>
#include <frieze/layers/pool/pool.h>
#include <frieze/layers/rms_norm2d/rms_norm2d.h>
#include <frieze/layers/slice/slice.h>
#include <frieze/layers/softmax/softmax.h>

namespace frieze {
namespace {

using test::FunctionModel;
using test::message_of;
using Integers = std::vector<std::int64_t>;

// Which f32, and of the last which f64, cannot hold.
const Integers kX{16777217, -16777219, 2147483647, -2147483648LL, 7, 0, -1, 123456789};

FunctionModel swapped() {
  return FunctionModel([](const std::vector<Value>& x) {
    return std::vector<Value>{concat({slice(x[0], 2, 4), slice(x[0], 0, 2)}), cast(x[0], DType::i64)};
  });
}

TEST(IntegersTest, MoveExactly) {
  const FunctionModel model = swapped();
  for (const Format format : {Format::nchw, Format::nhwc}) {
    Session net = compile(model, {{"x", {1, 4, 2, 1}, DType::i32, format}}, Device::reference());
    net.input().copy_from(std::span<const std::int64_t>(kX));
    for (int run = 0; run < 2; ++run) {
      net.poison();
      net.run();
      EXPECT_EQ(net.output("y0").integers(), (Integers{7, 0, -1, 123456789, 16777217, -16777219, 2147483647, -2147483648LL})) << format;
      EXPECT_EQ(net.output("y1").integers(), kX) << format;
    }
    (void)net.tap("*");
    net.run();
    EXPECT_EQ(net.tapped("cast").integers(), kX);
    const VerifyReport report = verify(net);
    EXPECT_TRUE(report.ok()) << report.text();
    EXPECT_EQ(check_finite(net, net.output("y0").floats()), "");
  }
}

TEST(IntegersTest, PortsTakeTheirOwnKind) {
  const FunctionModel model = swapped();
  Session net = compile(model, {{"x", {1, 4, 2, 1}, DType::i32}}, Device::reference());
  EXPECT_EQ(message_of<DTypeError>([&] { net.input().copy_from(std::vector<float>(8, 0.5F)); }), "port 'x': expected i32, got f32");
  EXPECT_THROW(net.input().copy_from(HostTensor(TensorSpec{{1, 4, 2, 1}})), DTypeError);
  EXPECT_THROW(net.input().copy_from(std::span<const std::int64_t>(kX).first(7)), ShapeError);
  Integers wide = kX;
  wide[3] = 2147483648LL;
  EXPECT_EQ(message_of<DTypeError>([&] { net.input().copy_from(std::span<const std::int64_t>(wide)); }),
            "port 'x': i32 cannot hold 2147483648");
  net.input().copy_from(HostTensor({{1, 4, 2, 1}, DType::i64, Format::nhwc}, kX));
  EXPECT_EQ(net.input().integers(), kX);
  Session floats =
      compile(FunctionModel([](const std::vector<Value>& x) { return std::vector<Value>{relu(x[0])}; }), {{"x", {2}}}, Device::reference());
  EXPECT_THROW(floats.input().copy_from(std::span<const std::int64_t>(kX).first(2)), DTypeError);
  EXPECT_THROW((void)floats.output().integers(), DTypeError);
}

TEST(IntegersTest, AWrongOneIsFoundWhereAFloatWouldHideIt) {
  EXPECT_EQ(difference(Integers{16777217, 5}, Integers{16777217, 5}).share, 0);
  const Difference d = difference(Integers{1, 16777217}, Integers{1, 16777216});
  EXPECT_GT(d.share, 1);
  EXPECT_EQ(d.max_abs, 1);
  EXPECT_EQ(d.worst_index, 1);
  const std::int64_t large = std::int64_t{1} << 62;
  EXPECT_GT(difference(Integers{large + 1}, Integers{large}).share, 1) << "equal as doubles";
  EXPECT_THROW((void)difference(Integers{1}, Integers{1, 2}), ShapeError);
}

TEST(IntegersTest, AreRefusedByLayersOfFloats) {
  const auto refuses = [](const Layer& layer, const Shape& x, std::size_t inputs = 1) {
    for (const DType t : {DType::i32, DType::i64}) {
      const std::vector<TensorSpec> in(inputs, {x, t});
      EXPECT_EQ(message_of<DTypeError>([&] { (void)layer.infer(in); }), concat_text(layer.type_name(), " takes f32, f16 or bf16, got ", t));
    }
  };
  refuses(Conv2d(4, 4, 3), {1, 4, 5, 5});
  refuses(Linear(4, 4), {2, 4});
  refuses(RMSNorm2d(4), {1, 4, 2, 2});
  refuses(BatchNorm2d(4), {1, 4, 2, 2});
  refuses(SiLU(), {3});
  refuses(Add(), {3}, 2);
  refuses(Softmax(), {1, 4});
  refuses(GlobalAvgPool(), {1, 4, 2, 2});
  const std::vector<TensorSpec> mixed{{{1, 4}, DType::i32}, {{1, 4}, DType::i64}};
  EXPECT_THROW((void)Concat().infer(mixed), DTypeError);
}

}  // namespace
}  // namespace frieze
