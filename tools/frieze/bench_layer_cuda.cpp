#include <cuda_profiler_api.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/cold_timing.h>
#include <frieze/core/cuda/graph_nodes.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/kernel.h>
#include <frieze/core/integers.h>
#include <frieze/graph/reference_step.h>
#include <frieze/graph/verify.h>

#include "tools/frieze/bench_kernels.h"
#include "tools/frieze/bench_layer.h"

namespace frieze::tools {
namespace {

constexpr double kReplayMicroseconds = 1500;  // of one timed graph: far above the resolution of events
constexpr double kBytesPerMicrosecond = 3e6;  // a guess, for the number of launches only
constexpr int kMostLaunches = 512, kMostBuffers = 1024;
constexpr double kMostReferenceFlops = 2e9;  // what the reference does in seconds
constexpr std::int64_t kMostReferenceElements = std::int64_t{1} << 27;

std::size_t bytes_of(const TensorSpec& spec) { return static_cast<std::size_t>(spec.bytes()); }

// What one launch works on; the copies have memory of their own, so that integers stay what they are.
struct TensorSet {
  std::vector<cuda::DeviceBuffer> in, out;
  cuda::DeviceBuffer from, to;
};

class LayerBench {
 public:
  LayerBench(const LayerCase& c, const LayerBenchSettings& settings) : case_(c), settings_(settings), stream_(cuda::make_stream()) {
    int index = 0;
    CUDA_CHECK(cudaGetDevice(&index));
    device_ = cuda::device_info(index);
    half_ = static_cast<std::size_t>(round_up<std::int64_t>(static_cast<std::int64_t>(c.bytes / 2), 16));
    for (const TensorSpec& spec : c.inputs) layer_bytes_ += bytes_of(spec);
    for (const TensorSpec& spec : c.outs) layer_bytes_ += bytes_of(spec);
  }

  LayerResult run() {
    const std::vector<EpilogueOp> ops = case_.step.ops();
    cuda::PrepareArgs args{case_.inputs, case_.outs, ops, &device_, stream_.get()};
    args.tune = settings_.tune;
    kernel_ = cuda::kernel_registry().prepare(*case_.step.layer, args);  // before the buffers: tuning needs memory of its own
    workspace_ = cuda::DeviceBuffer(kernel_->workspace_bytes());
    result_.kernel = kernel_->describe();
    const int wanted = settings_.profile ? 1 : std::min(cuda::cold_buffers(layer_bytes_, device_.l2_bytes), kMostBuffers);
    if (!make_sets(wanted)) return result_;
    if (settings_.profile) {
      CUDA_CHECK(cudaProfilerStart());
      launch(0, stream_.get());
      CUDA_CHECK(cudaStreamSynchronize(stream_.get()));
      CUDA_CHECK(cudaProfilerStop());
      return result_;
    }
    result_.cold = static_cast<double>(layer_bytes_) * result_.buffers > 2.0 * static_cast<double>(device_.l2_bytes);
    const double guess = 2 + case_.bytes / kBytesPerMicrosecond;
    const int launches = static_cast<int>(std::clamp(kReplayMicroseconds / guess, 1.0, static_cast<double>(kMostLaunches)));
    result_.launches = round_up(std::max(launches, result_.buffers), result_.buffers);
    const cuda::ColdCandidate candidates[] = {
        {[this](int i, cudaStream_t s) { copy_16_bytes_a_thread(set(i).from.data(), set(i).to.data(), half_, s); }, true},
        {[this](int i, cudaStream_t s) { cuda::enqueue_copy(set(i).to.data(), set(i).from.data(), half_, s); }, true},
        {[this](int i, cudaStream_t s) { launch(i, s); }, kernel_->builds_nodes()}};
    const auto rounds = cuda::time_cold_rounds(stream_.get(), candidates, result_.buffers, settings_.rounds, result_.launches);
    result_.copy_kernel = summary(rounds[0]);
    result_.copy_node = summary(rounds[1]);
    result_.time = summary(rounds[2]);
    if (settings_.check) compare();
    return result_;
  }

 private:
  const TensorSet& set(int i) const { return sets_[static_cast<std::size_t>(i)]; }

  static BenchTime summary(const std::vector<double>& us) {
    return {cuda::median(us), *std::min_element(us.begin(), us.end()), *std::max_element(us.begin(), us.end())};
  }

  bool make_sets(int wanted) {
    std::size_t free_bytes = 0, total = 0;
    CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total));
    const std::size_t each = layer_bytes_ + 2 * half_, most = free_bytes / 20 * 19 / std::max<std::size_t>(each, 1);
    if (most == 0 || (most < static_cast<std::size_t>(wanted) && layer_bytes_ < 2 * device_.l2_bytes)) {
      result_.skipped = concat_text("needs ", static_cast<double>(each) / (1 << 30), " GiB a launch, ",
                                    static_cast<double>(free_bytes) / (1 << 30), " are free");
      return false;
    }
    result_.buffers = static_cast<int>(std::min(most, static_cast<std::size_t>(wanted)));
    for (int i = 0; i < result_.buffers; ++i) {
      TensorSet s{{}, {}, cuda::DeviceBuffer(half_), cuda::DeviceBuffer(half_)};
      auto seed = static_cast<std::uint64_t>(i) << 48;
      fill_normal(s.from.data(), DType::f32, static_cast<std::int64_t>(half_ / sizeof(float)), seed, stream_.get());
      for (const TensorSpec& spec : case_.inputs) {
        s.in.emplace_back(bytes_of(spec));
        seed += std::uint64_t{1} << 40;
        fill(s.in.back(), spec, seed);
      }
      for (const TensorSpec& spec : case_.outs) {  // NaN, so that a launch that writes nothing is seen
        s.out.emplace_back(bytes_of(spec));
        CUDA_CHECK(cudaMemsetAsync(s.out.back().data(), 0xFF, bytes_of(spec), stream_.get()));
      }
      sets_.push_back(std::move(s));
    }
    CUDA_CHECK(cudaStreamSynchronize(stream_.get()));
    return true;
  }

  void fill(const cuda::DeviceBuffer& to, const TensorSpec& spec, std::uint64_t seed) {
    if (!is_integer(spec.dtype)) return fill_normal(to.data(), spec.dtype, spec.shape.elements(), seed, stream_.get());
    std::vector<std::int64_t> values(static_cast<std::size_t>(spec.shape.elements()));
    std::uint64_t state = seed;
    for (std::int64_t& v : values) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      v = static_cast<std::int64_t>((state >> 33) % static_cast<std::uint64_t>(case_.below));
    }
    const HostTensor host(spec, values);
    CUDA_CHECK(cudaMemcpyAsync(to.data(), host.data(), host.bytes(), cudaMemcpyHostToDevice, stream_.get()));
    CUDA_CHECK(cudaStreamSynchronize(stream_.get()));
  }

  void launch(int i, cudaStream_t stream) const {
    std::vector<TensorView> in, out;
    for (std::size_t k = 0; k < case_.inputs.size(); ++k) in.emplace_back(set(i).in[k].data(), case_.inputs[k]);
    for (std::size_t k = 0; k < case_.outs.size(); ++k) out.emplace_back(set(i).out[k].data(), case_.outs[k]);
    kernel_->launch({in, out, workspace_.data()}, stream);
  }

  static HostTensor to_host(const cuda::DeviceBuffer& from, const TensorSpec& spec) {
    HostTensor host(spec);
    CUDA_CHECK(cudaMemcpy(host.data(), from.data(), host.bytes(), cudaMemcpyDeviceToHost));
    return host;
  }

  void compare() {
    std::int64_t elements = 0;
    for (const TensorSpec& spec : case_.inputs) elements += spec.shape.elements();
    if (case_.step.flops > kMostReferenceFlops || elements > kMostReferenceElements) return;
    const TensorSet& last = set(result_.buffers - 1);
    std::vector<HostTensor> in, out;
    std::vector<TensorView> in_views, out_views;
    for (std::size_t k = 0; k < case_.inputs.size(); ++k) in.push_back(to_host(last.in[k], case_.inputs[k]));
    for (const TensorSpec& spec : case_.outs) {
      out.emplace_back(TensorSpec{spec.shape, is_integer(spec.dtype) ? spec.dtype : DType::f32, spec.format});
    }
    for (const HostTensor& t : in) in_views.push_back(t.view());
    for (const HostTensor& t : out) out_views.push_back(t.view());
    const double scale = reference_step(case_.step, in_views, out_views, case_.dtype);
    const ErrorBudget budget = step_budget(case_.plan, case_.step);
    result_.share = 0;
    for (std::size_t k = 0; k < out.size(); ++k) {
      const HostTensor got = to_host(last.out[k], case_.outs[k]);
      const Difference d = is_integer(got.spec().dtype) ? difference(got.integers(), out[k].integers())
                                                        : difference(got.floats(), out[k].floats(), got.spec().dtype, budget, scale);
      result_.share = std::max(result_.share, d.share);
    }
  }

  const LayerCase& case_;
  LayerBenchSettings settings_;
  cuda::DeviceInfo device_;
  cuda::Stream stream_;
  std::size_t half_ = 0, layer_bytes_ = 0;
  LayerResult result_;
  std::vector<TensorSet> sets_;
  cuda::DeviceBuffer workspace_;
  std::unique_ptr<cuda::Kernel> kernel_;
};

}  // namespace

LayerResult bench_layer(const LayerCase& c, const LayerBenchSettings& settings) { return LayerBench(c, settings).run(); }

}  // namespace frieze::tools
