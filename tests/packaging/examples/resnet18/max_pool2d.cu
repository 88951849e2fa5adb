#include <frieze/core/cuda/kernel.h>
#include <frieze/core/cuda/launch.cuh>

#include "max_pool2d.h"

namespace resnet {
namespace {

using namespace frieze::cuda;

struct Window {
  int kernel, stride, padding, height, width, out_height, out_width;
};

// Reads each pixel kernel^2 / stride^2 times, all but the first out of the cache.
template <class T>
__global__ void max_pool2d_output_per_thread(const T* x, T* y, std::int64_t outputs, Window s) {
  const std::int64_t at = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at >= outputs) return;
  const int j = static_cast<int>(at % s.out_width), i = static_cast<int>(at / s.out_width % s.out_height);
  const T* plane = x + at / s.out_width / s.out_height * s.height * s.width;
  float most = -INFINITY;
  for (int u = 0; u < s.kernel; ++u) {
    for (int v = 0; v < s.kernel; ++v) {
      const int h = s.stride * i - s.padding + u, w = s.stride * j - s.padding + v;
      if (h < 0 || w < 0 || h >= s.height || w >= s.width) continue;
      const float value = widen(plane[std::int64_t{h} * s.width + w]);
      if (value > most || isnan(value)) most = value;
    }
  }
  y[at] = narrow<T>(most);
}

class MaxPool2dKernel final : public NodeKernel {
 public:
  explicit MaxPool2dKernel(const MaxPool2d& layer, frieze::DType t) : layer_{layer.kernel(), layer.stride(), layer.padding()} {
    dispatch(t, []<class T>(T) { preload(reinterpret_cast<const void*>(&max_pool2d_output_per_thread<T>)); });
  }
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const frieze::Shape &from = args.in[0].shape, &to = args.out[0].shape;
    const Window window{layer_[0],
                        layer_[1],
                        layer_[2],
                        static_cast<int>(from.h()),
                        static_cast<int>(from.w()),
                        static_cast<int>(to.h()),
                        static_cast<int>(to.w())};
    const std::int64_t outputs = to.elements();
    dispatch(args.out[0].dtype, [&]<class T>(T) {
      launch_kernel(max_pool2d_output_per_thread<T>, dim3(ceil_div<std::int64_t>(outputs, 256)), dim3(256), 0, stream,
                    args.in[0].as<const T>(), args.out[0].as<T>(), outputs, window);
    });
  }

 private:
  int layer_[3];
};

std::unique_ptr<Kernel> make(const MaxPool2d& layer, const PrepareArgs& args) {
  return std::make_unique<MaxPool2dKernel>(layer, args.out[0].dtype);
}

}  // namespace

void register_max_pool2d() { kernel_registry().add<MaxPool2d>(&make); }

}  // namespace resnet
