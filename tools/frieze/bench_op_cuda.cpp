#include <cuda_profiler_api.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/cold_timing.h>
#include <frieze/core/cuda/graph_nodes.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/kernel.h>
#include <frieze/core/integers.h>
#include <frieze/graph/session.h>

#include "tools/frieze/bench_kernels.h"
#include "tools/frieze/bench_op.h"

namespace frieze::tools {
namespace {

constexpr double kReplayMicroseconds = 1500;  // of one timed graph: far above the resolution of events
constexpr double kBytesPerMicrosecond = 3e6;  // a guess, for the number of launches only
constexpr int kMostLaunches = 512, kMostBuffers = 1024;

int current_device() {
  int index = 0;
  CUDA_CHECK(cudaGetDevice(&index));
  return index;
}

// One set of tensors that a launch works on.
struct Buffer {
  cuda::DeviceBuffer x, y, residual;
};

// A run of neighbouring pixels of one image, all channels, on the host: [C][length].
class PixelRun {
 public:
  PixelRun(const void* device, const BenchCase& c, std::int64_t image, std::int64_t first, std::int64_t length)
      : channels_(c.shape.c()), length_(length) {
    const std::int64_t pixels = c.shape.h() * c.shape.w();
    const std::size_t size = size_of(c.dtype);
    const bool nchw = c.format == Format::nchw;
    const std::int64_t start = nchw ? image * channels_ * pixels + first : (image * pixels + first) * channels_;
    const std::size_t row = static_cast<std::size_t>(nchw ? length : length * channels_) * size;
    const HostTensor raw({Shape{channels_ * length}, c.dtype, Format::nchw});
    CUDA_CHECK(cudaMemcpy2D(raw.data(), row, static_cast<const char*>(device) + static_cast<std::size_t>(start) * size,
                            nchw ? static_cast<std::size_t>(pixels) * size : row, row, nchw ? static_cast<std::size_t>(channels_) : 1,
                            cudaMemcpyDeviceToHost));
    values_ = raw.floats();
    step_c_ = nchw ? length : 1;
    step_p_ = nchw ? 1 : channels_;
  }
  double at(std::int64_t c, std::int64_t p) const {
    return static_cast<double>(values_[static_cast<std::size_t>(c * step_c_ + p * step_p_)]);
  }

 private:
  std::int64_t channels_, length_, step_c_ = 0, step_p_ = 0;
  std::vector<float> values_;
};

double ulp_at(DType t, double v) { return std::max(v == 0 ? 0 : std::ldexp(2 * unit_roundoff(t), std::ilogb(v)), min_subnormal(t)); }

// The formula in double, with eps added inside the root and one rounding, on the pixels of one run.
class Check {
 public:
  Check(const RMSNorm2d& layer, DType t) : options_(layer.options()), t_(t), channels_(layer.channels()) {
    if (layer.weight() != nullptr) weight_ = layer.weight()->rounded(t);
    if (layer.bias() != nullptr) bias_ = layer.bias()->rounded(t);
  }

  void compare(const PixelRun& x, const PixelRun& y, const PixelRun* residual, std::int64_t length, BenchResult& result) {
    std::vector<double> in(static_cast<std::size_t>(channels_));
    for (std::int64_t p = 0; p < length; ++p) {
      double sum = 0;
      for (std::int64_t c = 0; c < channels_; ++c) {
        double& v = in[static_cast<std::size_t>(c)];
        v = x.at(c, p);
        if (options_.residual == ResidualMode::before) v = static_cast<double>(round_to(t_, v + residual->at(c, p)));
        sum += v * v;
      }
      const double r = 1 / std::sqrt(sum / static_cast<double>(channels_) + *options_.eps);
      for (std::int64_t c = 0; c < channels_; ++c) {
        const auto i = static_cast<std::size_t>(c);
        double v = in[i] * r * (weight_.empty() ? 1.0 : static_cast<double>(weight_[i])), largest = std::abs(v);
        if (!bias_.empty()) {
          v += static_cast<double>(bias_[i]);
          largest = std::max(largest, std::abs(static_cast<double>(bias_[i])));
        }
        v = activate(options_.activation, v);
        if (options_.residual == ResidualMode::after) {
          v += residual->at(c, p);
          largest = std::max(largest, std::abs(residual->at(c, p)));
        }
        const double got = y.at(c, p), error = std::abs(got - v) / ulp_at(t_, std::max(largest, std::abs(v)));
        if (!(error <= result.max_ulp)) result.max_ulp = std::isnan(error) ? HUGE_VAL : error;
        correct_ += got == static_cast<double>(round_to(t_, v)) ? 1 : 0;
        ++result.checked;
      }
    }
    result.correctly_rounded = static_cast<double>(correct_) / static_cast<double>(result.checked);
  }

 private:
  RMSNorm2dOptions options_;
  DType t_;
  std::int64_t channels_, correct_ = 0;
  std::vector<float> weight_, bias_;
};

// One case on the device: the kernel, its buffers, and what is timed over them.
class Bench {
 public:
  Bench(const BenchCase& c, const BenchSettings& settings)
      : case_(c),
        settings_(settings),
        layer_(c.shape.c(), settings.options),
        device_(cuda::device_info(current_device())),
        stream_(cuda::make_stream()),
        bytes_(static_cast<std::size_t>(TensorSpec{c.shape, c.dtype}.bytes())) {
    init_random(layer_, 7);
    result_.bench_case = c;
    result_.bytes = static_cast<double>(bytes_) * tensors();
  }

  BenchResult profile() {
    prepare();
    if (!make_buffers(1)) return result_;
    CUDA_CHECK(cudaStreamSynchronize(stream_.get()));
    CUDA_CHECK(cudaProfilerStart());
    launch(0, stream_.get());
    CUDA_CHECK(cudaStreamSynchronize(stream_.get()));
    CUDA_CHECK(cudaProfilerStop());
    return result_;
  }

  BenchResult run() {
    prepare();  // before the buffers: tuning needs memory of its own
    const std::size_t each = bytes_ * static_cast<std::size_t>(tensors());
    if (!make_buffers(std::min(cuda::cold_buffers(each, device_.l2_bytes), kMostBuffers))) return result_;
    result_.cold = static_cast<double>(each) * result_.buffers > 2.0 * static_cast<double>(device_.l2_bytes);
    const double guess = 2 + result_.bytes / kBytesPerMicrosecond;
    const int wanted = static_cast<int>(std::clamp(kReplayMicroseconds / guess, 1.0, static_cast<double>(kMostLaunches)));
    result_.launches = round_up(std::max(wanted, result_.buffers), result_.buffers);
    // The layer comes last: what it leaves in y is checked, and a launch that does nothing leaves a copy of x.
    const cuda::ColdCandidate candidates[] = {
        {[this](int i, cudaStream_t s) { copy_16_bytes_a_thread(buffer(i).x.data(), buffer(i).y.data(), bytes_, s); }, true},
        {[this](int i, cudaStream_t s) { cuda::enqueue_copy(buffer(i).y.data(), buffer(i).x.data(), bytes_, s); }, true},
        {[this](int i, cudaStream_t s) { launch(i, s); }, kernel_->builds_nodes()}};
    const auto rounds = cuda::time_cold_rounds(stream_.get(), candidates, result_.buffers, settings_.rounds, result_.launches);
    result_.copy_kernel = summary(rounds[0]);
    result_.copy_node = summary(rounds[1]);
    result_.time = summary(rounds[2]);
    result_.floor_us = std::min(result_.copy_kernel.median, result_.copy_node.median) * tensors() / 2;
    check_last_buffer();
    return result_;
  }

 private:
  int tensors() const { return settings_.options.residual == ResidualMode::none ? 2 : 3; }
  const Buffer& buffer(int i) const { return buffers_[static_cast<std::size_t>(i)]; }

  static BenchTime summary(const std::vector<double>& us) {
    return {cuda::median(us), *std::min_element(us.begin(), us.end()), *std::max_element(us.begin(), us.end())};
  }

  // Fewer than asked for if the memory holds no more: what is left of a tensor so large in the cache is its end, not its start.
  bool make_buffers(int wanted) {
    std::size_t free_bytes = 0, total = 0;
    CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total));
    const std::size_t each = bytes_ * static_cast<std::size_t>(tensors());
    const std::size_t most = free_bytes / 20 * 19 / std::max<std::size_t>(each, 1);
    if (most == 0 || (most < static_cast<std::size_t>(wanted) && each < 2 * device_.l2_bytes)) {
      result_.skipped = concat_text("needs ", static_cast<double>(each) / (1 << 30), " GiB a launch, ",
                                    static_cast<double>(free_bytes) / (1 << 30), " are free");
      return false;
    }
    result_.buffers = static_cast<int>(std::min(most, static_cast<std::size_t>(wanted)));
    const std::int64_t count = case_.shape.elements();
    for (int i = 0; i < result_.buffers; ++i) {
      Buffer b{cuda::DeviceBuffer(bytes_), cuda::DeviceBuffer(bytes_), cuda::DeviceBuffer(tensors() == 3 ? bytes_ : 0)};
      const auto seed = static_cast<std::uint64_t>(i) << 48;
      fill_normal(b.x.data(), case_.dtype, count, seed + 1, stream_.get());
      if (tensors() == 3) fill_normal(b.residual.data(), case_.dtype, count, seed + (std::uint64_t{1} << 47), stream_.get());
      CUDA_CHECK(cudaMemsetAsync(b.y.data(), 0xFF, bytes_, stream_.get()));
      buffers_.push_back(std::move(b));
    }
    CUDA_CHECK(cudaStreamSynchronize(stream_.get()));
    return true;
  }

  void prepare() {
    const TensorSpec spec{case_.shape, case_.dtype, case_.format};
    const TensorSpec in[] = {spec, spec};
    cuda::PrepareArgs args{std::span(in, static_cast<std::size_t>(tensors() - 1)), {&spec, 1}, {}, &device_, stream_.get()};
    args.tune = settings_.tune;
    kernel_ = cuda::kernel_registry().prepare(layer_, args);
    workspace_ = cuda::DeviceBuffer(kernel_->workspace_bytes());
    result_.kernel = kernel_->describe();
  }

  void launch(int i, cudaStream_t stream) const {
    const TensorSpec spec{case_.shape, case_.dtype, case_.format};
    const TensorView in[] = {TensorView(buffer(i).x.data(), spec), TensorView(buffer(i).residual.data(), spec)};
    const TensorView out(buffer(i).y.data(), spec);
    kernel_->launch({std::span(in, static_cast<std::size_t>(tensors() - 1)), {&out, 1}, workspace_.data()}, stream);
  }

  // A few runs of pixels from the first to the last one.
  void check_last_buffer() {
    constexpr std::int64_t kRuns = 16, kElements = 1 << 20;
    const Buffer& last = buffer(result_.buffers - 1);
    const std::int64_t pixels = case_.shape.h() * case_.shape.w(), all = case_.shape.n() * pixels;
    const std::int64_t length = std::min(pixels, std::clamp<std::int64_t>(kElements / kRuns / case_.shape.c(), 1, 64));
    Check check(layer_, case_.dtype);
    for (std::int64_t i = 0; i < kRuns; ++i) {
      const std::int64_t at = (all - 1) / (kRuns - 1) * i + (i + 1 == kRuns ? (all - 1) % (kRuns - 1) : 0);
      const std::int64_t image = at / pixels, first = std::min(at % pixels, pixels - length);
      const PixelRun x(last.x.data(), case_, image, first, length), y(last.y.data(), case_, image, first, length);
      if (tensors() == 3) {
        const PixelRun residual(last.residual.data(), case_, image, first, length);
        check.compare(x, y, &residual, length, result_);
      } else {
        check.compare(x, y, nullptr, length, result_);
      }
    }
  }

  BenchCase case_;
  BenchSettings settings_;
  RMSNorm2d layer_;
  cuda::DeviceInfo device_;
  cuda::Stream stream_;
  std::size_t bytes_;
  BenchResult result_;
  std::vector<Buffer> buffers_;
  cuda::DeviceBuffer workspace_;
  std::unique_ptr<cuda::Kernel> kernel_;
};

}  // namespace

BenchResult bench_rms_norm2d(const BenchCase& bench_case, const BenchSettings& settings) { return Bench(bench_case, settings).run(); }
BenchResult profile_rms_norm2d(const BenchCase& bench_case, const BenchSettings& settings) { return Bench(bench_case, settings).profile(); }

std::string use_bench_device(const std::string& device) {
  check<OptionError>(Device::parse(device).is_cuda(), "bench-op needs a CUDA device, got --device ", device);
  const std::size_t colon = device.find(':');
  const int index = colon == std::string::npos ? 0 : std::stoi(device.substr(colon + 1));
  CUDA_CHECK(cudaSetDevice(index));
  return cuda::device_info(index).name;
}

}  // namespace frieze::tools
