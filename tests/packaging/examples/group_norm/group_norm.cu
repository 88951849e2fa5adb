#include <frieze/core/cuda/kernel.h>
#include <frieze/core/cuda/launch.cuh>

#include "group_norm.h"

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

struct Groups {
  std::int64_t plane;   // pixels
  int channels, count;  // of a group; groups of an image
  float eps;
};

// Reads x three times, once from memory where a group fits into the cache. The sums run over x - pivot, so that a mean far from zero costs
// no digits.
template <class T>
__global__ void __launch_bounds__(kBlock)
    group_norm_block_per_group(const T* x, T* y, const float* weight, const float* bias, Groups groups) {
  const std::int64_t size = groups.plane * groups.channels;
  x += blockIdx.x * size;
  y += blockIdx.x * size;
  const float pivot = widen(x[0]);
  float sum = 0, squares = 0;
  for (std::int64_t i = threadIdx.x; i < size; i += kBlock) sum += widen(x[i]) - pivot;
  const float mean = block_sum(sum) / static_cast<float>(size);
  for (std::int64_t i = threadIdx.x; i < size; i += kBlock) {
    const float d = widen(x[i]) - pivot - mean;
    squares += d * d;
  }
  const float scale = rsqrtf(block_sum(squares) / static_cast<float>(size) + groups.eps);
  const int first = static_cast<int>(blockIdx.x) % groups.count * groups.channels;
  for (std::int64_t i = threadIdx.x; i < size; i += kBlock) {
    const int c = first + static_cast<int>(i / groups.plane);
    y[i] = narrow<T>((widen(x[i]) - pivot - mean) * scale * weight[c] + bias[c]);
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
class GroupNormKernel final : public NodeKernel {
 public:
  GroupNormKernel(const GroupNorm& layer, const PrepareArgs& args)
      : groups_(layer.groups()),
        eps_(static_cast<float>(layer.eps())),
        weight_(layer.weight().rounded(args.out[0].dtype)),
        bias_(layer.bias().rounded(args.out[0].dtype)) {
    dispatch(args.out[0].dtype, []<class T>(T) { preload(reinterpret_cast<const void*>(&group_norm_block_per_group<T>)); });
  }
  std::size_t weight_bytes() const override { return weight_.bytes() + bias_.bytes(); }
  std::string describe() const override { return "a block per group"; }
  // Enqueues, and does nothing else: it runs inside of a capture.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const frieze::Shape& s = args.out[0].shape;
    const Groups groups{s.h() * s.w(), static_cast<int>(s.c()) / groups_, groups_, eps_};
    dispatch(args.out[0].dtype, [&]<class T>(T) {
      launch_kernel(group_norm_block_per_group<T>, dim3(static_cast<unsigned>(s.n() * groups_)), dim3(kBlock), 0, stream,
                    args.in[0].as<const T>(), args.out[0].as<T>(), weight_.get(), bias_.get(), groups);
    });
  }

 private:
  int groups_;
  float eps_;
  DeviceFloats weight_, bias_;
};

std::unique_ptr<Kernel> make(const GroupNorm& layer, const PrepareArgs& args) { return std::make_unique<GroupNormKernel>(layer, args); }

}  // namespace

void register_group_norm() { kernel_registry().add<GroupNorm>(&make); }

}  // namespace own
