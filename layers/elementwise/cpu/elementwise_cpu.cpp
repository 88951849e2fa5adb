// Sums, products and scaling in f32 on the CPU: one addition or multiplication an element, so memory is the bound.
#include <algorithm>
#include <functional>

#include <frieze/core/cpu/kernel.h>
#include <frieze/core/parallel.h>
#include <frieze/layers/elementwise/elementwise.h>
#include <frieze/layers/shared/nest.h>
#include <frieze/layers/shared/views.h>

namespace frieze::cpu {

void register_cpu_elementwise(KernelRegistry& registry);

namespace {

constexpr std::int64_t kGrain = 1 << 15;  // elements that are worth a thread

template <class Op>
void row(const float* a, std::int64_t step_a, const float* b, std::int64_t step_b, float* y, std::int64_t step_y, std::int64_t count,
         Op op) {
  if (step_a == 1 && step_b == 1 && step_y == 1) {
    for (std::int64_t i = 0; i < count; ++i) y[i] = op(a[i], b[i]);
  } else if (step_a == 1 && step_b == 0 && step_y == 1) {
    const float second = *b;
    for (std::int64_t i = 0; i < count; ++i) y[i] = op(a[i], second);
  } else {
    for (std::int64_t i = 0; i < count; ++i) y[i * step_y] = op(a[i * step_a], b[i * step_b]);
  }
}

// y = op(a, b) with broadcasting, over any strides.
template <class Op>
class BinaryKernel final : public Kernel {
 public:
  void run(const RunArgs& args) const override {
    const TensorView& y = args.out[0];
    const TensorView views[] = {y, broadcast_view(args.in[0], y.shape), broadcast_view(args.in[1], y.shape)};
    const Nest nest = collapse(views);
    const NestAxis& inner = nest.axes[0];
    std::int64_t outer = 1;
    for (std::size_t i = 1; i < static_cast<std::size_t>(nest.rank); ++i) outer *= nest.axes[i].extent;
    const auto part = [&](std::int64_t line, std::int64_t first, std::int64_t count) {
      std::int64_t at[3];
      for (std::size_t k = 0; k < 3; ++k) at[k] = nest.base[k] + first * inner.stride[k];
      for (std::size_t i = 1; i < static_cast<std::size_t>(nest.rank); ++i) {
        const std::int64_t place = line % nest.axes[i].extent;
        line /= nest.axes[i].extent;
        for (std::size_t k = 0; k < 3; ++k) at[k] += place * nest.axes[i].stride[k];
      }
      row(views[1].as<const float>() + at[1], inner.stride[1], views[2].as<const float>() + at[2], inner.stride[2], y.as<float>() + at[0],
          inner.stride[0], count, Op());
    };
    if (outer == 1) {
      parallel_for(
          inner.extent, [&](std::int64_t first, std::int64_t last) { part(0, first, last - first); }, kGrain);
      return;
    }
    parallel_for(
        outer,
        [&](std::int64_t first, std::int64_t last) {
          for (std::int64_t line = first; line < last; ++line) part(line, 0, inner.extent);
        },
        std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, inner.extent)));
  }
  std::string describe() const override { return "f32 rows"; }
};

template <class L, class Op>
std::unique_ptr<Kernel> make(const L&, const PrepareArgs& args) {
  if (!args.epilogue.empty()) return nullptr;
  return std::make_unique<BinaryKernel<Op>>();
}

class ScaleKernel final : public Kernel {
 public:
  explicit ScaleKernel(float factor) : factor_(factor) {}
  void run(const RunArgs& args) const override {
    const auto* const x = args.in[0].as<const float>();
    auto* const y = args.out[0].as<float>();
    parallel_for(
        args.out[0].shape.elements(),
        [&](std::int64_t first, std::int64_t last) {
          for (std::int64_t i = first; i < last; ++i) y[i] = factor_ * x[i];
        },
        kGrain);
  }
  std::string describe() const override { return "f32 rows"; }

 private:
  float factor_;
};

std::unique_ptr<Kernel> make_scale(const Scale& layer, const PrepareArgs& args) {
  for (const Format format : {Format::nchw, Format::nhwc}) {
    if (args.epilogue.empty() && args.in_views[0].is_contiguous(format) && args.out_views[0].is_contiguous(format))
      return std::make_unique<ScaleKernel>(layer.factor());
  }
  return nullptr;
}

}  // namespace

void register_cpu_elementwise(KernelRegistry& registry) {
  registry.add<Add>(&make<Add, std::plus<float>>);
  registry.add<Mul>(&make<Mul, std::multiplies<float>>);
  registry.add<Scale>(&make_scale);
}

}  // namespace frieze::cpu
