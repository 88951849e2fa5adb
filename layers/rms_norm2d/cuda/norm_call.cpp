#include <frieze/layers/rms_norm2d/cuda/norm_call.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <unordered_map>

namespace frieze::cuda {
namespace {

// Below this, squares of f32 numbers lose bits.
constexpr float kUnderflow = 0x1p-100F;

// From this eps on (in units of x^2), squares that vanish in f32 do not matter.
constexpr double kSafeEps = 1e-30;

int alignment_of(std::initializer_list<const void*> pointers) {
  std::uintptr_t bits = 16;
  for (const void* p : pointers) bits |= reinterpret_cast<std::uintptr_t>(p);
  return static_cast<int>(bits & (~bits + 1));
}

// What differs between the problems of one program; the rest is compared only.
struct ProblemHash {
  std::size_t operator()(const NormProblem& p) const noexcept {
    std::size_t hash = 0;
    for (const std::int64_t v : {p.images, p.channels, p.pixels, std::int64_t{p.alignment}, static_cast<std::int64_t>(p.dtype),
                                 static_cast<std::int64_t>(p.format), static_cast<std::int64_t>(p.chain)}) {
      hash = (hash ^ static_cast<std::size_t>(v)) * 0x9E3779B97F4A7C15U;
      hash ^= hash >> 32;
    }
    return hash;
  }
};

}  // namespace

NormFormula make_formula(const NormOptions& o, std::int64_t channels, DType dtype) {
  NormFormula f;
  const auto c = static_cast<double>(channels);
  f.channels = channels;
  f.inverse_c = static_cast<float>(1 / c);
  f.inverse_c_low = static_cast<float>(1 / c - static_cast<double>(f.inverse_c));
  f.root_c = static_cast<float>(std::sqrt(c));
  f.mode = o.mode;
  f.exact_eps = o.eps;
  f.eps = static_cast<float>(o.eps);
  f.eps_low = static_cast<float>(o.eps - static_cast<double>(f.eps));
  f.least_sum = static_cast<float>(o.eps * o.eps);
  f.clamped = o.eps > 0 ? static_cast<float>(std::sqrt(c) / o.eps) : 0.0F;
  const bool squared = o.mode == EpsMode::add_inside || o.mode == EpsMode::clamp_mean_square;
  const bool safe = o.mode != EpsMode::none && (squared ? o.eps : o.eps * o.eps) >= kSafeEps;
  f.underflow = safe ? 0.0F : kUnderflow;
  f.rounding = dtype == DType::f32 ? Rounding::once : o.rounding;
  f.first = o.first;
  f.second = o.second;
  f.residual_mode = o.residual;
  return f;
}

NormStrides contiguous_norm_strides(const NormProblem& p) {
  NormStrides s{};
  const bool nhwc = p.format == Format::nhwc;
  for (int i = 0; i < 3; ++i) {
    s.n[i] = p.channels * p.pixels;
    s.c[i] = nhwc ? 1 : p.pixels;
    s.w[i] = nhwc ? p.channels : 1;
  }
  s.width = p.pixels;
  return s;
}

NormCall make_norm_call(const TensorView& x, const TensorView& y, const TensorView* residual, const void* weight, const void* bias,
                        const NormFormula& formula, Format preferred, const DeviceInfo& device) {
  NormCall call;
  NormProblem& p = call.problem;
  p.dtype = x.dtype;
  p.images = x.shape.n();
  p.channels = x.shape.c();
  p.pixels = x.shape.h() * x.shape.w();
  p.compute_capability = device.compute_capability;
  p.sm_count = device.sm_count;
  p.threads_of_sm = device.threads_per_sm;
  p.shared_memory = device.shared_memory_per_block;
  p.shared_of_sm = device.shared_memory_per_sm;
  const auto all_in = [&](Format f) {
    return x.is_contiguous(f) && y.is_contiguous(f) && (residual == nullptr || residual->is_contiguous(f));
  };
  const Format other = preferred == Format::nchw ? Format::nhwc : Format::nchw;
  p.contiguous = all_in(preferred) || all_in(other);
  p.format = all_in(preferred) || !p.contiguous ? preferred : other;
  if (p.contiguous) {
    if (p.channels == 1) {
      p.format = Format::nchw;
    } else if (p.pixels == 1) {
      p.format = Format::nhwc;
    }
    const std::int64_t pixels = p.images * p.pixels;
    if (p.format == Format::nhwc || (p.channels == 1 && pixels <= std::int64_t{1} << 31)) {
      p.images = 1;
      p.pixels = pixels;
    }
    const void* const added = residual != nullptr ? residual->data : nullptr;
    p.alignment = alignment_of({x.data, y.data, added, weight, bias});
    const bool whole_rows = p.format == Format::nhwc || p.pixels * static_cast<std::int64_t>(size_of(p.dtype)) % 16 == 0;
    p.in_place = !whole_rows && y.data != nullptr && (y.data == x.data || y.data == added);
    call.strides = contiguous_norm_strides(p);
  } else {
    const TensorView* const views[] = {&x, &y, residual};
    for (int i = 0; i < 3; ++i) {
      const TensorView* const v = views[i];
      call.strides.n[i] = v == nullptr ? 0 : v->stride(0);
      call.strides.c[i] = v == nullptr ? 0 : v->stride(1);
      call.strides.h[i] = v == nullptr ? 0 : v->stride(2);
      call.strides.w[i] = v == nullptr ? 0 : v->stride(3);
    }
    call.strides.width = x.shape.w();
  }
  NormArgs& a = call.args;
  a.x = x.data;
  a.y = y.data;
  a.residual = residual != nullptr ? residual->data : nullptr;
  a.weight = weight;
  a.bias = bias;
  a.images = p.images;
  a.channels = p.channels;
  a.pixels = p.pixels;
  a.early_blocks = device.compute_capability >= 90 ? kMostEarlyBlocks * static_cast<unsigned>(device.sm_count) : 0;
  a.formula = formula;
  p.chain = chain_of(a);
  return call;
}

NormConfig default_norm_config(const NormProblem& problem) {
  constexpr std::size_t kMost = 4096;  // problems of a program whose shapes never end
  static std::mutex mutex;
  static std::unordered_map<NormProblem, NormConfig, ProblemHash> known;
  const std::lock_guard lock(mutex);
  if (const auto found = known.find(problem); found != known.end()) return found->second;
  if (known.size() >= kMost) known.clear();
  return known.emplace(problem, norm_candidates(problem).front()).first->second;
}

DeviceInfo as_code_runs(DeviceInfo device) {
  device.compute_capability = std::min(device.compute_capability, running_capability());
  return device;
}

const DeviceInfo& known_device(int index) {
  static std::mutex mutex;
  static std::map<int, DeviceInfo> known;
  const std::lock_guard lock(mutex);
  auto found = known.find(index);
  if (found == known.end()) found = known.emplace(index, as_code_runs(device_info(index))).first;
  return found->second;
}

}  // namespace frieze::cuda
