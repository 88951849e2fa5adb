#include <frieze/core/tensor.h>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <sstream>

#include <frieze/core/error.h>
#include <frieze/core/host_memory.h>

namespace frieze {
namespace {

std::vector<float> counting(std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), 0.0F);
  return values;
}

Strides strides_of(std::initializer_list<std::int64_t> list) {
  Strides strides{};
  std::copy(list.begin(), list.end(), strides.begin());
  return strides;
}

TEST(TensorSpec, BytesAreCheckedAndPrinted) {
  EXPECT_EQ((TensorSpec{{2, 3, 4, 5}, DType::f16}).bytes(), 240);
  EXPECT_EQ((TensorSpec{{65536, 65536}, DType::f32}).bytes(), std::int64_t{1} << 34);
  EXPECT_THROW((void)(TensorSpec{{std::int64_t{1} << 62}, DType::f32}).bytes(), ShapeError);
  std::ostringstream text;
  text << TensorSpec{{1, 64, 8, 8}, DType::bf16, Format::nhwc} << '|' << TensorSpec{{3}, DType::f32};
  EXPECT_EQ(text.str(), "[1,64,8,8] bf16 nhwc|[3] f32");
}

TEST(Format, NamesGoBothWays) {
  EXPECT_EQ(parse_format(name(Format::nhwc)), Format::nhwc);
  EXPECT_EQ(parse_format("nchw"), Format::nchw);
  EXPECT_THROW((void)parse_format("NCHW"), OptionError);
}

TEST(Strides, FollowTheFormatForImagesOnly) {
  const Shape image{2, 3, 4, 5};
  EXPECT_EQ(contiguous_strides(image, Format::nchw), strides_of({60, 20, 5, 1}));
  EXPECT_EQ(contiguous_strides(image, Format::nhwc), strides_of({60, 1, 15, 3}));
  EXPECT_EQ(contiguous_strides({3, 4, 5}, Format::nhwc), strides_of({20, 5, 1}));
  EXPECT_EQ(contiguous_strides({3, 0, 5}, Format::nchw), strides_of({5, 5, 1}));
  EXPECT_TRUE(same_layout({2, 1, 4, 5}));
  EXPECT_TRUE(same_layout({2, 3, 1, 1}));
  EXPECT_TRUE(same_layout({3, 4, 5}));
  EXPECT_FALSE(same_layout(image));
}

TEST(TensorView, ContiguityIgnoresAxesOfOne) {
  EXPECT_TRUE(TensorView(nullptr, {2, 3, 4, 5}, DType::f32, strides_of({60, 20, 5, 1})).is_contiguous(Format::nchw));
  EXPECT_FALSE(TensorView(nullptr, {2, 3, 4, 5}, DType::f32, strides_of({60, 20, 5, 1})).is_contiguous(Format::nhwc));
  EXPECT_TRUE(TensorView(nullptr, {1, 3, 4, 5}, DType::f32, strides_of({999, 20, 5, 1})).is_contiguous(Format::nchw));
  EXPECT_FALSE(TensorView(nullptr, {2, 3, 4, 5}, DType::f32, strides_of({64, 20, 5, 1})).is_contiguous(Format::nchw));
  EXPECT_TRUE(TensorView(nullptr, {0, 3}, DType::f32, strides_of({7, 7})).is_contiguous(Format::nchw)) << "nothing to be out of place";
}

TEST(TensorView, ReadsAnyStridesInRowMajorOrder) {
  std::vector<float> memory = counting(64);
  const TensorView padded(memory.data() + 1, {2, 3}, DType::f32, strides_of({8, 2}));
  EXPECT_EQ(to_floats(padded), (std::vector<float>{1, 3, 5, 9, 11, 13}));
  const TensorView transposed(memory.data(), {3, 2}, DType::f32, strides_of({1, 8}));
  EXPECT_EQ(to_floats(transposed), (std::vector<float>{0, 8, 1, 9, 2, 10}));
  const TensorView repeated(memory.data() + 5, {2, 2}, DType::f32, strides_of({0, 1}));
  EXPECT_EQ(to_floats(repeated), (std::vector<float>{5, 6, 5, 6}));
  EXPECT_EQ(to_floats(TensorView(memory.data() + 7, Shape{}, DType::f32, {})), std::vector<float>{7});
  EXPECT_TRUE(to_floats(TensorView(nullptr, {3, 0}, DType::f32, {})).empty());
}

TEST(TensorView, WritesOnlyItsOwnElements) {
  std::vector<float> memory(16, -1);
  from_floats(std::vector<float>{1, 2, 3, 4}, TensorView(memory.data() + 1, {2, 2}, DType::f32, strides_of({6, 2})));
  EXPECT_EQ(memory, (std::vector<float>{-1, 1, -1, 2, -1, -1, -1, 3, -1, 4, -1, -1, -1, -1, -1, -1}));
}

TEST(TensorView, RoundsOnceFromDouble) {
  // 1 + 2^-8 is the middle between two bf16; a little more, invisible in f32, must go up.
  HostTensor y({{2}, DType::bf16});
  from_doubles(std::vector<double>{1 + 0x1p-8, 1 + 0x1p-8 + 0x1p-40}, y.view());
  EXPECT_EQ(y.floats(), (std::vector<float>{1, 1 + 0x1p-7F}));
}

TEST(TensorView, RefusesAWrongCountAndMissingMemory) {
  HostTensor y({{2, 3}});
  try {
    from_floats(counting(5), y.view());
    FAIL() << "nothing was thrown";
  } catch (const ShapeError& e) {
    EXPECT_STREQ(e.what(), "writing 5 values into a tensor of shape [2,3]");
  }
  EXPECT_THROW((void)HostTensor().floats(), ShapeError) << "a default tensor has no memory";
  EXPECT_THROW(from_floats(counting(1), TensorView()), ShapeError);
}

TEST(HostTensor, IsAlignedAndHoldsTheRightBytes) {
  for (const std::int64_t n : {1, 3, 1000}) {
    const HostTensor t({{n}, DType::bf16});
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(t.data()) % 64, 0U);
    EXPECT_EQ(t.bytes(), static_cast<std::size_t>(2 * n));
  }
  const HostTensor none(TensorSpec{{0, 4}});
  EXPECT_EQ(none.bytes(), 0U);
  EXPECT_TRUE(none.floats().empty());
}

TEST(HostTensor, RefusesWhatNoMachineHas) {
  EXPECT_THROW(HostTensor({{std::int64_t{1} << 62}, DType::f16}), ShapeError) << "2^63 bytes";
  try {
    HostTensor({{1, 16, 1 << 20, 1 << 25}, DType::f16, Format::nhwc});
    FAIL() << "nothing was thrown";
  } catch (const MemoryError& e) {
    EXPECT_EQ(e.what(), "a tensor of [1,16,1048576,33554432] f16 nhwc needs 1.0 PiB, this machine has " + readable_bytes(machine_memory()) +
                            " of memory and swap");
  }
}

TEST(HostMemory, BytesAreReadable) {
  EXPECT_EQ(readable_bytes(0), "0 bytes");
  EXPECT_EQ(readable_bytes(1023), "1023 bytes");
  EXPECT_EQ(readable_bytes(1536), "1.5 KiB");
  EXPECT_EQ(readable_bytes(std::int64_t{3} << 39), "1.5 TiB");
  EXPECT_EQ(readable_bytes(std::numeric_limits<std::int64_t>::max()), "8.0 EiB");
  EXPECT_GT(machine_memory(), 1 << 20);
}

TEST(HostTensor, ConvertsTypeAndFormat) {
  const Shape shape{2, 3, 2, 5};
  const std::vector<float> values = counting(shape.elements());
  const HostTensor nchw({shape}, values);
  const HostTensor nhwc = nchw.converted(DType::f16, Format::nhwc);
  EXPECT_EQ(nhwc.spec(), (TensorSpec{shape, DType::f16, Format::nhwc}));
  EXPECT_EQ(nhwc.floats(), values);  // row-major values whatever the memory looks like
  for (std::size_t c = 0; c < 3; ++c) EXPECT_EQ(load_element(DType::f16, nhwc.data(), c), values[c * 10]) << "C is fastest in memory";
  EXPECT_EQ(nhwc.converted(DType::f32, Format::nchw).floats(), values);
}

// Exact where a float or a double is not.
TEST(HostTensor, HoldsIntegers) {
  const std::int64_t large = (std::int64_t{1} << 62) + 1;
  const std::vector<std::int64_t> values{1, -1, large, -large, 16777217, 0, 7, -8};
  const HostTensor wide({{2, 2, 2, 1}, DType::i64}, values);
  EXPECT_EQ(wide.bytes(), 64U);
  EXPECT_EQ(wide.integers(), values);
  EXPECT_EQ(wide.converted(DType::i64, Format::nhwc).integers(), values);
  EXPECT_EQ(wide.converted(DType::i32, Format::nhwc).integers(), (std::vector<std::int64_t>{1, -1, 1, -1, 16777217, 0, 7, -8}));
  EXPECT_EQ(wide.floats()[4], 16777216.0F) << "rounded to nearest even";
  EXPECT_EQ(HostTensor({{3}, DType::i32}, std::vector<float>{1.9F, -1.9F, 3e9F}).integers(),
            (std::vector<std::int64_t>{1, -1, 2147483647}));
  EXPECT_THROW((void)HostTensor(TensorSpec{{1}}).integers(), DTypeError);
  EXPECT_THROW(HostTensor({{1}, DType::bf16}, std::vector<std::int64_t>{1}), DTypeError);
  EXPECT_THROW(HostTensor({{2}, DType::i64}, std::vector<std::int64_t>{1}), ShapeError);
}

TEST(TensorView, ConvertsStridesAndKeepsBits) {
  const std::uint32_t signalling = 0x7FA00001;
  std::uint32_t bits[4] = {signalling, 0x80000000, 1, 0x7F800000}, moved[8] = {};
  const TensorView from(bits, {2, 2}, DType::f32, {2, 1}), to(moved, {2, 2}, DType::f32, {1, 4});
  convert(from, to);
  EXPECT_EQ(moved[0], signalling);
  EXPECT_EQ(moved[4], 0x80000000U);
  EXPECT_EQ(moved[1], 1U);
  EXPECT_EQ(moved[5], 0x7F800000U);
  EXPECT_THROW(convert(from, TensorView(moved, {4}, DType::f32, {1})), ShapeError);
}

}  // namespace
}  // namespace frieze
