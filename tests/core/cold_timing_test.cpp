// How launches are timed: on the CPU what is arithmetic, on a GPU that every launch goes where it must and that time is measured.
#include <gtest/gtest.h>

#include "support/parity.h"

#if FRIEZE_WITH_CUDA
#include <utility>
#include <vector>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/cold_timing.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/error.h>

namespace frieze::cuda {
namespace {

TEST(ColdTiming, BuffersExceedTwiceTheCache) {
  EXPECT_EQ(cold_buffers(1000, 10), 3);
  EXPECT_EQ(cold_buffers(100, 100), 3);
  EXPECT_EQ(cold_buffers(50, 100), 5);
  EXPECT_EQ(cold_buffers(33, 100), 7);
  for (const std::size_t bytes : {1U, 7U, 4096U, 1U << 20}) {
    EXPECT_GT(static_cast<std::size_t>(cold_buffers(bytes, 50U << 20)) * bytes, std::size_t{100} << 20) << bytes;
  }
  EXPECT_GE(cold_buffers(0, 100), 3);
}

TEST(ColdTiming, MedianIsAValueThatWasMeasured) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({7}), 7);
  EXPECT_EQ(median({9, 1, 5}), 5);
  EXPECT_EQ(median({4, 1, 3, 2}), 2);
}

TEST(ColdTiming, RefusesNothingToTime) {
  const ColdCandidate some{[](int, cudaStream_t) {}};
  EXPECT_THROW(time_cold(nullptr, {}, 3, 1, 1), CudaError);
  EXPECT_THROW(time_cold(nullptr, {&some, 1}, 0, 1, 1), CudaError);
  EXPECT_THROW(time_cold(nullptr, {&some, 1}, 3, 0, 1), CudaError);
  EXPECT_THROW(time_cold(nullptr, {&some, 1}, 3, 1, 0), CudaError);
}

TEST(ColdTiming, GoesThroughTheBuffersInWholeTurns) {
  FRIEZE_NEEDS_GPU();
  const Stream stream = make_stream();
  DeviceBuffer memory(4);
  std::vector<int> order;
  const ColdCandidate candidate{[&](int buffer, cudaStream_t s) {
    order.push_back(buffer);
    CUDA_CHECK(cudaMemsetAsync(memory.as<char>() + buffer, buffer + 1, 1, s));
  }};
  const std::vector<double> times = time_cold(stream.get(), {&candidate, 1}, 4, 2, 6);
  EXPECT_EQ(order, (std::vector<int>{0, 0, 1, 2, 3, 0, 1, 2, 3}));  // one to load modules, then the capture of two turns
  ASSERT_EQ(times.size(), 1U);
  EXPECT_GT(times[0], 0);
  char bytes[4] = {};
  memory.download(bytes, 4);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(bytes[i], i + 1);
}

TEST(ColdTiming, MoreBytesTakeLonger) {
  FRIEZE_NEEDS_GPU();
  const Stream stream = make_stream();
  const DeviceBuffer memory(std::size_t{256} << 20);
  const auto clear = [&](std::size_t bytes) {
    return ColdCandidate{[&, bytes](int, cudaStream_t s) { CUDA_CHECK(cudaMemsetAsync(memory.data(), 0, bytes, s)); }};
  };
  const ColdCandidate candidates[] = {clear(256), clear(memory.bytes())};
  const auto rounds = time_cold_rounds(stream.get(), candidates, 1, 5, 4);
  ASSERT_EQ(rounds.size(), 2U);
  for (const auto& times : rounds) EXPECT_EQ(times.size(), 5U);
  // 256 MiB at 10 TB/s take 27 us; launches alone take about one.
  EXPECT_GT(median(rounds[1]), 20);
  EXPECT_GT(median(rounds[1]), 3 * median(rounds[0]));
}

TEST(ColdTiming, AFailedCaptureLeavesTheStreamUsable) {
  FRIEZE_NEEDS_GPU();
  const Stream stream = make_stream();
  bool first = true;
  const ColdCandidate throws{[&](int, cudaStream_t) {
    if (!std::exchange(first, false)) throw ShapeError("not in a capture");
  }};
  EXPECT_THROW(time_cold(stream.get(), {&throws, 1}, 1, 1, 1), ShapeError);
  const ColdCandidate empty{[](int, cudaStream_t) {}};
  EXPECT_THROW(time_cold(stream.get(), {&empty, 1}, 1, 1, 1), CudaError);
  const ColdCandidate waits{[](int, cudaStream_t s) { CUDA_CHECK(cudaStreamSynchronize(s)); }};
  EXPECT_THROW(time_cold(stream.get(), {&waits, 1}, 1, 1, 1), CudaError);
  CUDA_CHECK(cudaStreamSynchronize(stream.get()));
}

}  // namespace
}  // namespace frieze::cuda
#endif
