#pragma once
/// `frieze bench-op` for any layer of `frieze op`: its kernel, cold, against a copy of as many bytes in the same rounds. bench_layer.cpp
/// makes cases of options and writes the report, bench_layer_cuda.cpp measures; without a toolkit bench_layer_none.cpp stands in.
#include <memory>
#include <string>
#include <vector>

#include <frieze/graph/plan.h>

#include "tools/frieze/bench_op.h"
#include "tools/frieze/commands.h"

namespace frieze::tools {

/// One layer on tensors of given shapes, in one type and format, with what its kernel applies at the store.
struct LayerCase {
  std::string text;                      ///< "layer_norm x=8x4096x1024 weight=1024"
  Step step;                             ///< layer and epilogue; the ids of inputs, then of operands, then of outputs count from 0
  Plan plan;                             ///< holds the specs of these values
  std::vector<TensorSpec> inputs, outs;  ///< with the operands behind the layer's own inputs
  DType dtype = DType::bf16;
  Format format = Format::nchw;
  double bytes = 0;  ///< least traffic: every input, parameter, operand and output once
  int below = 2;     ///< integer inputs hold numbers from 0 to below - 1
  double floor = 1;  ///< least time, in copies of `bytes`
};

struct LayerResult {
  std::string kernel;                      ///< what the kernel says of itself
  std::string skipped;                     ///< why nothing was measured, else empty
  int buffers = 0, launches = 0;           ///< what the timed graph holds
  bool cold = false;                       ///< false: so small that 1024 sets of tensors stay within twice the L2 cache
  BenchTime time, copy_kernel, copy_node;  ///< the layer; copies of `bytes` / 2 bytes, which move `bytes`
  double share = -1;                       ///< of the error budget that the last launch used; negative: not compared

  double copy_us() const { return std::min(copy_kernel.median, copy_node.median); }
  /// Of the least time to the layer's.
  double ratio(const LayerCase& c) const { return time.median > 0 ? c.floor * copy_us() / time.median : 0; }
};

/// The layer `entry` of the table with tensors "x=1x64x32x32", "index=4:i64", settings "key=value" and steps behind it ("silu", "add").
/// Tensors that are no parameter of the layer are its inputs, in the order given. Throws what `frieze op` would refuse, and OptionError if
/// the layer does not absorb the steps.
LayerCase make_layer_case(const std::string& layer, const std::vector<std::string>& tensors, const std::vector<std::string>& settings,
                          const std::vector<std::string>& then, DType dtype, Format format);
/// False if the layer's kernels do not run in the format, or if it is nhwc and no tensor tells it from nchw.
bool takes_format(const LayerCase& c);

/// One row of the table that `bench-op all` goes through. All tensors of a case move at least 64 MB in bf16.
struct StandardCase {
  const char* layer;
  std::vector<std::string> tensors, settings = {}, then = {};
  int below = 2;
  double floor = 1;  ///< 1.5 of a layer that reads x again after all of it, when a cache of 60 MB holds it no more
};
const std::vector<StandardCase>& standard_cases();

struct LayerBenchSettings {
  int rounds = 15;
  bool tune = true, check = true, profile = false;
};
/// Times the case on the current device; with `profile` it is launched once, between cudaProfilerStart and cudaProfilerStop. With `check`,
/// what the last timed launch wrote is compared with the reference, unless that would take seconds. Throws CudaError.
LayerResult bench_layer(const LayerCase& c, const LayerBenchSettings& settings);

/// `bench-op` for any layer but rms_norm2d, which has options and shapes of its own.
int bench_layer_command(const BenchOpOptions& options, std::ostream& out);

}  // namespace frieze::tools
