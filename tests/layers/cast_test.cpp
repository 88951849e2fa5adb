#include <frieze/layers/cast/cast.h>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include <frieze/core/error.h>
#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>
#include "support/constants.h"
#include "support/parity.h"
#include "support/reference.h"

namespace frieze {
namespace {

using test::kInf;
using test::kNaN;
using test::message_of;
using Integers = std::vector<std::int64_t>;
using Floats = std::vector<float>;
constexpr std::int64_t kMin64 = std::numeric_limits<std::int64_t>::min(), kMax64 = std::numeric_limits<std::int64_t>::max();

HostTensor cast_of(const HostTensor& x, DType to) {
  HostTensor y({x.spec().shape, to});
  const TensorView in = x.view(), out = y.view();
  Cast(to).reference({{&in, 1}, {&out, 1}, DType::f32});
  return y;
}

HostTensor of(DType t, const Floats& values) { return HostTensor({{static_cast<std::int64_t>(values.size())}, t}, values); }
HostTensor of(DType t, const Integers& values) { return HostTensor({{static_cast<std::int64_t>(values.size())}, t}, values); }

// The documentation of torch.Tensor.to and of C++: the fraction goes, towards zero.
TEST(CastTest, DropsFractionsTowardsZero) {
  const Floats x{0, -0.0F, 0.99F, -0.99F, 1.5F, -1.5F, 2.5F, -2.5F, 1e6F, -16777216};
  for (const DType from : {DType::f32, DType::f16, DType::bf16}) {
    const Floats small(x.begin(), x.begin() + 8);
    const HostTensor in = of(from, small);
    Integers expected;
    for (const float v : in.floats()) expected.push_back(static_cast<std::int64_t>(v));
    for (const DType to : {DType::i32, DType::i64}) EXPECT_EQ(cast_of(in, to).integers(), expected) << from << ' ' << to;
  }
  EXPECT_EQ(cast_of(of(DType::f32, x), DType::i32).integers(), (Integers{0, 0, 0, 0, 1, -1, 2, -2, 1000000, -16777216}));
}

TEST(CastTest, SaysWhatNaNAndTheOutOfRangeGive) {
  const HostTensor x = of(DType::f32, Floats{kNaN, kInf, -kInf, 0x1p31F, -0x1p31F, 2147483520.0F, 0x1p63F, -0x1p63F, 1e30F});
  EXPECT_EQ(cast_of(x, DType::i32).integers(),
            (Integers{0, 2147483647, -2147483648LL, 2147483647, -2147483648LL, 2147483520, 2147483647, -2147483648LL, 2147483647}));
  EXPECT_EQ(cast_of(x, DType::i64).integers(),
            (Integers{0, kMax64, kMin64, 2147483648LL, -2147483648LL, 2147483520, kMax64, kMin64, kMax64}));
  EXPECT_EQ(cast_of(of(DType::f16, Floats{kNaN, kInf, -kInf, 65504}), DType::i32).integers(),
            (Integers{0, 2147483647, -2147483648LL, 65504}));
}

// torch.tensor([...]).to(torch.float32 / float16 / bfloat16)
TEST(CastTest, RoundsIntegersToNearestEven) {
  const Integers x{16777217, 16777219, -16777217, 2147483647, -2147483648LL};
  for (const DType from : {DType::i32, DType::i64}) {
    EXPECT_EQ(cast_of(of(from, x), DType::f32).floats(), (Floats{16777216, 16777220, -16777216, 2147483648.0F, -2147483648.0F})) << from;
    EXPECT_EQ(cast_of(of(from, Integers{2049, 2051, 65504, 65519, 65520, -70000}), DType::f16).floats(),
              (Floats{2048, 2052, 65504, 65504, kInf, -kInf}))
        << from;
    EXPECT_EQ(cast_of(of(from, Integers{257, 259, 16842753}), DType::bf16).floats(), (Floats{256, 260, 16777216})) << "through f32";
  }
  EXPECT_EQ(cast_of(of(DType::i64, Integers{kMax64, (std::int64_t{1} << 53) + 1}), DType::f32).floats(), (Floats{0x1p63F, 0x1p53F}));
}

TEST(CastTest, KeepsTheLowBitsOfIntegers) {
  const HostTensor x = of(DType::i64, Integers{1, -1, 2147483648LL, -2147483649LL, 4294967296LL, kMax64, kMin64});
  EXPECT_EQ(cast_of(x, DType::i32).integers(), (Integers{1, -1, -2147483648LL, 2147483647, 0, -1, 0}));
  EXPECT_EQ(cast_of(of(DType::i32, Integers{-5, 2147483647}), DType::i64).integers(), (Integers{-5, 2147483647}));
  EXPECT_EQ(cast_of(x, DType::i64).integers(), x.integers()) << "beyond what a double holds";
}

TEST(CastTest, RoundsFloatsOnce) {
  EXPECT_EQ(cast_of(of(DType::f32, Floats{1 + 0x1p-11F, 65520, 1e-8F}), DType::f16).floats(), (Floats{1, kInf, 0}));
  EXPECT_EQ(cast_of(of(DType::f16, Floats{1 + 0x1p-10F}), DType::bf16).floats(), (Floats{1}));
  EXPECT_TRUE(std::isnan(cast_of(of(DType::f32, Floats{kNaN}), DType::bf16).floats()[0]));
}

TEST(CastTest, InAModel) {
  struct Net : Module {
    Value forward(Value x) const override { return cast(cast(cast(x, DType::i32), DType::i64), DType::f16); }
  } net;
  Session session = compile(net, {{"x", {1, 2, 2, 2}}}, Device::reference());
  EXPECT_EQ(session.output().spec().dtype, DType::f16);
  session.input().copy_from(Floats{1.9F, -1.9F, 0.5F, 3000.5F, -7, 7.999F, 2049, 0});
  session.run();
  EXPECT_EQ(session.output().floats(), (Floats{1, -1, 0, 3000, -7, 7, 2048, 0}));
  const VerifyReport report = verify(session);
  EXPECT_TRUE(report.ok()) << report.text();
  EXPECT_EQ(report.layers[0].spec.dtype, DType::i32);
}

TEST(CastGpu, EveryPair) {
  FRIEZE_NEEDS_GPU();
  struct Net : Module {
    DType between, to;
    Net(DType b, DType t) : between(b), to(t) {}
    Value forward(Value x) const override { return cast(cast(x, between), to); }
  };
  const Floats x{0, 1.5F, -1.5F, 65519, 3e9F, -3e9F, 1e20F, kNaN, kInf, -kInf, 2147483520.0F, 0x1p63F};
  for (const DType between : {DType::f32, DType::f16, DType::bf16, DType::i32, DType::i64}) {
    for (const DType to : {DType::f32, DType::f16, DType::bf16, DType::i32, DType::i64}) {
      const Net net(between, to);
      std::vector<HostTensor> results;
      for (const Device& device : {Device::reference(), Device::cuda()}) {
        Session session = compile(net, {{"x", {12}}}, device);
        session.input().copy_from(x);
        session.run();
        results.push_back(session.output().to_host());
      }
      if (is_integer(to)) {
        EXPECT_EQ(results[0].integers(), results[1].integers()) << between << ' ' << to;
      } else {
        const Floats a = results[0].floats(), b = results[1].floats();
        for (std::size_t i = 0; i < a.size(); ++i) {
          EXPECT_TRUE(a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) << between << ' ' << to << ": " << a[i] << ' ' << b[i];
        }
      }
    }
  }
}

}  // namespace
}  // namespace frieze
