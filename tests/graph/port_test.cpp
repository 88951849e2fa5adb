// Arrays of every type into ports and out of them, whole batches or some images, against the library's one rounding.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include <frieze/graph/session.h>
#include <frieze/layers/cast/cast.h>

#include "graph/allocation_hooks.h"
#include "graph/test_layers.h"
#include "support/parity.h"
#include "support/reference.h"

namespace frieze::test {
namespace {

const Lambda& doubled() {
  static const Lambda model([](Value x) { return times(x); });
  return model;
}

Session session(const Shape& shape, DType dtype, Format format = Format::nchw) {
  return compile(doubled(), {{"x", shape, dtype, format}}, Device::reference());
}

std::vector<float> some_values(const Shape& shape, std::uint64_t seed) {
  return random_values(static_cast<std::size_t>(shape.elements()), seed, Fill::mixed, DType::f32, 1);
}

template <class T>
std::vector<T> rounded(const std::vector<float>& values) {
  std::vector<T> out;
  for (const float v : values) out.push_back(T(v));
  return out;
}

std::vector<float> widened(const std::vector<f16>& values) { return {values.begin(), values.end()}; }

void expect_bytes(const Port& port, const HostTensor& expected, const char* what) {
  EXPECT_EQ(std::memcmp(port.view().data, expected.data(), expected.bytes()), 0) << what << ", " << port.spec();
}

// Few and many channels, one pixel, one channel, other ranks; the last ones are converted by several threads.
const Shape kShapes[] = {{1, 3, 5, 7}, {2, 1, 4, 4}, {3, 40, 1, 1}, {2, 33, 9, 31}, {6}, {2, 3}, {4, 2, 3}, {2, 3, 201, 203}, {70000}};

TEST(PortTest, TakesArraysOfEveryFloat) {
  for (const Shape& shape : kShapes) {
    for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
      for (const Format format : {Format::nchw, Format::nhwc}) {
        Session net = session(shape, t, format);
        const std::vector<float> values = some_values(shape, 1);
        const TensorSpec spec = net.input().spec();
        net.input().copy_from(values);
        expect_bytes(net.input(), HostTensor(spec, values), "float");
        net.input().copy_from(std::span(values));
        const auto half = rounded<f16>(values);
        std::vector<float> exact;
        for (const f16 v : half) exact.push_back(static_cast<float>(v));
        net.poison();
        net.input().copy_from(half);
        expect_bytes(net.input(), HostTensor(spec, exact), "f16");
        const auto brain = rounded<bf16>(values);
        exact.clear();
        for (const bf16 v : brain) exact.push_back(static_cast<float>(v));
        net.input().copy_from(brain);
        expect_bytes(net.input(), HostTensor(spec, exact), "bf16");
        for (const DType from : {DType::f32, DType::f16, DType::bf16}) {
          for (const Format order : {Format::nchw, Format::nhwc}) {
            const HostTensor tensor({shape, from, order}, values);
            net.input().copy_from(tensor);
            expect_bytes(net.input(), HostTensor(spec, tensor.floats()), "tensor");
          }
        }
      }
    }
  }
}

TEST(PortTest, GivesArraysOfEveryFloat) {
  for (const Shape& shape : kShapes) {
    for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
      for (const Format format : {Format::nchw, Format::nhwc}) {
        Session net = session(shape, t, format);
        net.input().copy_from(some_values(shape, 2));
        net.run();
        const std::vector<float> expected = net.output().floats();
        std::vector<float> f(expected.size(), -1);
        net.output().copy_to(f);
        EXPECT_EQ(f, expected) << net.output().spec();
        std::vector<f16> half(expected.size());
        net.output().copy_to(half);
        EXPECT_EQ(half, rounded<f16>(expected)) << net.output().spec();
        std::vector<bf16> brain(expected.size());
        net.output().copy_to(std::span(brain));
        EXPECT_EQ(brain, rounded<bf16>(expected)) << net.output().spec();
      }
    }
  }
}

TEST(PortTest, NaNAndOverflowGoThrough) {
  Session net = session({5}, DType::f16);
  const float inf = std::numeric_limits<float>::infinity();
  net.input().copy_from(std::vector<float>{NAN, inf, -inf, 65519, 65520});
  std::array<float, 5> back{};
  net.input().copy_to(back);
  EXPECT_TRUE(std::isnan(back[0]));
  EXPECT_EQ((std::vector<float>(back.begin() + 1, back.end())), (std::vector<float>{inf, -inf, 65504, inf}));
}

std::vector<std::uint8_t> all_bytes(std::size_t count) {
  std::vector<std::uint8_t> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::uint8_t>(i * 7 + i / 256);
  return bytes;
}

TEST(PortTest, BytesAreNumbers) {
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    for (const Format format : {Format::nchw, Format::nhwc}) {
      Session net = session({2, 4, 8, 8}, t, format);
      const std::vector<std::uint8_t> bytes = all_bytes(512);
      net.input().copy_from(bytes);
      EXPECT_EQ(net.input().floats(), (std::vector<float>(bytes.begin(), bytes.end()))) << t;
      std::vector<std::uint8_t> back(512);
      net.input().copy_to(back);
      EXPECT_EQ(back, bytes) << t;
    }
  }
}

TEST(PortTest, ToBytesRoundsToEvenAndClamps) {
  Session net = session({12}, DType::f32);
  const float inf = std::numeric_limits<float>::infinity();
  net.input().copy_from(std::vector<float>{-1, -0.5F, 0.5F, 1.5F, 2.5F, 2.5000002F, 254.5F, 255.4F, 256, inf, -inf, NAN});
  std::vector<std::uint8_t> bytes(12, 77);
  net.input().copy_to(bytes);
  EXPECT_EQ(bytes, (std::vector<std::uint8_t>{0, 0, 0, 2, 2, 3, 254, 255, 255, 255, 0, 0}));
}

// What a picture's byte means, in the order of the port.
std::vector<float> planes_of(const std::vector<std::uint8_t>& pixels, const Shape& s, double scale, double offset) {
  std::vector<float> values;
  for (std::int64_t n = 0; n < s.n(); ++n)
    for (std::int64_t c = 0; c < s.c(); ++c)
      for (std::int64_t p = 0; p < s.h() * s.w(); ++p)
        values.push_back(static_cast<float>(pixels[static_cast<std::size_t>((n * s.h() * s.w() + p) * s.c() + c)] * scale + offset));
  return values;
}

TEST(PortTest, PicturesGoInAndComeOut) {
  for (const Shape& shape : {Shape{1, 3, 16, 16}, Shape{2, 4, 5, 7}, Shape{1, 1, 16, 16}, Shape{2, 3, 201, 203}}) {
    for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
      for (const Format format : {Format::nchw, Format::nhwc}) {
        Session net = session(shape, t, format);
        const std::vector<std::uint8_t> pixels = all_bytes(static_cast<std::size_t>(shape.elements()));
        for (const auto& [scale, offset] : {std::pair{1.0 / 255, 0.0}, {2.0 / 255, -1.0}, {1.0, 0.0}, {-0.5, 100.0}}) {
          net.input().copy_from(Pixels{pixels, scale, offset});
          std::vector<float> expected;
          for (const float v : planes_of(pixels, shape, scale, offset)) expected.push_back(v);
          expect_bytes(net.input(), HostTensor(net.input().spec(), expected), "pixels");
          if (t == DType::bf16) continue;  // too coarse to tell neighbours apart
          std::vector<std::uint8_t> back(pixels.size(), 1);
          net.input().copy_to(PixelBuffer{back, scale, offset});
          EXPECT_EQ(back, pixels) << shape << ' ' << t << ' ' << scale;
        }
      }
    }
  }
}

TEST(PortTest, APictureIsWhatTheProgramsReaderMakesOfIt) {
  Session net = session({1, 1, 16, 16}, DType::f32);
  std::vector<std::uint8_t> pixels(256);
  std::iota(pixels.begin(), pixels.end(), std::uint8_t{0});
  net.input().copy_from(Pixels{pixels});
  const std::vector<float> values = net.input().floats();
  for (std::size_t k = 0; k < 256; ++k) EXPECT_EQ(values[k], static_cast<float>(k) / 255.0F) << k;
}

TEST(PortTest, SomeImagesOfABatch) {
  for (const Format format : {Format::nchw, Format::nhwc}) {
    const Shape shape{5, 2, 3, 4};
    Session net = session(shape, DType::bf16, format);
    std::vector<float> all(120);
    std::iota(all.begin(), all.end(), 0.0F);
    net.input().copy_from(all);
    const std::vector<float> two(48, -1);
    net.input().copy_from(two, 2);  // images 2 and 3
    std::fill_n(all.begin() + 48, 48, -1.0F);
    EXPECT_EQ(net.input().floats(), all);
    net.input().copy_from(std::vector<std::uint8_t>(24, 9), 4);
    std::fill_n(all.begin() + 96, 24, 9.0F);
    net.input().copy_from(Pixels{std::vector<std::uint8_t>(24, 7), 1}, 0);
    std::fill_n(all.begin(), 24, 7.0F);
    EXPECT_EQ(net.input().floats(), all);
    net.input().copy_from(std::span<const float>(), 5);  // none of them
    EXPECT_EQ(net.input().floats(), all);
    std::vector<f16> image(24);
    net.input().copy_to(image, 1);
    EXPECT_EQ(widened(image), (std::vector<float>(all.begin() + 24, all.begin() + 48)));
    net.run();
    net.output().copy_to(image, 4);
    EXPECT_EQ(widened(image), std::vector<float>(24, 18));
  }
  Session rows = session({3, 2}, DType::f32);
  rows.input().copy_from(std::vector<float>{1, 2, 3, 4, 5, 6});
  rows.input().copy_from(std::vector<float>{8, 9}, 1);
  EXPECT_EQ(rows.input().floats(), (std::vector<float>{1, 2, 8, 9, 5, 6}));
}

TEST(PortTest, RefusesWhatDoesNotFit) {
  Session net = session({3, 2, 1, 2}, DType::f32);
  Port x = net.input();
  const std::vector<float> before(12, 1.25F);
  x.copy_from(before);
  std::vector<float> room(64);
  const auto span = [&](std::size_t n) { return std::span(room).first(n); };
  const auto shape_error = [](const std::function<void()>& body) { return message_of<ShapeError>(body); };
  EXPECT_EQ(shape_error([&] { x.copy_from(span(11)); }), "port 'x': expected 12 values for [3,2,1,2], got 11");
  EXPECT_EQ(shape_error([&] { x.copy_to(span(13)); }), "port 'x': expected 12 values for [3,2,1,2], got 13");
  EXPECT_EQ(shape_error([&] { x.copy_from_async(span(0), nullptr); }), "port 'x': expected 12 values for [3,2,1,2], got 0");
  EXPECT_EQ(shape_error([&] { x.copy_to_async(span(1), nullptr); }), "port 'x': expected 12 values for [3,2,1,2], got 1");
  EXPECT_EQ(shape_error([&] { x.copy_from(span(7), 0); }), "port 'x': expected whole images of 4 values each for [3,2,1,2], got 7 values");
  EXPECT_EQ(shape_error([&] { x.copy_from(span(8), 2); }), "port 'x': expected images within 0 to 2 for [3,2,1,2], got 2 from 2 on");
  EXPECT_EQ(shape_error([&] { x.copy_from(span(16), 0); }), "port 'x': expected images within 0 to 2 for [3,2,1,2], got 4 from 0 on");
  EXPECT_EQ(shape_error([&] { x.copy_to(span(4), -1); }), "port 'x': expected images within 0 to 2 for [3,2,1,2], got 1 from -1 on");
  EXPECT_EQ(shape_error([&] { x.copy_to_async(span(4), nullptr, 3); }),
            "port 'x': expected images within 0 to 2 for [3,2,1,2], got 1 from 3 on");
  for (const std::int64_t far : {std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min()}) {
    EXPECT_THROW(x.copy_from_async(span(4), nullptr, far), ShapeError) << far;
  }
  const std::vector<std::uint8_t> bytes(12);
  for (const double bad : {0.0, static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    EXPECT_THROW(x.copy_from(Pixels{bytes, bad, 0}), OptionError) << bad;
    if (bad != 0) {
      EXPECT_THROW(x.copy_from(Pixels{bytes, 1, bad}), OptionError) << bad;
    }
  }
  EXPECT_EQ(x.floats(), before) << "nothing was written";
  Session flat = session({12}, DType::f32);
  EXPECT_EQ(shape_error([&] { flat.input().copy_from(Pixels{bytes}); }), "port 'x': pixels need a port of shape [N,C,H,W], got [12]");
}

TEST(PortTest, IntegersAreNeverChanged) {
  const Lambda model([](Value x) { return cast(x, DType::i64); });
  Session net = compile(model, {{"x", {2, 1, 1, 2}, DType::i32, Format::nhwc}}, Device::reference());
  Port x = net.input(), y = net.output();
  x.copy_from(std::vector<std::int32_t>{1, -2, 2147483647, -2147483647 - 1});
  net.run();
  std::vector<std::int64_t> wide(4);
  y.copy_to(wide);
  EXPECT_EQ(wide, (std::vector<std::int64_t>{1, -2, 2147483647, -2147483648LL}));
  x.copy_to(wide);
  EXPECT_EQ(wide[3], -2147483648LL);
  std::vector<std::int32_t> narrow(2);
  x.copy_to(narrow, 1);
  EXPECT_EQ(narrow, (std::vector<std::int32_t>{2147483647, -2147483647 - 1}));
  x.copy_from(std::vector<std::uint8_t>{3, 255}, 0);
  x.copy_from(std::vector<std::int64_t>{-7, 9}, 1);
  EXPECT_EQ(x.integers(), (std::vector<std::int64_t>{3, 255, -7, 9}));

  const auto type_error = [](const std::function<void()>& body) { return message_of<DTypeError>(body); };
  EXPECT_EQ(type_error([&] {
              x.copy_from(std::vector<std::int64_t>{1, std::int64_t{1} << 31}, 1);
            }),
            "port 'x': i32 cannot hold 2147483648");
  EXPECT_EQ(type_error([&] { x.copy_from(std::vector<float>(4)); }), "port 'x': expected i32, got f32");
  EXPECT_EQ(type_error([&] { x.copy_from(std::vector<f16>(2), 0); }), "port 'x': expected i32, got f16");
  EXPECT_EQ(type_error([&] { x.copy_from(Pixels{std::vector<std::uint8_t>(4)}); }), "port 'x': expected i32, got pixels");
  std::vector<float> floats(4);
  EXPECT_EQ(type_error([&] { x.copy_to(floats); }), "port 'x': expected i32, got f32");
  std::vector<std::uint8_t> bytes(4);
  EXPECT_EQ(type_error([&] { x.copy_to(bytes); }), "port 'x': expected i32, got u8");
  EXPECT_EQ(type_error([&] { y.copy_to(narrow, 0); }), "port 'y': expected i64, got i32");
  EXPECT_NE(type_error([&] { x.copy_from_async(std::vector<std::int64_t>(4), nullptr); }).find("expected i32, got i64"), std::string::npos);
  EXPECT_EQ(x.integers(), (std::vector<std::int64_t>{3, 255, -7, 9})) << "nothing was written";
  Session floating = session({4}, DType::f32);
  EXPECT_EQ(type_error([&] { floating.input().copy_from(std::vector<std::int32_t>(4)); }), "port 'x': expected f32, got i32");
  EXPECT_EQ(type_error([&] { floating.output().copy_to(wide); }), "port 'y': expected f32, got i64");
}

TEST(PortTest, ACpuSessionCopiesAtOnceFromAnyMemory) {
  Session net = session({2, 3, 4, 5}, DType::bf16, Format::nhwc);
  std::vector<float> values(120);
  std::iota(values.begin(), values.end(), -60.0F);
  net.input().copy_from_async(values, reinterpret_cast<cudaStream_t>(&net));
  EXPECT_EQ(net.input().floats(), values);
  net.input().copy_from_async(std::vector<std::uint8_t>(60, 5), nullptr, 1);
  std::fill_n(values.begin() + 60, 60, 5.0F);
  net.launch(nullptr);
  std::vector<f16> back(60);
  net.output().copy_to_async(back, nullptr, 1);
  EXPECT_EQ(widened(back), std::vector<float>(60, 10));
  std::vector<float> all(120);
  net.output().copy_to_async(all, nullptr);
  for (std::size_t i = 0; i < 120; ++i) EXPECT_EQ(all[i], 2 * values[i]);
}

TEST(PortTest, WritesIntoBoundMemory) {
  Session net = session({2, 2}, DType::f16);
  alignas(16) std::array<f16, 4> memory{};
  net.bind("x", memory.data());
  net.input().copy_from(std::vector<float>{1, 2, 3, 4});
  net.input().copy_from(std::vector<std::uint8_t>{7, 8}, 1);
  EXPECT_EQ(widened({memory.begin(), memory.end()}), (std::vector<float>{1, 2, 7, 8}));
}

TEST(PortTest, CopyingAllocatesNothing) {
  if (!counts_allocations()) GTEST_SKIP() << "the sanitizer counts its own";
  Session net = session({2, 3, 8, 8}, DType::bf16, Format::nhwc);
  Port x = net.input(), y = net.output();
  std::vector<float> floats(384, 1);
  std::vector<f16> halves(192);
  std::vector<std::uint8_t> bytes(384, 3);
  net.run();
  const AllocationCounter counter;
  x.copy_from(floats);
  x.copy_from(halves, 1);
  x.copy_from(Pixels{bytes});
  y.copy_to(floats);
  y.copy_to(halves, 0);
  y.copy_to(PixelBuffer{bytes});
  y.copy_to_async(floats, nullptr);
  EXPECT_EQ(counter.count(), 0);
}

TEST(PortTest, APortThatWasMovedFromRefuses) {
  Session net = session({2}, DType::f32);
  Port x = net.input();
  const Port moved = std::move(x);
  std::vector<float> two(2);
  const std::vector<std::function<void()>> members{[&] { x.copy_from(two); },
                                                   [&] { x.copy_from(two, 0); },
                                                   [&] { x.copy_to(two); },
                                                   [&] { x.copy_to(two, 0); },
                                                   [&] { x.copy_from_async(two, nullptr); },
                                                   [&] { x.copy_from_async(two, nullptr, 0); },
                                                   [&] { x.copy_to_async(two, nullptr); },
                                                   [&] { x.copy_to_async(two, nullptr, 0); }};
  for (const auto& member : members) EXPECT_EQ(message_of<OptionError>(member), "this port was moved from");
}

}  // namespace
}  // namespace frieze::test
