#include <frieze/graph/reference_step.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include <frieze/core/error.h>

namespace frieze {
namespace {

double max_magnitude(std::span<const float> values) {
  float largest = 0;
  for (const float v : values) {
    if (std::isfinite(v)) largest = std::max(largest, std::abs(v));
  }
  return largest;
}

double max_magnitude(const HostTensor& f32) { return max_magnitude({static_cast<const float*>(f32.data()), f32.bytes() / sizeof(float)}); }

bool takes_operand(const EpilogueOp& op) { return op.kind != EpilogueOp::Kind::activation; }

}  // namespace

double reference_step(const Step& step, std::span<const TensorView> in, std::span<const TensorView> out, DType run_dtype) {
  check<Error>(in.size() == step.inputs.size(), step.path, ": the reference of this step takes ", step.inputs.size(), " tensors, got ",
               in.size());
  check<Error>(out.size() == step.outputs.size(), step.path, ": the reference of this step makes ", step.outputs.size(), " tensors, got ",
               out.size());
  const std::span<const TensorView> own = in.first(step.layer_inputs());
  if (step.epilogue.empty()) {
    step.layer->reference({own, out, run_dtype});
    return step.layer->typical_size(own);
  }

  const TensorSpec between{out.front().shape, DType::f32, Format::nchw};
  HostTensor value(between), next;
  if (step.epilogue.size() > 1) next = HostTensor(between);
  const TensorView first[] = {value.view()};
  step.layer->reference({own, first, run_dtype});
  double scale = std::max(max_magnitude(value), step.layer->typical_size(own));
  std::size_t operand = own.size();
  for (std::size_t i = 0; i < step.epilogue.size(); ++i) {
    const FusedOp& fused = step.epilogue[i];
    TensorView inputs[2] = {value.view(), {}};
    if (takes_operand(fused.op)) inputs[1] = in[operand++];
    if (fused.op.kind == EpilogueOp::Kind::mul) scale *= max_magnitude(to_floats(inputs[1]));
    const bool last = i + 1 == step.epilogue.size();
    const TensorView made[] = {last ? out.front() : next.view()};
    fused.layer->reference({std::span(inputs, takes_operand(fused.op) ? 2 : 1), made, run_dtype});
    if (last) break;  // the output's own size is difference()'s business
    std::swap(value, next);
    scale = std::max(scale, max_magnitude(value));
  }
  return scale;
}

}  // namespace frieze
