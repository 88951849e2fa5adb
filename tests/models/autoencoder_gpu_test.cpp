/// Autoencoder on a GPU: device memory used where it lies, on the caller's stream, and the same bits at every position of a batch.
#include <gtest/gtest.h>

#include "support/parity.h"

#if FRIEZE_WITH_CUDA
#include <cuda_runtime_api.h>

#include <cstring>
#include <random>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/models/autoencoder.h>

#include "support/paths.h"

namespace frieze::test {
namespace {

HostTensor random_tensor(const Shape& shape, unsigned seed, DType dtype = DType::f32) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> value(-1, 1);
  std::vector<float> values(static_cast<std::size_t>(shape.elements()));
  for (float& v : values) v = value(random);
  return HostTensor({shape, dtype}, values);
}

class DeviceTensor {
 public:
  explicit DeviceTensor(const TensorSpec& spec) : spec_(spec), buffer_(static_cast<std::size_t>(spec.bytes())) {}
  TensorView view() const { return {buffer_.data(), spec_}; }
  void write(const HostTensor& from) const { CUDA_CHECK(cudaMemcpy(buffer_.data(), from.data(), from.bytes(), cudaMemcpyHostToDevice)); }
  HostTensor read() const {
    HostTensor to(spec_);
    CUDA_CHECK(cudaMemcpy(to.data(), buffer_.data(), to.bytes(), cudaMemcpyDeviceToHost));
    return to;
  }

 private:
  TensorSpec spec_;
  cuda::DeviceBuffer buffer_;
};

AutoencoderOptions untuned(DType dtype) {
  AutoencoderOptions options;
  options.dtype = dtype;
  options.compile.tune = false;
  return options;
}

Autoencoder open(const AutoencoderOptions& options) {
  return Autoencoder::open(source_path("tests/golden/dc_ae/sana"), Device::cuda(), options);
}

bool equal_bits(const HostTensor& a, const HostTensor& b) {
  return a.spec() == b.spec() && std::memcmp(a.data(), b.data(), a.bytes()) == 0;
}

TEST(AutoencoderGpu, ViewsGiveWhatHostTensorsGive) {
  FRIEZE_NEEDS_GPU();
  cudaStream_t stream = nullptr;
  CUDA_CHECK(cudaStreamCreate(&stream));
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    Autoencoder model = open(untuned(dtype));
    const Shape shape{2, 3, 32, 24}, small = model.latent_shape(shape);
    const DeviceTensor images[] = {DeviceTensor({shape, dtype}), DeviceTensor({shape, dtype})};
    const DeviceTensor latents[] = {DeviceTensor({small, dtype}), DeviceTensor({small, dtype})};
    const DeviceTensor again({shape, dtype});
    for (unsigned round = 0; round < 6; ++round) {
      const DeviceTensor &image = images[round % 2], &latent = latents[round / 2 % 2];
      const HostTensor given = random_tensor(shape, round, dtype);
      image.write(given);
      model.encode(image.view(), latent.view(), stream);
      model.decode(latent.view(), again.view(), stream);
      CUDA_CHECK(cudaStreamSynchronize(stream));
      const HostTensor expected = model.encode(given);
      EXPECT_TRUE(equal_bits(latent.read().converted(DType::f32, Format::nchw), expected)) << dtype << ' ' << round;
      EXPECT_TRUE(equal_bits(again.read().converted(DType::f32, Format::nchw), model.decode(latent.read()))) << dtype << ' ' << round;
    }
    EXPECT_EQ(model.captures(), 2U) << "new addresses are no new graphs";
    EXPECT_THROW(model.encode(random_tensor(shape, 1, dtype).view(), latents[0].view(), stream), OptionError) << "host memory";
  }
  CUDA_CHECK(cudaStreamDestroy(stream));
}

TEST(AutoencoderGpu, TheSameBitsAtEveryPositionOfABatch) {
  FRIEZE_NEEDS_GPU();
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (const bool tune : {false, true}) {
      AutoencoderOptions options = untuned(dtype);
      options.compile.tune = tune;
      options.batch = 4;
      Autoencoder model = open(options);
      const HostTensor all = random_tensor({4, 3, 40, 24}, 9);
      const std::vector<float> expected = model.roundtrip(all).floats(), values = all.floats();
      const std::size_t image = values.size() / 4;
      for (std::size_t shift = 1; shift < 4; ++shift) {
        std::vector<float> rotated(values.begin() + static_cast<std::ptrdiff_t>(shift * image), values.end());
        rotated.insert(rotated.end(), values.begin(), values.begin() + static_cast<std::ptrdiff_t>(shift * image));
        const std::vector<float> got = model.roundtrip(HostTensor({all.spec().shape}, rotated)).floats();
        for (std::size_t i = 0; i < got.size(); ++i) {
          ASSERT_EQ(got[i], expected[(i + shift * image) % got.size()]) << dtype << " tuned " << tune << " shift " << shift << " at " << i;
        }
      }
      const HostTensor alone({Shape{1, 3, 40, 24}}, std::span(values).first(image));
      const std::vector<float> got = model.roundtrip(alone).floats();
      ASSERT_EQ(std::vector<float>(expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(image)), got) << dtype << ' ' << tune;
    }
  }
}

}  // namespace
}  // namespace frieze::test

#else  // without CUDA

TEST(AutoencoderGpu, NeedsCuda) { FRIEZE_NEEDS_GPU(); }

#endif
