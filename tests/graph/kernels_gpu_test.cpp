// The kernels that belong to no layer, each by itself and in memory that ends where its tensors end.
#include <gtest/gtest.h>

#include "support/parity.h"

#if FRIEZE_WITH_CUDA
#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/yardstick.h>
#include <frieze/graph/cuda/reformat.h>
#include <frieze/graph/cuda/stamps.h>
#include <frieze/layers/conv2d/cuda/compare.h>
#include <frieze/layers/shared/cuda/gemm_kernels.h>

#include "support/parity_grid.h"
#include "testing/kernel_watch.h"

namespace frieze::test {
namespace {

void run(cudaStream_t stream, const std::function<void()>& enqueue) {
  note_launched(kernels_of(captured(stream, enqueue).get()));
  enqueue();
  CUDA_CHECK(cudaStreamSynchronize(stream));
}

TEST(KernelsGpu, ReformatsMoveEveryElementThereAndBack) {
  FRIEZE_NEEDS_GPU();
  const cuda::Stream stream = cuda::make_stream();
  for (const DType t : kTypes) {
    for (const std::int64_t channels : {3, 8, 9, 33}) {
      const Shape shape{2, channels, 5, 7};
      const TensorSpec planes{shape, t, Format::nchw}, pixels{shape, t, Format::nhwc};
      const std::vector<float> x = random_values(static_cast<std::size_t>(shape.elements()), 3, Fill::special, t, channels);
      const HostTensor in(planes, x), between(pixels, std::vector<float>(x.size())), back(planes, std::vector<float>(x.size()));
      const cuda::DeviceBuffer a = cuda::to_device(in.data(), in.bytes()), b(between.bytes()), c(back.bytes());
      const auto move = [&](const TensorSpec& from, const cuda::DeviceBuffer& source, const TensorSpec& to,
                            const cuda::DeviceBuffer& target) {
        const auto kernel = cuda::make_reformat_kernel(from, to);
        const TensorView view(source.data(), from);
        const TensorView made(target.data(), to);
        run(stream.get(), [&] { kernel->launch({{&view, 1}, {&made, 1}, nullptr}, stream.get()); });
      };
      move(planes, a, pixels, b);
      move(pixels, b, planes, c);
      b.download(between.data(), between.bytes());
      c.download(back.data(), back.bytes());
      for (const HostTensor* y : {&between, &back}) {
        const ParityReport report = compare(y->floats(), x, t, {0, 0});
        EXPECT_LE(report.share, 1) << shape << ' ' << t << ", first wrong at " << report.worst_index;
      }
    }
  }
}

// Rows, columns and depth that leave a rest in every tile. Integers below 5, so that every sum is exact in every type.
TEST(KernelsGpu, TheOwnProductIsExactOnSmallIntegers) {
  FRIEZE_NEEDS_GPU();
  const cuda::Stream stream = cuda::make_stream();
  constexpr std::int64_t kM = 65, kN = 67, kK = 19;
  const auto small = [](std::int64_t count, std::int64_t period) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(static_cast<std::int64_t>(i) % period - period / 2);
    return values;
  };
  const std::vector<float> x = small(kM * kK, 5), w = small(kN * kK, 3), bias = small(kN, 7);
  std::vector<float> expected;
  for (std::int64_t i = 0; i < kM * kN; ++i) {
    float sum = bias[static_cast<std::size_t>(i % kN)];
    for (std::int64_t k = 0; k < kK; ++k) {
      sum += x[static_cast<std::size_t>(i / kN * kK + k)] * w[static_cast<std::size_t>(i % kN * kK + k)];
    }
    expected.push_back(sum);
  }
  const cuda::DeviceBuffer device_bias = cuda::to_device(bias, DType::f32);
  for (const DType t : kTypes) {
    const cuda::DeviceBuffer device_x = cuda::to_device(x, t), device_w = cuda::to_device(w, t), y(expected.size() * size_of(t));
    const cuda::TileGemmArgs args{device_x.data(), device_w.data(), device_bias.as<const float>(), y.data(), 0, kM, kN, kK, kK, kK, kN};
    run(stream.get(), [&] { cuda::launch_tile_gemm(t, args, {}, stream.get()); });
    const HostTensor got({{kM, kN}, t});
    y.download(got.data(), got.bytes());
    EXPECT_EQ(got.floats(), expected) << t;
  }
}

TEST(KernelsGpu, FarElementsAreCounted) {
  FRIEZE_NEEDS_GPU();
  const cuda::Stream stream = cuda::make_stream();
  std::vector<float> a(1001, 2), b(1001, 2.5F);  // every one 0.5 apart, of 2.5
  b[7] = b[1000] = 4;
  a[5] = std::nanf("");
  for (const DType t : kTypes) {
    const cuda::DeviceBuffer device_a = cuda::to_device(a, t), device_b = cuda::to_device(b, t), found(16);
    run(stream.get(), [&] { cuda::enqueue_count_far(t, device_a.data(), device_b.data(), 1001, 0.25, 0, found.data(), stream.get()); });
    std::uint64_t count = 0;
    found.download(&count, sizeof count);
    EXPECT_EQ(count, 3U) << t << ": two that are 2 apart, and the NaN";
    EXPECT_EQ(cuda::count_far(t, device_a.data(), device_b.data(), 1001, 0, 0.1, stream.get()), 1001U) << t;
  }
}

TEST(KernelsGpu, AStampIsTheDevicesTime) {
  FRIEZE_NEEDS_GPU();
  const cuda::Stream stream = cuda::make_stream();
  const cuda::DeviceBuffer clocks(2 * sizeof(std::uint64_t));
  for (std::size_t i = 0; i < 2; ++i) {
    run(stream.get(), [&] { cuda::stamp(clocks.as<std::uint64_t>() + i, stream.get()); });
  }
  std::uint64_t at[2] = {};
  clocks.download(at, sizeof at);
  EXPECT_GT(at[0], 0U);
  EXPECT_GE(at[1], at[0]);
}

TEST(KernelsGpu, YardsticksCopyEveryByteAndFillWithNormalNumbers) {
  FRIEZE_NEEDS_GPU();
  const cuda::Stream stream = cuda::make_stream();
  for (const std::size_t bytes : {16, 15, 4096, 4111}) {
    std::vector<std::uint8_t> x(bytes), y(bytes);
    for (std::size_t i = 0; i < bytes; ++i) x[i] = static_cast<std::uint8_t>(i * 7 + 1);
    const cuda::DeviceBuffer from = cuda::to_device(x.data(), bytes), to(bytes);
    run(stream.get(), [&] { cuda::copy_16_bytes_a_thread(from.data(), to.data(), bytes, stream.get()); });
    to.download(y.data(), bytes);
    EXPECT_EQ(x, y) << bytes;
  }
  for (const DType t : kTypes) {
    constexpr std::int64_t kCount = 10001;
    const HostTensor values({{kCount}, t}, std::vector<float>(kCount));
    const cuda::DeviceBuffer memory(values.bytes());
    run(stream.get(), [&] { cuda::fill_normal(memory.data(), t, kCount, 5, stream.get()); });
    memory.download(values.data(), values.bytes());
    double sum = 0, squares = 0;
    for (const float v : values.floats()) {
      sum += static_cast<double>(v);
      squares += static_cast<double>(v) * static_cast<double>(v);
    }
    // Four standard deviations of the mean and of the mean square of as many normal numbers.
    EXPECT_LT(std::abs(sum / kCount), 4 / std::sqrt(kCount)) << t;
    EXPECT_LT(std::abs(squares / kCount - 1), 4 * std::sqrt(2.0 / kCount)) << t;
  }
}

}  // namespace
}  // namespace frieze::test

#else  // without CUDA

TEST(KernelsGpu, NeedsCuda) { FRIEZE_NEEDS_GPU(); }

#endif
