// rms_norm2d() from several threads at once, and given memory that no kernel must touch.
#include <gtest/gtest.h>

#if FRIEZE_WITH_CUDA
#include <atomic>
#include <cstdio>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include <frieze/core/error.h>
#include "layers/rms_norm2d_device.h"
#include "support/reference.h"

namespace frieze {
namespace {

using test::DeviceTensor;
using test::DirectCase;

RMSNorm2dOptions plain() { return {}; }

// Shapes whose kernels are the same and whose shared memory is not.
TEST(RMSNorm2dMemory, EightThreadsCallItAtOnce) {
  FRIEZE_NEEDS_GPU();
  const Shape shapes[] = {{1, 4096, 32, 32}, {1, 1024, 16, 16}, {1, 2048, 32, 32}, {2, 512, 33, 31},
                          {1, 3000, 17, 16}, {1, 256, 64, 64},  {1, 4096, 8, 8},   {1, 768, 24, 40}};
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (const Shape& shape : shapes) {
    threads.emplace_back([&failures, shape] {
      try {
        DirectCase c{plain(), shape, DType::bf16};
        c.prepare();
        const cuda::Stream stream = cuda::make_stream();
        DeviceTensor x(c.shape, c.dtype, c.x_layout), y(c.shape, c.dtype, c.y_layout);
        x.fill(c.x);
        for (int i = 0; i < 100; ++i) rms_norm2d(x.view(), y.view(), c.call, stream.get());
        CUDA_CHECK(cudaStreamSynchronize(stream.get()));
        c.expect_close(y.floats(), "one of eight threads");
      } catch (const std::exception& e) {
        std::printf("%s\n", e.what());
        ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

TEST(RMSNorm2dMemory, HostMemoryAndTooLittleMemoryAreRefused) {
  FRIEZE_NEEDS_GPU();
  const Shape shape{1, 64, 8, 8};
  const std::size_t bytes = static_cast<std::size_t>(shape.elements()) * sizeof(float);
  const cuda::Stream stream = cuda::make_stream();
  const cuda::DeviceBuffer x(bytes), y(bytes), small(bytes - 512), weight(64 * sizeof(float)), few(64 * sizeof(float) - 16);
  std::vector<float> pageable(static_cast<std::size_t>(shape.elements()));
  void* pinned = nullptr;
  CUDA_CHECK(cudaMallocHost(&pinned, bytes));
  const std::unique_ptr<void, cudaError_t (*)(void*)> owner(pinned, cudaFreeHost);
  const auto view = [&](void* data) { return TensorView(data, {shape, DType::f32}); };
  const auto expect_refused = [&](void* from, void* to, const RMSNorm2dCall& call, const char* words) {
    const std::string text = test::message_of<OptionError>([&] { rms_norm2d(view(from), view(to), call, stream.get()); });
    EXPECT_NE(text.find(words), std::string::npos) << text;
    EXPECT_EQ(text.find("rms_norm2d, "), 0U) << text;
  };
  expect_refused(pageable.data(), y.data(), {}, "x: expected memory of device 0, got host memory");
  expect_refused(x.data(), pageable.data(), {}, "y: expected memory of device 0, got host memory");
  expect_refused(pinned, y.data(), {}, "pinned host memory");
  expect_refused(small.data(), y.data(), {}, "x: expected 16384 bytes, the allocation has 15872");
  expect_refused(x.data(), small.data(), {}, "y: expected 16384 bytes");
  RMSNorm2dCall call;
  call.weight = pageable.data();
  expect_refused(x.data(), y.data(), call, "weight: expected memory of device 0");
  call.weight = weight.data();
  call.bias = few.data();
  expect_refused(x.data(), y.data(), call, "bias: expected 256 bytes, the allocation has 240");
  call.bias = nullptr;
  call.residual_mode = ResidualMode::after;
  call.residual = view(pinned);
  expect_refused(x.data(), y.data(), call, "residual: expected memory of device 0, got pinned host memory");
  call.residual_mode = ResidualMode::none;
  call.weight = y.data();
  EXPECT_THROW(rms_norm2d(view(x.data()), view(y.data()), call, stream.get()), ShapeError) << "y would overwrite the weight";
  int devices = 0;
  CUDA_CHECK(cudaGetDeviceCount(&devices));
  if (devices > 1) {
    const cuda::DeviceScope scope(1);
    const cuda::DeviceBuffer there(bytes);
    const cuda::DeviceScope back(0);
    expect_refused(there.data(), y.data(), {}, "x: expected memory of device 0, got memory of device 1");
  }
  CUDA_CHECK(cudaMemsetAsync(x.data(), 0, bytes, stream.get()));
  rms_norm2d(view(x.data()), view(y.data()), {}, stream.get());
  EXPECT_EQ(cudaStreamSynchronize(stream.get()), cudaSuccess) << "the device is as it was";
}

}  // namespace
}  // namespace frieze
#endif
