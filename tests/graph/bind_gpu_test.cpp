/// What bind() takes on a GPU and what it refuses: overlaps, host memory, memory of another device, too little memory.
#include <gtest/gtest.h>

#include "support/parity.h"

#if FRIEZE_WITH_CUDA
#include <cuda.h>

#include <memory>
#include <vector>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/driver.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/graph/session.h>

#include "graph/device_layers.h"

namespace frieze::test {
namespace {

constexpr std::int64_t kCount = 1024;
constexpr std::size_t kBytes = kCount * sizeof(float);

// s = a + 2 * b, t = 4 * b.
Session two_and_two(const CompileOptions& options = {}) {
  const Lambda model([](const std::vector<NamedValue>& in) {
    const Value twice = times(in.at(1).value);
    return std::vector<NamedValue>{{"s", in.at(0).value + twice}, {"t", times(twice)}};
  });
  return compile(model, {{"a", {kCount}}, {"b", {kCount}}}, Device::cuda(), options);
}

std::vector<float> all(float value) { return std::vector<float>(static_cast<std::size_t>(kCount), value); }

class BindGpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FRIEZE_NEEDS_GPU();
    register_test_kernels();
  }
  static void set_inputs(Session& net, float a, float b) {
    net.input("a").copy_from(all(a));
    net.input("b").copy_from(all(b));
  }
  static void expect_right(Session& net, float a, float b) {
    for (const bool eager : {false, true}) {
      net.poison();
      eager ? net.run_eager() : net.run();
      EXPECT_EQ(net.output("s").floats(), all(a + 2 * b)) << eager;
      EXPECT_EQ(net.output("t").floats(), all(4 * b)) << eager;
    }
  }
  // Refused with these words, and everything is as it was.
  static void expect_refused(Session& net, const char* name, void* data, const char* words) {
    const void* const before = (std::string_view(name) < "s" ? net.input(name) : net.output(name)).view().data;
    const std::string text = message_of<OptionError>([&] { net.bind(name, data); });
    EXPECT_EQ(text.find(std::string("bind '") + name + "'"), 0U) << text;
    EXPECT_TRUE(contains(text, words));
    EXPECT_EQ(text.find('\n'), std::string::npos);
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    EXPECT_EQ((std::string_view(name) < "s" ? net.input(name) : net.output(name)).view().data, before);
  }
};

TEST_F(BindGpuTest, OverlapsAreRefusedInEveryOrder) {
  for (const bool captured : {true, false}) {
    Session net = two_and_two({.capture = captured});
    const cuda::DeviceBuffer memory(4 * kBytes);
    char* const p = memory.as<char>();
    set_inputs(net, 1, 10);
    net.bind("a", p);
    expect_refused(net, "s", p, "bound to 'a'");
    expect_refused(net, "t", p + 16, "4080 of its 4096 bytes are bound to 'a'");
    expect_refused(net, "t", p + kBytes - 16, "16 of its 4096 bytes");
    net.bind("s", p + kBytes);  // side by side
    expect_refused(net, "t", p + kBytes + 256, "bound to 's'");
    expect_refused(net, "b", p + kBytes, "bound to 's'");
    expect_refused(net, "a", p + 512, "bound to 's'");
    set_inputs(net, 3, 5);
    expect_right(net, 3, 5);
    // Two inputs are only read.
    net.bind("b", p);
    net.input("a").copy_from(all(2));
    expect_right(net, 2, 2);
    // An output first, then an input onto it.
    net.bind("b", nullptr);
    net.bind("t", p + 2 * kBytes);
    expect_refused(net, "b", p + 2 * kBytes, "bound to 't'");
    for (const char* name : {"a", "b", "s", "t"}) net.bind(name, nullptr);
    set_inputs(net, 7, 1);
    expect_right(net, 7, 1);
    net.bind("s", p);  // free again
    expect_right(net, 7, 1);
  }
}

TEST_F(BindGpuTest, TheSessionsOwnMemoryIsRefused) {
  Session net = two_and_two();
  char* const a = net.input("a").view().as<char>();
  char* const t = net.output("t").view().as<char>();
  expect_refused(net, "s", a, "the session's own, of 'a'");
  expect_refused(net, "b", a + 256, "the session's own, of 'a'");
  expect_refused(net, "a", t, "the session's own, of 't'");
  const cuda::DeviceBuffer elsewhere(kBytes);
  net.bind("a", elsewhere.data());
  expect_refused(net, "s", a, "the session's own, of 'a'");  // or a's own memory could not be given back
  expect_refused(net, "a", a + 16, "the session's own, of 'a'");
  net.bind("a", a);
  set_inputs(net, 1, 2);
  expect_right(net, 1, 2);
  // What another session owns is memory like any other.
  Session next = two_and_two();
  next.bind("a", t);
  net.run();
  next.input("b").copy_from(all(1));
  next.run();
  EXPECT_EQ(next.output("s").floats(), all(8 + 2));
}

TEST_F(BindGpuTest, HostMemoryIsRefused) {
  Session net = two_and_two();
  set_inputs(net, 1, 2);
  std::vector<float> pageable(2 * kCount);
  void* const aligned = reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(pageable.data()) + 255) / 256 * 256);
  expect_refused(net, "a", aligned, "host memory");
  expect_refused(net, "s", aligned, "host memory");
  void* pinned = nullptr;
  CUDA_CHECK(cudaMallocHost(&pinned, kBytes));
  const std::unique_ptr<void, cudaError_t (*)(void*)> owner(pinned, cudaFreeHost);
  expect_refused(net, "a", pinned, "pinned host memory");
  CUDA_CHECK(cudaHostRegister(pageable.data(), pageable.size() * sizeof(float), cudaHostRegisterDefault));
  expect_refused(net, "t", aligned, "pinned host memory");
  CUDA_CHECK(cudaHostUnregister(pageable.data()));
  expect_refused(net, "t", reinterpret_cast<void*>(std::uintptr_t{0x10}), "host memory");
  expect_right(net, 1, 2);
}

TEST_F(BindGpuTest, TooLittleMemoryIsRefused) {
  Session net = two_and_two();
  set_inputs(net, 1, 2);
  const cuda::DeviceBuffer small(kBytes - 1024), exact(kBytes);
  expect_refused(net, "a", small.data(), "expected 4096 bytes, the allocation has 3072");
  expect_refused(net, "s", exact.as<char>() + 256, "expected 4096 bytes, the allocation has 3840");
  net.bind("a", exact.data());
  net.input("a").copy_from(all(1));
  expect_right(net, 1, 2);
  {
    void* gone = nullptr;  // freed memory belongs to nobody
    CUDA_CHECK(cudaMalloc(&gone, std::size_t{64} << 20));
    CUDA_CHECK(cudaFree(gone));
    expect_refused(net, "b", gone, "host memory");
  }
  expect_right(net, 1, 2);
}

TEST_F(BindGpuTest, ManagedAndPooledMemoryIsTaken) {
  Session net = two_and_two();
  void* managed = nullptr;
  CUDA_CHECK(cudaMallocManaged(&managed, kBytes));
  const std::unique_ptr<void, cudaError_t (*)(void*)> owner(managed, cudaFree);
  const cuda::Stream stream = cuda::make_stream();
  void* pooled = nullptr;
  CUDA_CHECK(cudaMallocAsync(&pooled, 2 * kBytes, stream.get()));
  CUDA_CHECK(cudaStreamSynchronize(stream.get()));
  net.bind("a", managed);
  net.bind("s", static_cast<char*>(pooled) + kBytes);
  expect_refused(net, "t", static_cast<char*>(pooled) + kBytes + 1024, "bound to 's'");
  set_inputs(net, 5, 2);
  expect_right(net, 5, 2);
  net.bind("s", nullptr);
  CUDA_CHECK(cudaFreeAsync(pooled, stream.get()));
  net.bind("a", nullptr);
}

// Two pieces of physical memory side by side in virtual addresses, as frameworks with growing segments have them.
TEST_F(BindGpuTest, MappedMemoryIsTakenAcrossItsPieces) {
  const auto reserve = cuda::driver_entry<CUresult (*)(CUdeviceptr*, std::size_t, std::size_t, CUdeviceptr, unsigned long long)>(
      "cuMemAddressReserve", 12000);
  const auto create =
      cuda::driver_entry<CUresult (*)(CUmemGenericAllocationHandle*, std::size_t, const CUmemAllocationProp*, unsigned long long)>(
          "cuMemCreate", 12000);
  const auto map =
      cuda::driver_entry<CUresult (*)(CUdeviceptr, std::size_t, std::size_t, CUmemGenericAllocationHandle, unsigned long long)>("cuMemMap",
                                                                                                                                12000);
  const auto access =
      cuda::driver_entry<CUresult (*)(CUdeviceptr, std::size_t, const CUmemAccessDesc*, std::size_t)>("cuMemSetAccess", 12000);
  const auto unmap = cuda::driver_entry<CUresult (*)(CUdeviceptr, std::size_t)>("cuMemUnmap", 12000);
  const auto release = cuda::driver_entry<CUresult (*)(CUmemGenericAllocationHandle)>("cuMemRelease", 12000);
  const auto free_range = cuda::driver_entry<CUresult (*)(CUdeviceptr, std::size_t)>("cuMemAddressFree", 12000);
  ASSERT_TRUE(reserve && create && map && access && unmap && release && free_range);
  constexpr std::size_t kPiece = std::size_t{2} << 20;
  CUdeviceptr base = 0;
  ASSERT_EQ(reserve(&base, 4 * kPiece, 0, 0, 0), CUDA_SUCCESS);
  CUmemAccessDesc both{};
  both.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  both.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  CUmemAllocationProp prop{};
  prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  prop.location = both.location;
  for (const std::size_t piece : {0, 1}) {
    CUmemGenericAllocationHandle handle = 0;
    ASSERT_EQ(create(&handle, kPiece, &prop, 0), CUDA_SUCCESS);
    ASSERT_EQ(map(base + piece * kPiece, kPiece, 0, handle, 0), CUDA_SUCCESS);
    ASSERT_EQ(release(handle), CUDA_SUCCESS);  // the mapping keeps it
  }
  ASSERT_EQ(access(base, 2 * kPiece, &both, 1), CUDA_SUCCESS);
  {
    Session net = two_and_two();
    const auto at = [&](std::size_t offset) { return reinterpret_cast<void*>(base + offset); };
    net.bind("a", at(0));
    net.bind("s", at(kPiece - kBytes / 2));
    expect_refused(net, "t", at(2 * kPiece - 1024), "expected 4096 bytes, the allocation has 1024");
    set_inputs(net, 4, 3);
    expect_right(net, 4, 3);
  }
  EXPECT_EQ(unmap(base, 2 * kPiece), CUDA_SUCCESS);
  EXPECT_EQ(free_range(base, 4 * kPiece), CUDA_SUCCESS);
}

TEST_F(BindGpuTest, MemoryOfAnotherDeviceIsRefused) {
  int devices = 0;
  CUDA_CHECK(cudaGetDeviceCount(&devices));
  if (devices < 2) GTEST_SKIP() << "needs two CUDA devices";
  Session net = two_and_two();
  set_inputs(net, 1, 2);
  {
    const cuda::DeviceScope scope(1);
    const cuda::DeviceBuffer there(kBytes);
    expect_refused(net, "a", there.data(), "expected memory of device 0, got memory of device 1");
    expect_refused(net, "t", there.data(), "got memory of device 1");
  }
  expect_right(net, 1, 2);
}

}  // namespace
}  // namespace frieze::test

#else  // without CUDA

TEST(BindGpuTest, NeedsCuda) { FRIEZE_NEEDS_GPU(); }

#endif
