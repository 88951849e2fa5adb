/// Kernels that use more shared memory than every device gives unasked, launched by several threads at once.
#include <gtest/gtest.h>

#include "support/parity.h"

#if FRIEZE_WITH_CUDA
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/error.h>

#include "core/shared_memory.h"
#include "support/reference.h"

namespace frieze::test {
namespace {

class SharedMemoryGpuTest : public ::testing::Test {
 protected:
  void SetUp() override { FRIEZE_NEEDS_GPU(); }
};

TEST_F(SharedMemoryGpuTest, ThreadsThatLaunchOneKernelWithSeveralSizesAllSucceed) {
  for (const bool simple : {true, false}) {
    std::atomic<int> failures{0};
    std::vector<std::thread> threads;
    for (const std::size_t kib : {99, 60, 1, 49, 99, 60, 20, 72}) {
      threads.emplace_back([&, bytes = kib * 1024] {
        try {
          const cuda::Stream stream = cuda::make_stream();
          const cuda::DeviceBuffer out(sizeof(int));
          for (int i = 0; i < 2000; ++i) launch_sum_of_shared(bytes, simple, out.as<int>(), stream.get());
          CUDA_CHECK(cudaStreamSynchronize(stream.get()));
          int sum = 0;
          out.download(&sum, sizeof sum);
          if (sum != static_cast<int>(bytes / sizeof(int))) ++failures;
        } catch (const std::exception& e) {
          ADD_FAILURE() << e.what();
          ++failures;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(failures, 0) << simple;
  }
}

// The limit of 48 KiB is for both kinds together.
TEST_F(SharedMemoryGpuTest, StaticAndDynamicMemoryTogetherMayExceedWhatIsGivenUnasked) {
  const cuda::Stream stream = cuda::make_stream();
  const cuda::DeviceBuffer out(sizeof(int));
  for (const std::size_t kib : {1, 30, 47, 48, 56}) {
    for (const bool simple : {true, false}) {
      launch_static_and_dynamic(kib * 1024, simple, out.as<int>(), stream.get());
      CUDA_CHECK(cudaStreamSynchronize(stream.get()));
      int sum = 0;
      out.download(&sum, sizeof sum);
      EXPECT_EQ(sum, static_cast<int>((kib * 1024 + kStaticBytes) / sizeof(int))) << kib << simple;
    }
  }
}

TEST_F(SharedMemoryGpuTest, MoreThanTheDeviceHasIsRefusedInWords) {
  const cuda::Stream stream = cuda::make_stream();
  const cuda::DeviceBuffer out(sizeof(int));
  for (const bool simple : {true, false}) {
    const std::string text =
        message_of<CudaError>([&] { launch_sum_of_shared(std::size_t{1} << 20, simple, out.as<int>(), stream.get()); });
    EXPECT_NE(text.find("1048576 bytes of shared memory"), std::string::npos) << text;
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    launch_sum_of_shared(1024, simple, out.as<int>(), stream.get());
    CUDA_CHECK(cudaStreamSynchronize(stream.get()));
  }
}

}  // namespace
}  // namespace frieze::test

#else  // without CUDA

TEST(SharedMemoryGpuTest, NeedsCuda) { FRIEZE_NEEDS_GPU(); }

#endif
