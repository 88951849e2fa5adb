#pragma once
/// `frieze bench-op`: one layer timed against a copy of the same bytes. bench_op.cpp reads the options and writes the report,
/// bench_op_cuda.cpp measures; without a toolkit bench_op_none.cpp stands in.
#include <string>
#include <vector>

#include <frieze/layers/rms_norm2d/rms_norm2d.h>

namespace frieze::tools {

struct BenchCase {
  Shape shape;
  DType dtype = DType::bf16;
  Format format = Format::nchw;
};

/// "NxCxHxW" or "NxCxHxW:dtype", separated by commas; `fallback` is the type of those that name none. Throws OptionError.
std::vector<BenchCase> parse_bench_shapes(const std::string& text, DType fallback);
/// The shapes that are timed unless others are asked for, the most telling first.
const char* default_bench_shapes();

/// Microseconds per launch over the rounds.
struct BenchTime {
  double median = 0, lowest = 0, highest = 0;
  /// (highest - lowest) / median
  double spread() const { return median > 0 ? (highest - lowest) / median : 0; }
};

struct BenchResult {
  BenchCase bench_case;
  std::string kernel;                      ///< what the layer's kernel says of itself
  std::string skipped;                     ///< why nothing was measured, else empty
  int buffers = 0, launches = 0;           ///< what the timed graph holds
  bool cold = false;                       ///< false: tensors so small that 1024 buffers stay within twice the L2 cache
  BenchTime time, copy_kernel, copy_node;  ///< the layer, a plain copy kernel, cudaMemcpyAsync
  double bytes = 0;                        ///< that the layer must move at the least
  double floor_us = 0;                     ///< the better of the two copies, times 1.5 with a residual
  double max_ulp = 0;                      ///< largest error, in units of the last place at the largest summand
  double correctly_rounded = 0;            ///< share of the checked elements
  std::int64_t checked = 0;                ///< elements compared with the double-precision formula

  double ratio() const { return time.median > 0 ? floor_us / time.median : 0; }
  double gigabytes_per_second() const { return time.median > 0 ? bytes / time.median / 1e3 : 0; }
};

struct BenchSettings {
  RMSNorm2dOptions options;
  bool tune = true;
  int rounds = 15;
};

/// Times the layer cold on the current device: launches captured into one graph that goes through as many buffers of normal
/// data as exceed twice the L2 cache, interleaved with the two copies over the same buffers; then compares part of what the
/// last timed launch wrote with the formula in double. Throws CudaError.
BenchResult bench_rms_norm2d(const BenchCase& bench_case, const BenchSettings& settings);
/// One launch between cudaProfilerStart and cudaProfilerStop, for profilers that are told to wait for those.
BenchResult profile_rms_norm2d(const BenchCase& bench_case, const BenchSettings& settings);
/// Makes "cuda" or "cuda:N" current and returns the GPU's name. Throws OptionError, CudaError.
std::string use_bench_device(const std::string& device);

}  // namespace frieze::tools
