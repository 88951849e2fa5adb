#include <frieze/core/cuda/kernel.h>
#include <frieze/core/cuda/launch.cuh>

#include "response_norm.h"

namespace own {
namespace {

using namespace frieze::cuda;

constexpr int kBlock = 256;

// The sum over all threads of a block, in each of them.
__device__ float block_sum(float v) {
  __shared__ float parts[kBlock / 32];
  for (int lane = 16; lane > 0; lane /= 2) v += __shfl_xor_sync(~0U, v, lane);
  __syncthreads();  // parts may still be read for the sum before
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
  __syncthreads();
  v = 0;
  for (int warp = 0; warp < kBlock / 32; ++warp) v += parts[warp];
  return v;
}

template <class T>
__global__ void __launch_bounds__(kBlock) norm_block_per_channel(const T* x, float* norms, std::int64_t plane) {
  x += blockIdx.x * plane;
  float squares = 0;
  for (std::int64_t i = threadIdx.x; i < plane; i += kBlock) squares += widen(x[i]) * widen(x[i]);
  squares = block_sum(squares);
  if (threadIdx.x == 0) norms[blockIdx.x] = sqrtf(squares);
}

// Each block adds up the norms of its image for itself, all of them in the same order.
template <class T>
__global__ void __launch_bounds__(kBlock) respond_block_per_channel(const T* x, T* y, const float* norms, const float* weight,
                                                                    const float* bias, std::int64_t plane, int channels, float eps) {
  x += blockIdx.x * plane;
  y += blockIdx.x * plane;
  const int c = static_cast<int>(blockIdx.x) % channels;
  const float* image = norms + blockIdx.x - c;
  float sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < channels; i += kBlock) sum += image[i];
  const float factor = weight[c] * (image[c] / (block_sum(sum) / static_cast<float>(channels) + eps));
  for (std::int64_t i = threadIdx.x; i < plane; i += kBlock) {
    const float v = widen(x[i]);
    y[i] = narrow<T>(v + v * factor + bias[c]);
  }
}

// Float32 values in device memory.
class DeviceFloats {
 public:
  explicit DeviceFloats(const std::vector<float>& values) : bytes_(values.size() * sizeof(float)) {
    FRIEZE_CUDA_CHECK(cudaMalloc(&data_, bytes_));
    FRIEZE_CUDA_CHECK(cudaMemcpy(data_, values.data(), bytes_, cudaMemcpyHostToDevice));
  }
  DeviceFloats(const DeviceFloats&) = delete;
  DeviceFloats& operator=(const DeviceFloats&) = delete;
  ~DeviceFloats() { (void)cudaFree(data_); }
  const float* get() const { return static_cast<const float*>(data_); }
  std::size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_;
};

// Made once for a session, before the capture: what allocates is done here.
class ResponseNormKernel final : public NodeKernel {
 public:
  ResponseNormKernel(const GlobalResponseNorm& layer, const PrepareArgs& args)
      : planes_(static_cast<unsigned>(args.out[0].shape.n() * args.out[0].shape.c())),
        eps_(static_cast<float>(layer.eps())),
        weight_(layer.weight().rounded(args.out[0].dtype)),
        bias_(layer.bias().rounded(args.out[0].dtype)) {
    dispatch(args.out[0].dtype, []<class T>(T) {
      preload(reinterpret_cast<const void*>(&norm_block_per_channel<T>));
      preload(reinterpret_cast<const void*>(&respond_block_per_channel<T>));
    });
  }
  std::size_t workspace_bytes() const override { return planes_ * sizeof(float); }  // a part of the session's arena, for the norms
  std::size_t weight_bytes() const override { return weight_.bytes() + bias_.bytes(); }
  std::string describe() const override { return "a block per channel, twice"; }
  // Enqueues, and does nothing else: it runs inside of a capture.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const frieze::Shape& s = args.out[0].shape;
    const std::int64_t plane = s.h() * s.w();
    float* const norms = static_cast<float*>(args.workspace);
    dispatch(args.out[0].dtype, [&]<class T>(T) {
      const T* const x = args.in[0].as<const T>();
      launch_kernel(norm_block_per_channel<T>, dim3(planes_), dim3(kBlock), 0, stream, x, norms, plane);
      launch_kernel(respond_block_per_channel<T>, dim3(planes_), dim3(kBlock), 0, stream, x, args.out[0].as<T>(), norms, weight_.get(),
                    bias_.get(), plane, static_cast<int>(s.c()), eps_);
    });
  }

 private:
  unsigned planes_;
  float eps_;
  DeviceFloats weight_, bias_;
};

std::unique_ptr<Kernel> make(const GlobalResponseNorm& layer, const PrepareArgs& args) {
  return std::make_unique<ResponseNormKernel>(layer, args);
}

}  // namespace

void register_response_norm() { kernel_registry().add<GlobalResponseNorm>(&make); }

}  // namespace own
