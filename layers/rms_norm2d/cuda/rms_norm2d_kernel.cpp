// RMSNorm2d on the GPU: the layer's kernel, and the direct call.
#include <algorithm>
#include <cmath>
#include <numeric>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/error.h>
#include <frieze/layers/rms_norm2d/cuda/rms_norm2d_kernels.h>

namespace frieze::cuda {
namespace {

// Below this, squares of f32 numbers lose bits.
constexpr float kUnderflow = 0x1p-100F;

// From this eps on (in units of x^2), squares that vanish in f32 do not matter.
constexpr double kSafeEps = 1e-30;

struct NormOptions {
  double eps = 1e-5;
  EpsMode mode = EpsMode::add_inside;
  Rounding rounding = Rounding::once;
  Activation first = Activation::none, second = Activation::none;
  ResidualMode residual = ResidualMode::none;
};

NormFormula make_formula(const NormOptions& o, std::int64_t channels, DType dtype) {
  NormFormula f;
  const auto c = static_cast<double>(channels);
  f.channels = channels;
  f.inverse_c = static_cast<float>(1 / c);
  f.root_c = static_cast<float>(std::sqrt(c));
  f.mode = o.mode;
  f.exact_eps = o.eps;
  f.eps = static_cast<float>(o.eps);
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

int alignment_of(std::initializer_list<const void*> pointers) {
  std::uintptr_t bits = 16;
  for (const void* p : pointers) bits |= reinterpret_cast<std::uintptr_t>(p);
  return static_cast<int>(bits & (~bits + 1));
}

NormProblem problem_of(const NormArgs& args, DType dtype, Format format, bool contiguous, const DeviceInfo& device) {
  NormProblem p;
  p.dtype = dtype;
  p.format = format;
  p.contiguous = contiguous;
  p.full = is_full(args.formula);
  p.images = args.images;
  p.channels = args.channels;
  p.pixels = args.pixels;
  p.alignment = alignment_of({args.x, args.residual, args.y, args.weight, args.bias});
  p.compute_capability = device.compute_capability;
  p.sm_count = device.sm_count;
  return p;
}

// What absorbs() agreed to, laid over the layer's own options: second(first(t) + residual).
NormOptions with_chain(const RMSNorm2dOptions& own, std::span<const EpilogueOp> chain) {
  NormOptions o{own.eps, own.eps_mode, own.rounding, own.activation, Activation::none, own.residual};
  for (const EpilogueOp& op : chain) {
    if (op.kind == EpilogueOp::Kind::add) {
      o.residual = ResidualMode::after;
    } else if (o.first == Activation::none && o.residual != ResidualMode::after) {
      o.first = op.activation;
    } else {
      o.second = op.activation;
    }
  }
  return o;
}

class RMSNorm2dKernel final : public Kernel {
 public:
  RMSNorm2dKernel(const RMSNorm2d& layer, const PrepareArgs& prepare) : dtype_(prepare.out.dtype), device_(*prepare.device) {
    const Shape& shape = prepare.in[0].shape;
    format_ = prepare.out.format;
    args_.images = shape.n();
    args_.channels = shape.c();
    args_.pixels = shape.h() * shape.w();
    args_.formula = make_formula(with_chain(layer.options(), prepare.epilogue), shape.c(), dtype_);
    if (layer.weight() != nullptr) weight_ = to_device(layer.weight()->values, dtype_);
    if (layer.bias() != nullptr) bias_ = to_device(layer.bias()->values, dtype_);
    args_.weight = weight_.data();
    args_.bias = bias_.data();
    config_ = norm_candidates(problem_of(args_, dtype_, format_, true, device_)).front();
  }

  void launch(const LaunchArgs& launch, cudaStream_t stream) const override {
    NormArgs args = args_;
    args.x = launch.in[0].data;
    args.y = launch.out.data;
    args.residual = launch.in.size() > 1 ? launch.in[1].data : nullptr;
    const NormProblem problem = problem_of(args, dtype_, format_, true, device_);
    // The plan's tensors are aligned; a port bound to other memory may not be.
    if (problem.alignment >= 16) return launch_norm(config_, dtype_, args, {}, stream);
    launch_norm(norm_candidates(problem).front(), dtype_, args, {}, stream);
  }
  std::size_t weight_bytes() const override { return weight_.bytes() + bias_.bytes(); }
  std::string describe() const override { return cuda::describe(config_, args_, dtype_); }

 private:
  DType dtype_;
  Format format_ = Format::nchw;
  DeviceInfo device_;
  NormArgs args_;
  DeviceBuffer weight_, bias_;
  NormConfig config_;
};

std::unique_ptr<Kernel> make_rms_norm2d(const RMSNorm2d& layer, const PrepareArgs& args) {
  return std::make_unique<RMSNorm2dKernel>(layer, args);
}

}  // namespace

void register_rms_norm2d(KernelRegistry& registry);
void register_rms_norm2d(KernelRegistry& registry) { registry.add<RMSNorm2d>(&make_rms_norm2d); }

}  // namespace frieze::cuda
