#include <frieze/layers/rms_norm2d/cuda/norm_tuning.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <optional>
#include <random>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/cold_timing.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/tune.h>
#include <frieze/core/error.h>
#include <frieze/core/host_memory.h>
#include <frieze/core/integers.h>
#include <frieze/core/tuning_cache.h>

namespace frieze::cuda {
namespace {

constexpr int kMostBuffers = 64;              // tensors so small that more of them fit into the cache are bound by their launches
constexpr double kBytesPerMicrosecond = 2e6;  // for a guess of the time
constexpr double kReplayMicroseconds = 200;   // of one graph
constexpr int kMostLaunches = 64;
constexpr double kWorthwhile = 0.995;  // of the default's time
constexpr double kHopeless = 1.1;      // of the best time, after the first look

// "2^10" for 513 to 1024.
std::string power_above(std::int64_t v) { return concat_text("2^", std::bit_width(static_cast<std::uint64_t>(v - 1))); }

// Sets of x, y and residual in one allocation. x and residual hold normal numbers: a device draws less power on zeros.
class Buffers {
 public:
  Buffers(const NormProblem& p, bool residual, const DeviceInfo& device) {
    elements_ = static_cast<std::size_t>(p.images * p.channels * p.pixels);
    size_ = size_of(p.dtype);
    bytes_ = round_up(elements_ * size_, 256);
    tensors_ = residual ? 3 : 2;
    // A tensor beyond the cache leaves nothing of its beginning there; others take turns.
    count_ = bytes_ > 4 * device.l2_bytes ? 1 : std::min(kMostBuffers, cold_buffers(bytes_, device.l2_bytes));
  }
  std::size_t total() const { return static_cast<std::size_t>(count_) * tensors_ * bytes_; }
  int count() const { return count_; }
  double bytes_moved() const { return static_cast<double>(tensors_ * bytes_); }

  void make(DType t, cudaStream_t stream) {
    memory_ = DeviceBuffer(total());
    constexpr std::size_t kPeriod = (1 << 18) - 5;  // a prime, so that neighbouring rows of pixels differ
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> values(std::min(kPeriod, elements_));
    for (float& v : values) v = normal(random);
    const HostTensor period({Shape{static_cast<std::int64_t>(values.size())}, t, Format::nchw}, values);
    memory_.upload(period.data(), period.bytes());
    for (std::size_t filled = period.bytes(); filled < total(); filled *= 2) {
      CUDA_CHECK(cudaMemcpyAsync(memory_.as<char>() + filled, memory_.data(), std::min(filled, total() - filled), cudaMemcpyDeviceToDevice,
                                 stream));
    }
    CUDA_CHECK(cudaStreamSynchronize(stream));
  }
  NormArgs args(const NormArgs& base, int buffer) const {
    NormArgs a = base;
    char* const set = memory_.as<char>() + static_cast<std::size_t>(buffer) * tensors_ * bytes_;
    a.x = set;
    a.y = set + bytes_;
    a.residual = tensors_ == 3 ? set + 2 * bytes_ : nullptr;
    return a;
  }

 private:
  std::size_t elements_, size_, bytes_, tensors_;
  int count_;
  DeviceBuffer memory_;
};

class Search {
 public:
  Search(const NormCall& call, const Buffers& buffers, cudaStream_t stream) : call_(call), buffers_(buffers), stream_(stream) {}

  // Index of the winner among `configs`.
  std::size_t run(std::span<const NormConfig> configs) {
    std::vector<std::size_t> left;
    for (std::size_t i = 0; i < configs.size(); ++i) {
      if (runs(configs[i])) left.push_back(i);
    }
    check<CudaError>(!left.empty() && left[0] == 0,
                     "RMSNorm2d's default configuration cannot be launched: ", describe(configs[0], call_.args, call_.problem.dtype));
    const std::vector<double> first = time(configs, left, 2);
    const double best = *std::min_element(first.begin(), first.end());
    std::vector<std::size_t> close;
    for (std::size_t i = 0; i < left.size(); ++i) {
      if (left[i] == 0 || first[i] <= kHopeless * best) close.push_back(left[i]);
    }
    if (close.size() == 1) return 0;
    const std::vector<double> times = time(configs, close, microseconds() < 1000 ? 9 : 5);
    const auto fastest = static_cast<std::size_t>(std::min_element(times.begin(), times.end()) - times.begin());
    return times[fastest] < kWorthwhile * times[0] ? close[fastest] : 0;
  }

 private:
  double microseconds() const { return 2 + buffers_.bytes_moved() / kBytesPerMicrosecond; }

  void launch(const NormConfig& config, int buffer, cudaStream_t stream) const {
    launch_norm(config, call_.problem.dtype, buffers_.args(call_.args, buffer), call_.strides, stream);
  }
  bool runs(const NormConfig& config) const {
    try {
      launch(config, 0, stream_);
      return true;
    } catch (const CudaError& e) {
      const std::string text =
          concat_text("left out of the tuning: RMSNorm2d, ", describe(config, call_.args, call_.problem.dtype), ": ", e.what());
      log_warning(text.c_str());
      return false;
    }
  }
  std::vector<double> time(std::span<const NormConfig> configs, std::span<const std::size_t> which, int rounds) const {
    std::vector<ColdCandidate> candidates;
    for (const std::size_t i : which) {
      candidates.push_back({[this, config = configs[i]](int buffer, cudaStream_t stream) { launch(config, buffer, stream); }, true});
    }
    const int launches = static_cast<int>(std::clamp(kReplayMicroseconds / microseconds(), 1.0, static_cast<double>(kMostLaunches)));
    return time_cold(stream_, candidates, buffers_.count(), rounds, launches);
  }

  const NormCall& call_;
  const Buffers& buffers_;
  cudaStream_t stream_;
};

// The candidate that the cache names, if it is one.
std::optional<NormConfig> remembered(std::span<const NormConfig> candidates, const std::string& machine, const std::string& key) {
  const std::optional<std::string> text = tuning_cache().find(machine, key);
  if (!text) return std::nullopt;
  const auto found = std::find_if(candidates.begin(), candidates.end(), [&](const NormConfig& c) { return norm_config_text(c) == *text; });
  return found != candidates.end() ? std::optional(*found) : std::nullopt;
}

}  // namespace

std::string norm_config_text(const NormConfig& c) {
  const auto& [path, vector, lanes, threads, loads, pixels, cluster, parked] = c;  // all there are
  const char* const names[] = {"nchw_tile", "nchw_window", "nchw_few", "nhwc_rows", "nhwc_few", "nhwc_flat", "strided"};
  return concat_text(names[static_cast<std::size_t>(path)], " vector=", vector, " lanes=", lanes, " threads=", threads, " loads=", loads,
                     " pixels=", pixels, " cluster=", cluster, " parked=", parked);
}

std::string norm_class_text(const NormCall& call) {
  const NormProblem& p = call.problem;
  const auto size = static_cast<std::int64_t>(size_of(p.dtype));
  const bool residual = call.args.formula.residual_mode != ResidualMode::none;
  const char* const names[] = {"bare", "affine", "silu", "full"};
  const std::int64_t row = p.format == Format::nhwc ? p.channels : p.pixels;  // what lies without a gap
  return concat_text("rms_norm2d ", kNormKernelSet, ", ", p.dtype, ' ', p.format, ", ", p.channels, " channels, up to ",
                     power_above(p.images), " x ", power_above(p.pixels), " pixels, rows of ",
                     std::gcd<std::int64_t>(row * size, std::int64_t{p.alignment}), " bytes, ", names[static_cast<std::size_t>(p.chain)],
                     residual ? " with residual" : "");
}

NormChoice choose_norm(const NormCall& call, bool tune, const DeviceInfo& device, cudaStream_t stream) {
  if (!tune) return {default_norm_config(call.problem), "default"};
  const std::vector<NormConfig> candidates = norm_candidates(call.problem);
  if (candidates.size() == 1) return {candidates[0], "default: the only one"};
  const std::string machine = tuned_machine(device), key = norm_class_text(call);
  if (const auto known = remembered(candidates, machine, key)) return {*known, "tuned, from the cache"};

  Buffers buffers(call.problem, call.args.formula.residual_mode != ResidualMode::none, device);
  std::size_t free_bytes = 0, total = 0;
  CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total));
  if (buffers.total() > free_bytes / 2) {
    return {candidates[0], concat_text("default: not tuned, that takes ", readable_bytes(static_cast<std::int64_t>(buffers.total())),
                                       " of ", readable_bytes(static_cast<std::int64_t>(free_bytes)), " free")};
  }
  buffers.make(call.problem.dtype, stream);
  const std::size_t winner = Search(call, buffers, stream).run(candidates);
  tuning_cache().store(machine, key, norm_config_text(candidates[winner]));
  return {candidates[winner], concat_text(winner == 0 ? "tuned: the default, of " : "tuned: fastest of ", candidates.size())};
}

}  // namespace frieze::cuda
