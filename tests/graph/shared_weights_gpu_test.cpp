/// Sessions of one model hold its weights once, whatever their shapes and threads.
#include <gtest/gtest.h>

#include "support/parity.h"

#if FRIEZE_WITH_CUDA
#include <thread>
#include <vector>

#include <frieze/core/cuda/handles.h>
#include <frieze/core/error.h>
#include <frieze/graph/executor.h>
#include <frieze/graph/session.h>
#include <frieze/layers/linear/linear.h>

namespace frieze::test {
namespace {

// Every value is a number of f16.
std::vector<float> ramp_of(std::size_t count, std::size_t first) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>((first + i) % 2039);
  return values;
}

std::vector<float> floats_of(const cuda::DeviceBuffer& buffer, std::size_t count, DType t) {
  const HostTensor host({Shape{static_cast<std::int64_t>(count)}, t});
  buffer.download(host.data(), host.bytes());
  return host.floats();
}

TEST(SharedWeightsGpu, EqualValuesAreTheSameMemoryWhileSomebodyHoldsThem) {
  FRIEZE_NEEDS_GPU();
  for (const std::size_t count : {1, 3, 1000, 4097}) {
    const std::vector<float> values = ramp_of(count, 1), others = ramp_of(count, 2);
    cuda::DeviceBuffer a = cuda::to_device(values, DType::f16);
    cuda::DeviceBuffer b = cuda::to_device(values, DType::f16);
    const cuda::DeviceBuffer other = cuda::to_device(others, DType::f16), wide = cuda::to_device(values, DType::f32);
    EXPECT_EQ(a.data(), b.data());
    EXPECT_NE(a.data(), other.data());
    EXPECT_NE(a.data(), wide.data());
    EXPECT_THROW(a.upload(values.data(), 1), CudaError) << "others read it";
    a = {};
    EXPECT_EQ(floats_of(b, count, DType::f16), values) << "one holder less";
    b = {};
    const cuda::DeviceBuffer again = cuda::to_device(values, DType::f16);
    EXPECT_EQ(floats_of(again, count, DType::f16), values) << "nobody held it any more";
    EXPECT_EQ(floats_of(other, count, DType::f16), others);
    EXPECT_EQ(floats_of(wide, count, DType::f32), values);
  }
  EXPECT_EQ(cuda::to_device(std::vector<float>{}, DType::f32).bytes(), 0U);
}

TEST(SharedWeightsGpu, EightThreadsAtOnceGetOneCopy) {
  FRIEZE_NEEDS_GPU();
  const std::vector<float> values = ramp_of(1 << 16, 7);
  std::vector<cuda::DeviceBuffer> buffers(8);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::thread> threads;
    for (cuda::DeviceBuffer& buffer : buffers) {
      buffer = {};
      threads.emplace_back([&] { buffer = cuda::to_device(values, DType::f32); });
    }
    for (std::thread& thread : threads) thread.join();
    for (const cuda::DeviceBuffer& buffer : buffers) EXPECT_EQ(buffer.data(), buffers[0].data());
    EXPECT_EQ(floats_of(buffers[7], values.size(), DType::f32), values);
  }
}

TEST(SharedWeightsGpu, ASecondSessionTakesNoSecondCopy) {
  FRIEZE_NEEDS_GPU();
  Linear model(4096, 4096);
  init_random(model, 1);
  const std::int64_t weights = std::int64_t{4096} * 4096 * 2;  // 32 MiB
  const auto session = [&](std::int64_t rows) {
    return compile(model, {{"x", {rows, 4096}, DType::f16}}, Device::cuda(), {.tune = false});
  };
  const std::vector<float> x = random_values(4096, 3, Fill::normal, DType::f16, 1);
  const auto run = [&](Session& net) {
    net.input().copy_from(x);
    net.poison();
    net.run();
    return net.output().floats();
  };
  const auto used = [] { return Device::cuda().backend().used_memory(); };
  { Session warm_up = session(2); }
  std::vector<float> right;
  std::int64_t first = 0, second = 0, billed = 0;  // billed: besides the weights
  {
    const std::int64_t before = used();
    Session one = session(1);
    right = run(one);
    first = used() - before;
    Session two = session(1), three = session(3);
    second = used() - before - first;
    for (const Session* net : {&two, &three}) billed += net->receipt().memory.total() - net->receipt().memory.weights;
    EXPECT_EQ(run(two), right);
    one = std::move(three);  // the first one goes
    EXPECT_EQ(run(two), right);
  }
  EXPECT_GE(first, weights) << "the weights are somewhere";
  EXPECT_LT(second - billed, weights / 2) << "two more sessions";
  Session later = session(1);
  EXPECT_EQ(run(later), right);
}

}  // namespace
}  // namespace frieze::test

#else  // without CUDA

TEST(SharedWeightsGpu, NeedsCuda) { FRIEZE_NEEDS_GPU(); }

#endif
