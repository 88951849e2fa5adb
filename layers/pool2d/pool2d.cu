#include <frieze/core/cuda/kernel.h>
#include <frieze/core/error.h>
#include <frieze/layers/pool/pool.h>
#include <frieze/layers/pool2d/cuda/pool2d_kernels.h>
#include <frieze/layers/pool2d/pool2d.h>

namespace frieze::cuda {
namespace {

constexpr std::int64_t kMostPixels = std::int64_t{1} << 28;  // a side: the kernels count in 32 bits

PoolAxis<int> narrowed(std::string_view who, const PoolAxis<std::int64_t>& a) {
  check<CudaError>(a.in <= kMostPixels && a.out <= kMostPixels && a.kernel * a.dilation <= kMostPixels && a.stride <= kMostPixels, who,
                   "'s kernel takes at most 2^28 pixels a side, got ", a.in, " and a window of ", a.kernel * a.dilation);
  return {static_cast<int>(a.in),
          static_cast<int>(a.out),
          static_cast<int>(a.kernel),
          static_cast<int>(a.stride),
          static_cast<int>(a.padding),
          static_cast<int>(a.dilation),
          a.adaptive};
}

class Pool2dKernel final : public NodeKernel {
 public:
  Pool2dKernel(const Pool2d& layer, const PrepareArgs& args)
      : type_(layer.type_name()), dtype_(args.in[0].dtype), format_(args.in[0].format) {
    const Shape& x = args.in[0].shape;
    const PoolWindows<std::int64_t> w = layer.windows(x.h(), x.w());
    check<CudaError>(x.c() <= 0x7FFFFFFF, type_, "'s kernel takes at most 2^31 - 1 channels, got ", x.c());
    plan_.images = x.n();
    plan_.channels = static_cast<int>(x.c());
    plan_.windows.h = narrowed(type_, w.h);
    plan_.windows.w = narrowed(type_, w.w);
    plan_.windows.kind = w.kind;
    plan_.windows.count_padding = w.count_padding;
    plan_.windows.divisor = static_cast<int>(w.divisor);
    const auto positions = static_cast<double>(w.h.kernel) * static_cast<double>(w.w.kernel);
    plan_.whole_window = static_cast<float>(1 / (w.divisor != 0 ? static_cast<double>(w.divisor) : positions));
    if (format_ == Format::nhwc) {
      preload_pool_nhwc(dtype_);
    } else {
      preload_pool_nchw(dtype_);
    }
  }

  std::string describe() const override {
    switch (format_ == Format::nhwc ? pool_path_nhwc(plan_) : pool_path_nchw(dtype_, plan_, true)) {
      case PoolPath::thread_per_strip: return concat_text(format_, ", a thread per strip of outputs");
      case PoolPath::warp_per_bins: return "nchw, a warp per row of bins";
      case PoolPath::many_per_output:
        return format_ == Format::nhwc ? "nhwc, a block per output and channel tile" : "nchw, a warp per output";
      default: return concat_text(format_, ", a thread per output");
    }
  }

  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    check<CudaError>(args.in[0].is_contiguous(format_) && args.out[0].is_contiguous(format_), type_, "'s kernel takes contiguous ", format_,
                     " tensors only");
    PoolArgs2d a = plan_;
    a.x = args.in[0].data;
    a.y = args.out[0].data;
    if (format_ == Format::nhwc) {
      launch_pool_nhwc(dtype_, a, stream);
    } else {
      launch_pool_nchw(dtype_, a, stream);
    }
  }

 private:
  std::string type_;
  DType dtype_;
  Format format_;
  PoolArgs2d plan_;
};

template <class L>
std::unique_ptr<Kernel> make(const L& layer, const PrepareArgs& args) {
  return std::make_unique<Pool2dKernel>(layer, args);
}

// All pixels of an image: what GlobalAvgPool spreads over the device.
std::unique_ptr<Kernel> make_adaptive_mean(const AdaptiveAvgPool2d& layer, const PrepareArgs& args) {
  if (layer.output() == Size2d(1)) return kernel_registry().prepare(GlobalAvgPool(true), args);
  return std::make_unique<Pool2dKernel>(layer, args);
}

}  // namespace

void register_pool2d(KernelRegistry& registry) {
  registry.add<MaxPool2d>(&make<MaxPool2d>);
  registry.add<AvgPool2d>(&make<AvgPool2d>);
  registry.add<AdaptiveMaxPool2d>(&make<AdaptiveMaxPool2d>);
  registry.add<AdaptiveAvgPool2d>(&make_adaptive_mean);
}

}  // namespace frieze::cuda
