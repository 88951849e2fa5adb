#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/batch_norm2d/batch_norm2d.h>
#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/shared/cuda/epilogue.cuh>

namespace frieze::cuda {
namespace {

constexpr int kBlock = 256;

// nhwc: the channel runs with the element; nchw: it changes every `pixels` elements.
template <class T>
__global__ void __launch_bounds__(kBlock)
    scale_and_shift_element_per_thread(const T* x, T* y, const float* __restrict__ scale, const float* __restrict__ shift,
                                       std::int64_t elements, std::int64_t channels, std::int64_t pixels, bool nhwc) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (i >= elements) return;
  const std::int64_t c = div_mod(nhwc ? i : div_mod(i, pixels).quotient, channels).remainder;
  y[i] = narrow<T>(fmaf(widen(x[i]), scale[c], shift[c]));
}

// Runs only where no producer took the factors into its weights.
class BatchNorm2dKernel final : public NodeKernel {
 public:
  BatchNorm2dKernel(const BatchNorm2d& layer, const PrepareArgs& args) : nhwc_(args.out[0].format == Format::nhwc) {
    const BatchNorm2d::Factors affine = layer.factors();
    const auto rounded = [&](const std::vector<double>& values) {
      std::vector<float> out;
      for (const double v : values) out.push_back(round_to(args.out[0].dtype, v));
      return to_device(out, DType::f32);
    };
    scale_ = rounded(affine.scale);
    shift_ = rounded(affine.shift);
    dispatch(args.out[0].dtype, [](auto t) { preload(reinterpret_cast<const void*>(&scale_and_shift_element_per_thread<decltype(t)>)); });
  }

  // One read and one write of an element a thread; bound by memory.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const Shape& s = args.out[0].shape;
    dispatch(args.out[0].dtype, [&](auto t) {
      using T = decltype(t);
      launch_kernel(&scale_and_shift_element_per_thread<T>, dim3(static_cast<unsigned>(ceil_div<std::int64_t>(s.elements(), kBlock))),
                    dim3(kBlock), 0, stream, args.in[0].as<const T>(), args.out[0].as<T>(), scale_.as<const float>(),
                    shift_.as<const float>(), s.elements(), s.c(), s.h() * s.w(), nhwc_);
    });
  }
  std::size_t weight_bytes() const override { return scale_.bytes() + shift_.bytes(); }
  std::string describe() const override { return "an element a thread"; }

 private:
  bool nhwc_;
  DeviceBuffer scale_, shift_;
};

std::unique_ptr<Kernel> make(const BatchNorm2d& layer, const PrepareArgs& args) { return std::make_unique<BatchNorm2dKernel>(layer, args); }

}  // namespace

void register_batch_norm2d(KernelRegistry& registry) { registry.add<BatchNorm2d>(&make); }

}  // namespace frieze::cuda
