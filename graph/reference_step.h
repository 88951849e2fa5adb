#pragma once
/// One fused step on host tensors: what the CPU executor runs and what verify compares with.
#include <span>

#include <frieze/graph/plan.h>

namespace frieze {

/// Runs `step.layer->reference`, then the reference of each absorbed operation, on host memory. `in` holds the layer's
/// inputs, then one operand per add/mul of the epilogue, in the order of `step.inputs`, `out` every output; any strides and types. Values
/// in between are f32, so that the chain is rounded to the output's type once, at its end, as a kernel does. `out` must not overlap
/// any of `in`. Parameters are rounded to `run_dtype`.
///
/// Returns the scale of the chain's f32 error, for difference(): the layer's largest finite |value|, or its typical size if that is more,
/// grown by every value that followed and multiplied by max|operand| at each mul. Without epilogue the layer's typical size alone, as
/// difference() knows the output.
///
/// Throws Error if the number of tensors is not that of the step.
double reference_step(const Step& step, std::span<const TensorView> in, std::span<const TensorView> out, DType run_dtype);

}  // namespace frieze
