// RMSNorm2d in f32 on the CPU. Sums are in double, so that squares neither overflow nor underflow, and every value is rounded once.
#include <algorithm>
#include <array>
#include <vector>

#include <frieze/core/cpu/kernel.h>
#include <frieze/core/error.h>
#include <frieze/core/integers.h>
#include <frieze/core/parallel.h>
#include <frieze/layers/rms_norm2d/cpu/inverse_rms.h>

namespace frieze::cpu {

void register_cpu_rms_norm2d(KernelRegistry& registry);

namespace {

constexpr std::int64_t kRun = 256;  // neighbouring values that go through a chain together

class NormKernel final : public Kernel {
 public:
  NormKernel(const RMSNorm2d& layer, const PrepareArgs& args)
      : options_(layer.options()),
        nhwc_(args.format == Format::nhwc),
        weight_(static_cast<std::size_t>(layer.channels()), 1.0),
        bias_(static_cast<std::size_t>(layer.channels()), 0.0) {
    if (const Parameter* w = layer.weight()) weight_.assign(w->values.begin(), w->values.end());
    if (const Parameter* b = layer.bias()) bias_.assign(b->values.begin(), b->values.end());
    if (options_.activation != Activation::none) chain_.push_back({.activation = options_.activation});
    if (options_.residual == ResidualMode::after) chain_.push_back({.kind = EpilogueOp::Kind::add});
    chain_.insert(chain_.end(), args.epilogue.begin(), args.epilogue.end());
  }

  void run(const RunArgs& args) const override {
    const Shape& s = args.in[0].shape;
    const std::int64_t channels = s.c(), pixels = s.h() * s.w();
    if (nhwc_ || pixels == 1) {
      const std::int64_t grain = std::max<std::int64_t>(1, 16384 / channels);
      parallel_for(
          s.n() * pixels,
          [&](std::int64_t first, std::int64_t last) {
            for (std::int64_t p = first; p < last; ++p) pixel(args, p * channels, channels);
          },
          grain);
      return;
    }
    const std::int64_t runs = ceil_div(pixels, kRun);
    parallel_for(s.n() * runs, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) {
        const std::int64_t at = i % runs * kRun;
        planes(args, i / runs * channels * pixels + at, channels, pixels, std::min(kRun, pixels - at));
      }
    });
  }
  std::size_t weight_bytes() const override { return (weight_.size() + bias_.size()) * sizeof(double); }
  std::string describe() const override { return nhwc_ ? "f32, a pixel after the other" : "f32, runs of pixels"; }

 private:
  // The first value that the norm sees of `count` neighbours from `at` on.
  void load(const RunArgs& args, std::int64_t at, std::int64_t count, float* to) const {
    const float* const x = args.in[0].as<const float>() + at;
    if (options_.residual != ResidualMode::before) {
      std::copy(x, x + count, to);
      return;
    }
    const float* const residual = args.in[1].as<const float>() + at;
    for (std::int64_t i = 0; i < count; ++i) to[i] = x[i] + residual[i];
  }

  // Behind the norm: `v` of `count` neighbours from `at` on.
  void store(const RunArgs& args, std::int64_t at, std::int64_t count, double* v) const {
    std::size_t operand = options_.residual == ResidualMode::before ? 2 : 1;
    for (const EpilogueOp& op : chain_) {
      if (op.kind == EpilogueOp::Kind::activation) {
        for (std::int64_t i = 0; i < count; ++i) v[i] = activate(op.activation, v[i], op.parameter);
        continue;
      }
      const float* const with = args.in[operand++].as<const float>() + at;
      if (op.kind == EpilogueOp::Kind::add) {
        for (std::int64_t i = 0; i < count; ++i) v[i] += static_cast<double>(with[i]);
      } else {
        for (std::int64_t i = 0; i < count; ++i) v[i] *= static_cast<double>(with[i]);
      }
    }
    float* const y = args.out[0].as<float>() + at;
    for (std::int64_t i = 0; i < count; ++i) y[i] = static_cast<float>(v[i]);
  }

  double inverse(double sum, std::int64_t channels) const {
    return inverse_rms(options_.eps_mode, *options_.eps, sum, static_cast<double>(channels));
  }

  void pixel(const RunArgs& args, std::int64_t at, std::int64_t channels) const {
    std::array<float, kRun> part;
    std::array<double, 8> sums{};
    for (std::int64_t c = 0; c < channels; c += kRun) {
      const std::int64_t count = std::min(kRun, channels - c);
      load(args, at + c, count, part.data());
      std::int64_t i = 0;
      for (; i + 8 <= count; i += 8) {
        for (std::int64_t k = 0; k < 8; ++k) {
          const double v = static_cast<double>(part[static_cast<std::size_t>(i + k)]);
          sums[static_cast<std::size_t>(k)] += v * v;
        }
      }
      for (; i < count; ++i)
        sums[0] += static_cast<double>(part[static_cast<std::size_t>(i)]) * static_cast<double>(part[static_cast<std::size_t>(i)]);
    }
    double sum = 0;
    for (const double s : sums) sum += s;
    const double r = inverse(sum, channels);
    std::array<double, kRun> v;
    for (std::int64_t c = 0; c < channels; c += kRun) {
      const std::int64_t count = std::min(kRun, channels - c);
      if (channels > kRun) load(args, at + c, count, part.data());
      const double *const w = weight_.data() + c, *const b = bias_.data() + c;
      for (std::int64_t i = 0; i < count; ++i) {
        const auto k = static_cast<std::size_t>(i);
        v[k] = static_cast<double>(part[k]) * r * w[i] + b[i];
      }
      store(args, at + c, count, v.data());
    }
  }

  void planes(const RunArgs& args, std::int64_t at, std::int64_t channels, std::int64_t pixels, std::int64_t count) const {
    std::array<float, kRun> part;
    std::array<double, kRun> r{}, v;
    for (std::int64_t c = 0; c < channels; ++c) {
      load(args, at + c * pixels, count, part.data());
      for (std::int64_t i = 0; i < count; ++i) {
        const auto k = static_cast<std::size_t>(i);
        r[k] += static_cast<double>(part[k]) * static_cast<double>(part[k]);
      }
    }
    for (std::int64_t i = 0; i < count; ++i) r[static_cast<std::size_t>(i)] = inverse(r[static_cast<std::size_t>(i)], channels);
    for (std::int64_t c = 0; c < channels; ++c) {
      load(args, at + c * pixels, count, part.data());
      const double w = weight_[static_cast<std::size_t>(c)], b = bias_[static_cast<std::size_t>(c)];
      for (std::int64_t i = 0; i < count; ++i) {
        const auto k = static_cast<std::size_t>(i);
        v[k] = static_cast<double>(part[k]) * r[k] * w + b;
      }
      store(args, at + c * pixels, count, v.data());
    }
  }

  RMSNorm2dOptions options_;
  bool nhwc_;
  std::vector<double> weight_, bias_;
  std::vector<EpilogueOp> chain_;
};

std::unique_ptr<Kernel> make(const RMSNorm2d& layer, const PrepareArgs& args) {
  for (const auto& views : {args.in_views, args.out_views}) {
    for (const TensorView& view : views) {
      if (!view.is_contiguous(args.format)) return nullptr;
    }
  }
  return std::make_unique<NormKernel>(layer, args);
}

}  // namespace

void register_cpu_rms_norm2d(KernelRegistry& registry) { registry.add<RMSNorm2d>(&make); }

}  // namespace frieze::cpu
