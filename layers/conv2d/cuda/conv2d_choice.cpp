// Which path a convolution takes: the default, what an earlier process found, or the fastest of those whose answer is right.
#include <algorithm>
#include <cstdlib>
#include <random>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/cold_timing.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/tune.h>
#include <frieze/core/error.h>
#include <frieze/core/integers.h>
#include <frieze/core/tuning_cache.h>
#include <frieze/layers/conv2d/cuda/compare.h>
#include <frieze/layers/conv2d/cuda/conv2d_paths.h>

namespace frieze::cuda {
namespace {

constexpr std::size_t kMostOffers = 10;  // of cuDNN's: it has hardly more for one convolution
constexpr int kMostBuffers = 8;
constexpr double kReplayMicroseconds = 300;  // of one graph of launches
constexpr int kMostLaunches = 32;
constexpr double kWorthwhile = 0.99;  // of the time of a path that is named earlier
constexpr double kHopeless = 1.15;    // of the best time, after the first look
constexpr int kPathSet = 3;           // raised when a path computes or runs in another way than it did

std::string key_text(const ConvProblem& p, const PrepareArgs& args) {
  const ConvGeometry& g = p.g;
  std::string text =
      concat_text("conv2d ", kPathSet, ", ", p.dtype, args.allow_tf32 ? " tf32, " : ", ", g.n, "x", g.in_c, "x", g.in_h, "x", g.in_w,
                  " -> ", g.out_c, "x", g.out_h, "x", g.out_w, ", ", g.kernel_h, "x", g.kernel_w, " stride ", g.stride_h, "x", g.stride_w,
                  " padding ", g.pad_h, "x", g.pad_w, " dilation ", g.dilation_h, "x", g.dilation_w, p.weights.has_bias ? ", bias" : "");
  for (const EpilogueOp& op : args.epilogue) {
    const bool f = op.kind == EpilogueOp::Kind::activation;
    text += f ? concat_text(", ", name(op.activation)) : op.kind == EpilogueOp::Kind::add ? ", add" : ", mul";
  }
  return text;
}

// Scratch tensors: sets of x, y and an operand that all adds and muls share, filled with normal numbers (a device draws less power on
// constants), and a second y for comparisons.
class Trial {
 public:
  Trial(const ConvProblem& p, const PrepareArgs& args)
      : p_(p),
        args_(args),
        x_bytes_(rounded(args.in[0].bytes())),
        y_bytes_(rounded(args.out[0].bytes())),
        operand_bytes_(args.in.size() > 1 ? y_bytes_ : 0) {
    const std::size_t one = x_bytes_ + y_bytes_ + operand_bytes_;
    sets_ = one > 4 * args.device->l2_bytes ? 1 : std::min(kMostBuffers, cold_buffers(one, args.device->l2_bytes));
  }
  std::size_t bytes() const { return static_cast<std::size_t>(sets_) * (x_bytes_ + y_bytes_ + operand_bytes_) + y_bytes_; }

  void make(std::size_t workspace) {
    memory_ = DeviceBuffer(bytes());
    workspace_ = DeviceBuffer(workspace);
    constexpr std::size_t kPeriod = (1 << 18) - 5;  // a prime, so that neighbouring pixels differ
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> values(kPeriod);
    for (float& v : values) v = normal(random);
    const HostTensor period({Shape{static_cast<std::int64_t>(kPeriod)}, p_.dtype, Format::nchw}, values);
    const std::size_t first = std::min(period.bytes(), bytes());
    memory_.upload(period.data(), first);
    for (std::size_t filled = first; filled < bytes(); filled *= 2) {
      CUDA_CHECK(cudaMemcpyAsync(memory_.as<char>() + filled, memory_.data(), std::min(filled, bytes() - filled), cudaMemcpyDeviceToDevice,
                                 args_.stream));
    }
    CUDA_CHECK(cudaStreamSynchronize(args_.stream));
  }

  // Keeps the expected answer, of a path that is trusted.
  void expect(const ConvPath& truth) {
    CUDA_CHECK(cudaMemsetAsync(expected(), 0xFF, y_bytes_, args_.stream));
    run(truth, 0, expected());
  }
  // Whether a path gives that answer, within twice the layer's budget: both may be off. Another path's failure leaves the stream usable.
  bool is_right(const ConvPath& path) {
    try {
      CUDA_CHECK(cudaMemsetAsync(y(0), 0xFF, y_bytes_, args_.stream));  // NaN
      run(path, 0, y(0));
      CUDA_CHECK(cudaStreamSynchronize(args_.stream));
    } catch (const CudaError&) {
      return false;
    }
    return count_far(p_.dtype, expected(), y(0), args_.out[0].shape.elements(), 2 * p_.budget.roundings * unit_roundoff(p_.dtype),
                     2 * p_.budget.terms * unit_roundoff(DType::f32), args_.stream) == 0;
  }

  // Index of the fastest; an earlier one wins against a later one that is hardly faster.
  std::size_t fastest(const std::vector<NamedConvPath>& paths) {
    std::vector<std::size_t> left(paths.size());
    for (std::size_t i = 0; i < left.size(); ++i) left[i] = i;
    const std::vector<double> first = time(paths, left, 2);
    const double best = *std::min_element(first.begin(), first.end());
    std::erase_if(left, [&](std::size_t i) { return first[i] > kHopeless * best; });
    const std::vector<double> times = left.size() > 1 ? time(paths, left, 7) : std::vector<double>(1, best);
    std::size_t winner = 0;
    for (std::size_t i = 1; i < left.size(); ++i) {
      if (times[i] < kWorthwhile * times[winner]) winner = i;
    }
    microseconds_ = times[winner];
    return left[winner];
  }
  double microseconds() const { return microseconds_; }

 private:
  static std::size_t rounded(std::int64_t bytes) { return round_up(static_cast<std::size_t>(bytes), 256); }
  char* set(int i) const { return memory_.as<char>() + static_cast<std::size_t>(i) * (x_bytes_ + y_bytes_ + operand_bytes_); }
  char* y(int i) const { return set(i) + x_bytes_; }
  char* expected() const { return set(sets_); }

  void run(const ConvPath& path, int i, void* out) const {
    const std::vector<TensorView> operands(args_.in.size() - 1, TensorView(y(i) + y_bytes_, args_.out[0]));
    path.launch(set(i), out, make_epilogue(args_.epilogue, operands), workspace_.data(), args_.stream);
  }
  std::vector<double> time(const std::vector<NamedConvPath>& paths, const std::vector<std::size_t>& which, int rounds) const {
    std::vector<ColdCandidate> candidates;
    for (const std::size_t i : which) {
      const ConvPath* const path = paths[i].path.get();
      candidates.push_back({[this, path](int buffer, cudaStream_t) { run(*path, buffer, y(buffer)); }, path->only_own_kernels()});
    }
    const double flops = 2.0 * static_cast<double>(p_.g.pixels) * p_.g.taps() * p_.g.in_c * p_.g.out_c;
    const double guess = 3 + flops / 4e8 + static_cast<double>(x_bytes_ + y_bytes_) / 2e6;
    return time_cold(args_.stream, candidates, sets_, rounds,
                     static_cast<int>(std::clamp(kReplayMicroseconds / guess, 1.0, 1.0 * kMostLaunches)));
  }

  const ConvProblem& p_;
  const PrepareArgs& args_;
  std::size_t x_bytes_, y_bytes_, operand_bytes_;
  int sets_ = 1;
  double microseconds_ = 0;
  DeviceBuffer memory_, workspace_;
};

bool fits(std::size_t bytes) {
  std::size_t free_bytes = 0, total = 0;
  CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total));
  return bytes <= free_bytes / 2;
}

// The first of cuDNN's that computes what the default does; the default if there is none.
ConvChoice first_of_cudnn(const ConvProblem& p, const PrepareArgs& args, const std::string& default_id) {
  std::unique_ptr<ConvPath> own = make_conv_path(p, args, default_id);
  Trial trial(p, args);
  if (!fits(trial.bytes())) return {std::move(own), ""};
  trial.make(std::max<std::size_t>(own->workspace_bytes(), std::size_t{64} << 20));
  trial.expect(*own);
  for (std::size_t i = 0; i < kMostOffers; ++i) {
    std::vector<NamedConvPath> offer = make_cudnn_paths(p, args, i, 1);
    if (offer.empty()) break;
    if (offer[0].path != nullptr && trial.is_right(*offer[0].path)) return {std::move(offer[0].path), " (default)"};
  }
  return {std::move(own), ""};
}

}  // namespace

CudnnUse cudnn_use() {
  const char* const value = std::getenv("FRIEZE_CUDNN");
  const std::string_view text = value != nullptr ? value : "";
  check<OptionError>(text.empty() || text == "auto" || text == "off" || text == "always", "FRIEZE_CUDNN must be off, auto or always, got '",
                     text, "'");
  return text == "off" ? CudnnUse::off : text == "always" ? CudnnUse::always : CudnnUse::automatic;
}

ConvChoice choose_conv_path(const ConvProblem& p, const PrepareArgs& args) {
  const std::vector<std::string> ids = conv_path_ids(p, args);
  const bool cudnn = cudnn_takes(p, args), always = cudnn && cudnn_use() == CudnnUse::always;
  if (!cudnn && ids.size() == 1) return {make_conv_path(p, args, ids[0]), ""};
  if (!args.tune) return first_of_cudnn(p, args, ids[0]);

  const std::string machine = tuned_machine(*args.device, cudnn ? cudnn_version_text() : "no cuDNN"),
                    key = key_text(p, args) + (always ? ", cuDNN always" : "");
  if (const auto known = tuning_cache().find(machine, key)) {
    if (std::find(ids.begin(), ids.end(), *known) != ids.end()) return {make_conv_path(p, args, *known), " (tuned, from the cache)"};
    if (auto path = cudnn ? make_cudnn_path(p, args, *known) : nullptr) return {std::move(path), " (tuned, from the cache)"};
  }

  std::vector<NamedConvPath> paths;
  for (const std::string& id : ids) paths.push_back({id, make_conv_path(p, args, id)});
  const std::size_t own = paths.size();
  std::vector<NamedConvPath> offers;
  if (cudnn) offers = make_cudnn_paths(p, args, 0, kMostOffers);
  const std::size_t offered = offers.size();
  std::erase_if(offers, [](const NamedConvPath& o) { return o.path == nullptr; });
  std::size_t workspace = 0;
  for (const auto* list : {&paths, &offers}) {
    for (const NamedConvPath& path : *list) workspace = std::max(workspace, path.path->workspace_bytes());
  }
  Trial trial(p, args);
  if (!fits(trial.bytes() + workspace)) return {std::move(paths[0].path), " (default: too large to be tuned)"};
  trial.make(workspace);
  if (!offers.empty()) trial.expect(*paths[0].path);
  for (NamedConvPath& offer : offers) {
    if (trial.is_right(*offer.path)) paths.push_back(std::move(offer));
  }
  const std::size_t right = paths.size() - own;
  if (always && right > 0) paths.erase(paths.begin(), paths.begin() + static_cast<std::ptrdiff_t>(own));
  NamedConvPath& best = paths[trial.fastest(paths)];
  CUDA_CHECK(cudaStreamSynchronize(args.stream));
  if (best.id.starts_with("cudnn ")) remember_cudnn_path(p, args, best.id, *best.path);
  tuning_cache().store(machine, key, best.id);
  std::string why = concat_text(" (fastest of ", paths.size(), ", ", static_cast<int>(trial.microseconds() + 0.5), " us");
  if (offered > right) why += concat_text("; ", offered - right, " of cuDNN's refused or wrong");
  return {std::move(best.path), why + ")"};
}

}  // namespace frieze::cuda
