#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/batch_norm2d/batch_norm2d.h>
#include <frieze/layers/shared/cuda/epilogue.cuh>
#include <frieze/layers/shared/cuda/pointwise.cuh>

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

// Packs of 16 bytes: `row` of them are the channels of a pixel in nhwc, a plane of one channel in nchw.
template <class T>
__global__ void __launch_bounds__(kBlock)
    scale_and_shift_pack_per_thread(const T* x, T* y, const float* __restrict__ scale, const float* __restrict__ shift, std::uint32_t packs,
                                    Divisor row, Divisor channels, bool nhwc) {
  constexpr int N = 16 / sizeof(T);
  const std::uint32_t i = blockIdx.x * kBlock + threadIdx.x;
  if (i >= packs) return;
  auto pack = reinterpret_cast<const Pack<T, N>*>(x)[i];
  const std::uint32_t rows = divide(row, i);
  if (nhwc) {
    const std::uint32_t c = (i - rows * row.by) * N;
#pragma unroll
    for (int j = 0; j < N; j += 4) {
      const auto a = *reinterpret_cast<const Pack<float, 4>*>(scale + c + j), b = *reinterpret_cast<const Pack<float, 4>*>(shift + c + j);
#pragma unroll
      for (int k = 0; k < 4; ++k) pack.v[j + k] = narrow<T>(fmaf(widen(pack.v[j + k]), a.v[k], b.v[k]));
    }
  } else {
    const std::uint32_t c = rows - divide(channels, rows) * channels.by;
    const float a = scale[c], b = shift[c];
#pragma unroll
    for (int j = 0; j < N; ++j) pack.v[j] = narrow<T>(fmaf(widen(pack.v[j]), a, b));
  }
  reinterpret_cast<Pack<T, N>*>(y)[i] = pack;
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
    dispatch(args.out[0].dtype, [](auto t) {
      using T = decltype(t);
      preload_all(&scale_and_shift_element_per_thread<T>, &scale_and_shift_pack_per_thread<T>);
    });
  }

  // One read and one write; bound by memory.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const Shape& s = args.out[0].shape;
    dispatch(args.out[0].dtype, [&](auto t) {
      using T = decltype(t);
      constexpr std::int64_t N = 16 / sizeof(T);
      const TensorView &x = args.in[0], &y = args.out[0];
      const std::int64_t row = nhwc_ ? s.c() : s.h() * s.w(), packs = s.elements() / N;
      const bool aligned = (reinterpret_cast<std::uintptr_t>(x.data) | reinterpret_cast<std::uintptr_t>(y.data)) % 16 == 0;
      if (aligned && row % N == 0 && packs < std::int64_t{1} << 31) {
        launch_kernel(&scale_and_shift_pack_per_thread<T>, grid_of(ceil_div<std::int64_t>(packs, kBlock)), dim3(kBlock), 0, stream,
                      x.as<const T>(), y.as<T>(), scale_.as<const float>(), shift_.as<const float>(), static_cast<std::uint32_t>(packs),
                      Divisor(static_cast<std::uint32_t>(row / N)), Divisor(static_cast<std::uint32_t>(s.c())), nhwc_);
        return;
      }
      launch_kernel(&scale_and_shift_element_per_thread<T>, dim3(static_cast<unsigned>(ceil_div<std::int64_t>(s.elements(), kBlock))),
                    dim3(kBlock), 0, stream, args.in[0].as<const T>(), args.out[0].as<T>(), scale_.as<const float>(),
                    shift_.as<const float>(), s.elements(), s.c(), s.h() * s.w(), nhwc_);
    });
  }
  std::size_t weight_bytes() const override { return scale_.bytes() + shift_.bytes(); }
  std::string describe() const override { return "16 bytes a thread"; }

 private:
  bool nhwc_;
  DeviceBuffer scale_, shift_;
};

std::unique_ptr<Kernel> make(const BatchNorm2d& layer, const PrepareArgs& args) { return std::make_unique<BatchNorm2dKernel>(layer, args); }

}  // namespace

void register_batch_norm2d(KernelRegistry& registry) { registry.add<BatchNorm2d>(&make); }

}  // namespace frieze::cuda
