/// Ports of sessions on a GPU: arrays of every type, converted on the host or, from page-locked memory, on the device.
#include <gtest/gtest.h>

#include "support/parity.h"

#if FRIEZE_WITH_CUDA
#include <cstring>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/graph/memory_growth.h>
#include <frieze/graph/session.h>
#include <frieze/layers/cast/cast.h>

#include "graph/device_layers.h"
#include "support/parity_grid.h"
#include "support/reference.h"

namespace frieze::test {
namespace {

constexpr int kBusy = 30000;  // microseconds: far longer than the host takes to get at what it must not see yet

// Page-locked memory.
template <class T>
class Pinned {
 public:
  explicit Pinned(std::size_t count) : count_(count) { CUDA_CHECK(cudaHostAlloc(&data_, count * sizeof(T), cudaHostAllocDefault)); }
  explicit Pinned(const std::vector<T>& values) : Pinned(values.size()) { std::copy(values.begin(), values.end(), span().begin()); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  ~Pinned() { (void)cudaFreeHost(data_); }
  std::span<T> span() const { return {static_cast<T*>(data_), count_}; }
  std::vector<T> values() const { return {span().begin(), span().end()}; }

 private:
  std::size_t count_;
  void* data_ = nullptr;
};

const Lambda& doubled() {
  static const Lambda model([](Value x) { return times(x); });
  return model;
}

class PortCopyGpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FRIEZE_NEEDS_GPU();
    register_test_kernels();
  }
  static Session session(const Shape& shape, DType t, Format format = Format::nchw, const Device& device = Device::cuda()) {
    return compile(doubled(), {{"x", shape, t, format}}, device);
  }
};

std::vector<float> mixed(const Shape& shape, std::uint64_t seed) {
  return random_values(static_cast<std::size_t>(shape.elements()), seed, Fill::mixed, DType::f32, 1);
}

template <class T>
std::vector<T> rounded(const std::vector<float>& values) {
  std::vector<T> out;
  for (const float v : values) out.push_back(static_cast<T>(v));
  return out;
}

std::vector<std::uint8_t> bytes_of(const std::vector<float>& values) {
  std::vector<std::uint8_t> out;
  for (std::size_t i = 0; i < values.size(); ++i) out.push_back(static_cast<std::uint8_t>(i * 7 + i / 256));
  return out;
}

template <class T>
bool same_bits(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

bool same_bits(const HostTensor& a, const HostTensor& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.data(), b.data(), a.bytes()) == 0;
}

const Shape kShapes[] = {{1, 3, 5, 7}, {2, 1, 4, 4}, {3, 40, 1, 1}, {2, 33, 9, 31}, {6}, {4, 2, 3}, {2, 3, 201, 203}};

// One array into a port of both devices, at once and over a stream, and out again.
template <class T>
void expect_as_on_the_cpu(Session& cpu, Session& gpu, const std::vector<T>& values, cudaStream_t stream, const std::string& what) {
  cpu.input().copy_from(values);
  const HostTensor expected = cpu.input().to_host();
  gpu.input().copy_from(values);
  EXPECT_TRUE(same_bits(gpu.input().to_host(), expected)) << what << " in";
  std::vector<T> there(values.size()), here(values.size());
  cpu.input().copy_to(there);
  gpu.input().copy_to(here);
  EXPECT_TRUE(same_bits(std::span<const T>(here), std::span<const T>(there))) << what << " out";

  CUDA_CHECK(cudaMemset(gpu.input().view().data, 0xFF, expected.bytes()));
  CUDA_CHECK(cudaDeviceSynchronize());  // the stream does not wait for it
  const Pinned<T> from(values), to(values.size());
  gpu.input().copy_from_async(from.span(), stream);
  gpu.input().copy_to_async(to.span(), stream);
  CUDA_CHECK(cudaStreamSynchronize(stream));
  EXPECT_TRUE(same_bits(gpu.input().to_host(), expected)) << what << " in over a stream";
  EXPECT_TRUE(same_bits(std::span<const T>(to.span()), std::span<const T>(there))) << what << " out over a stream";
}

TEST_F(PortCopyGpuTest, EveryTypeAndOrderAsOnTheCpu) {
  const cuda::Stream stream = cuda::make_stream();
  for (const Shape& shape : kShapes) {
    for (const DType t : kTypes) {
      for (const Format format : {Format::nchw, Format::nhwc}) {
        Session cpu = session(shape, t, format, Device::reference()), gpu = session(shape, t, format);
        const std::vector<float> values = mixed(shape, 1);
        const std::string what = concat_text(gpu.input().spec(), ": ");
        expect_as_on_the_cpu(cpu, gpu, values, stream.get(), what + "f32");
        expect_as_on_the_cpu(cpu, gpu, rounded<f16>(values), stream.get(), what + "f16");
        expect_as_on_the_cpu(cpu, gpu, rounded<bf16>(values), stream.get(), what + "bf16");
        expect_as_on_the_cpu(cpu, gpu, bytes_of(values), stream.get(), what + "u8");
        std::vector<std::uint8_t> there(values.size());
        const Pinned<std::uint8_t> here(values.size());
        gpu.input().copy_from(values);
        cpu.input().copy_from(values);
        cpu.input().copy_to(there);  // rounded and clamped
        gpu.input().copy_to_async(here.span(), stream.get());
        CUDA_CHECK(cudaStreamSynchronize(stream.get()));
        EXPECT_EQ(here.values(), there) << what << "to u8";
      }
    }
  }
}

TEST_F(PortCopyGpuTest, PicturesAsOnTheCpu) {
  const cuda::Stream stream = cuda::make_stream();
  for (const Shape& shape : {Shape{1, 3, 16, 16}, Shape{2, 4, 5, 7}, Shape{2, 3, 201, 203}}) {
    const Pinned<std::uint8_t> pixels(bytes_of(std::vector<float>(static_cast<std::size_t>(shape.elements())))), back(pixels.span().size());
    for (const DType t : kTypes) {
      for (const Format format : {Format::nchw, Format::nhwc}) {
        Session cpu = session(shape, t, format, Device::reference()), gpu = session(shape, t, format);
        for (const auto& [scale, offset] : {std::pair{1.0 / 255, 0.0}, {2.0 / 255, -1.0}, {-0.3, 100.1}}) {
          const Pixels in{pixels.span(), scale, offset};
          cpu.input().copy_from(in);
          gpu.input().copy_from(in);
          EXPECT_TRUE(same_bits(gpu.input().to_host(), cpu.input().to_host())) << gpu.input().spec();
          CUDA_CHECK(cudaMemset(gpu.input().view().data, 0xFF, cpu.input().to_host().bytes()));
          CUDA_CHECK(cudaDeviceSynchronize());  // the stream does not wait for it
          gpu.input().copy_from_async(in, stream.get());
          gpu.input().copy_to_async(PixelBuffer{back.span(), scale, offset}, stream.get());
          CUDA_CHECK(cudaStreamSynchronize(stream.get()));
          EXPECT_TRUE(same_bits(gpu.input().to_host(), cpu.input().to_host())) << gpu.input().spec() << " over a stream";
          std::vector<std::uint8_t> expected(pixels.span().size());
          cpu.input().copy_to(PixelBuffer{expected, scale, offset});
          EXPECT_EQ(back.values(), expected) << gpu.input().spec();
        }
      }
    }
  }
}

TEST_F(PortCopyGpuTest, IntegersAreNeverChanged) {
  const Lambda model([](Value x) { return cast(x, DType::i64); });
  Session net = compile(model, {{"x", {2, 1, 1, 2}, DType::i32}}, Device::cuda());
  const cuda::Stream stream = cuda::make_stream();
  const Pinned<std::int32_t> in(std::vector<std::int32_t>{16777217, -2, 2147483647, -2147483647 - 1});
  const Pinned<std::int64_t> out(4);
  net.input().copy_from_async(in.span(), stream.get());
  net.launch(stream.get());
  net.output().copy_to_async(out.span(), stream.get());
  CUDA_CHECK(cudaStreamSynchronize(stream.get()));
  EXPECT_EQ(out.values(), (std::vector<std::int64_t>{16777217, -2, 2147483647, -2147483648LL}));
  const Pinned<std::uint8_t> bytes(std::vector<std::uint8_t>{3, 255});
  net.input().copy_from_async(bytes.span(), stream.get(), 1);
  net.input().copy_to_async(out.span(), stream.get());
  CUDA_CHECK(cudaStreamSynchronize(stream.get()));
  EXPECT_EQ(out.values(), (std::vector<std::int64_t>{16777217, -2, 3, 255}));
}

TEST_F(PortCopyGpuTest, SomeImagesOfABatch) {
  const cuda::Stream stream = cuda::make_stream();
  for (const Format format : {Format::nchw, Format::nhwc}) {
    for (const DType t : kTypes) {
      Session net = session({5, 2, 3, 4}, t, format);
      std::vector<float> all(120);
      std::iota(all.begin(), all.end(), 0.0F);
      net.input().copy_from(all);
      net.input().copy_from(std::vector<float>(48, -1), 2);
      std::fill_n(all.begin() + 48, 48, -1.0F);
      EXPECT_EQ(net.input().floats(), all);
      const Pinned<std::uint8_t> nines(std::vector<std::uint8_t>(24, 9));
      net.input().copy_from_async(nines.span(), stream.get(), 4);
      std::fill_n(all.begin() + 96, 24, 9.0F);
      EXPECT_EQ(net.input().floats(), all) << "reading waits for the copy";
      const Pinned<float> image(48);
      net.input().copy_to_async(image.span(), stream.get(), 3);
      CUDA_CHECK(cudaStreamSynchronize(stream.get()));
      EXPECT_EQ(image.values(), (std::vector<float>(all.begin() + 72, all.end())));
      std::vector<f16> one(24);
      net.input().copy_to(one, 1);
      for (std::size_t i = 0; i < 24; ++i) EXPECT_EQ(static_cast<float>(one[i]), all[24 + i]);
    }
  }
}

TEST_F(PortCopyGpuTest, CopiesKeepTheirPlaceBetweenLaunches) {
  const cuda::Stream first = cuda::make_stream(), second = cuda::make_stream(), third = cuda::make_stream();
  for (const bool converted : {false, true}) {
    Session net = session({64}, converted ? DType::f16 : DType::f32);
    const Pinned<float> ones(std::vector<float>(64, 1)), twos(std::vector<float>(64, 2)), out(64), later(64);
    net.input().copy_from_async(ones.span(), first.get());  // what the first copies load and allocate
    net.output().copy_to_async(out.span(), first.get());
    for (int round = 0; round < 3; ++round) {
      net.input().copy_from(std::vector<float>(64, 9));
      net.poison();
      std::fill(out.span().begin(), out.span().end(), -1.0F);
      launch_busy(first.get(), kBusy);
      net.input().copy_from_async(ones.span(), first.get());
      net.launch(second.get());                             // waits for the copy, on another stream
      net.output().copy_to_async(out.span(), third.get());  // … and so on
      net.input().copy_from_async(twos.span(), first.get());
      net.launch(third.get());
      net.output().copy_to_async(later.span(), second.get());
      EXPECT_EQ(out.span()[0], -1) << "no copy waits on the host";
      CUDA_CHECK(cudaStreamSynchronize(second.get()));
      CUDA_CHECK(cudaStreamSynchronize(third.get()));
      EXPECT_EQ(out.values(), std::vector<float>(64, 2)) << round;
      EXPECT_EQ(later.values(), std::vector<float>(64, 4)) << round;
      launch_busy(first.get(), kBusy);
      net.launch(first.get());
      net.input().copy_from_async(ones.span(), second.get());  // not before the run that still reads the input
      EXPECT_EQ(net.output().floats(), std::vector<float>(64, 4)) << round;
    }
  }
}

TEST_F(PortCopyGpuTest, ABufferIsKept) {
  Session net = session({1, 3, 64, 64}, DType::f16, Format::nhwc);
  const cuda::Stream stream = cuda::make_stream();
  const Pinned<float> in(12288), out(12288);
  std::fill(in.span().begin(), in.span().end(), 1.0F);
  const auto round = [&] {
    net.input().copy_from_async(in.span(), stream.get());
    net.launch(stream.get());
    net.output().copy_to_async(out.span(), stream.get());
  };
  round();
  CUDA_CHECK(cudaStreamSynchronize(stream.get()));
  const auto used = [] {
    std::size_t free = 0, total = 0;
    CUDA_CHECK(cudaMemGetInfo(&free, &total));
    return static_cast<std::int64_t>(total - free);
  };
  const auto grown = memory_growth(used, [&] {
    for (int i = 0; i < 100; ++i) round();
    CUDA_CHECK(cudaStreamSynchronize(stream.get()));
    return true;
  });
  EXPECT_EQ(grown, 0);
  EXPECT_EQ(out.values(), std::vector<float>(12288, 2));
}

TEST_F(PortCopyGpuTest, RefusesMemoryThatIsNotPageLocked) {
  const cuda::Stream stream = cuda::make_stream();
  for (const DType t : {DType::f32, DType::bf16}) {
    Session net = session({64}, t);
    net.input().copy_from(std::vector<float>(64, 3));
    std::vector<float> pageable(64, 1);
    const std::string in = message_of<OptionError>([&] { net.input().copy_from_async(pageable, stream.get()); });
    EXPECT_EQ(in.rfind("copy_from_async: port 'x': expected page-locked host memory, got pageable memory at", 0), 0U) << in;
    EXPECT_THROW(net.output().copy_to_async(pageable, stream.get()), OptionError);
    const cuda::DeviceBuffer device(256);
    const std::span<float> there(device.as<float>(), 64);
    EXPECT_NE(message_of<OptionError>([&] { net.input().copy_from_async(there, stream.get()); }).find("got device memory"),
              std::string::npos);
    // The last part of an array behind the end of what is locked.
    std::vector<float> large(4096);
    const auto page = reinterpret_cast<float*>((reinterpret_cast<std::uintptr_t>(large.data()) + 4095) / 4096 * 4096);
    CUDA_CHECK(cudaHostRegister(page, 4096, cudaHostRegisterDefault));
    EXPECT_THROW(net.input().copy_from_async(std::span<float>(page + 1024 - 32, 64), stream.get()), OptionError);
    std::fill_n(page, 64, 5.0F);
    net.input().copy_from_async(std::span<float>(page, 64), stream.get());
    EXPECT_EQ(net.input().floats(), std::vector<float>(64, 5)) << "registered memory is as good";
    CUDA_CHECK(cudaHostUnregister(page));
  }
}

TEST_F(PortCopyGpuTest, RefusesAStreamThatIsBeingCaptured) {
  Session net = session({64}, DType::f32);
  const cuda::Stream stream = cuda::make_stream();
  const Pinned<float> values(64);
  CUDA_CHECK(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeGlobal));
  const std::string text = message_of<CaptureError>([&] { net.input().copy_from_async(values.span(), stream.get()); });
  EXPECT_NE(text.find("copy_from_async: port 'x': the caller's stream is being captured"), std::string::npos) << text;
  EXPECT_THROW(net.output().copy_to_async(values.span(), stream.get()), CaptureError);
  launch_empty(stream.get());
  cudaGraph_t graph = nullptr;
  CUDA_CHECK(cudaStreamEndCapture(stream.get(), &graph));
  const cuda::Graph owner(graph);
  std::size_t nodes = 0;
  CUDA_CHECK(cudaGraphGetNodes(graph, nullptr, &nodes));
  EXPECT_EQ(nodes, 1U);
}

}  // namespace
}  // namespace frieze::test
#endif
