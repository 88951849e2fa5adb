#pragma once
/// Where a model runs, and how it is compiled: Device and CompileOptions.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <frieze/graph/plan.h>

namespace frieze FRIEZE_API {

class Backend;

/// Where a session runs. Sessions name their device; there is no global one.
class Device {
 public:
  /// The CPU: layers with a fast kernel for what they are given run that, in f32, all others the reference.
  static Device cpu();
  /// The double-precision Eigen reference, on any machine: the truth that verify() compares with.
  static Device reference();
  /// GPU `index`. Throws CudaError in a CPU-only build, without a driver, or without such a device.
  static Device cuda(int index = 0);
  /// How many CUDA devices this build and machine can use: 0 in a CPU-only build or without a driver.
  static int cuda_count();
  /// "cpu", "reference", "cuda" or "cuda:1". Throws OptionError.
  static Device parse(std::string_view text);

  bool is_cuda() const;
  bool is_reference() const;
  /// "cpu", "reference", or the GPU's name and index.
  std::string name() const;
  /// Throws OptionError, as the functions above do, if the device was moved from.
  const Backend& backend() const;

 private:
  explicit Device(std::shared_ptr<const Backend> backend) : backend_(std::move(backend)) {}
  std::shared_ptr<const Backend> backend_;
};

struct CompileOptions {
  PassOptions passes = {};
  bool capture = true;  ///< false: every run enqueues the steps one by one (eager)
  bool tune = true;     ///< false: default kernel configurations, nothing is timed
  /// The file that remembers what tuning found, for the next process; empty: this process alone. Processes that share one keep each other's
  /// choices, and a file that is not Frieze's is left as it is. The command line passes one in its user's home folder.
  std::string tuning_cache = {};
  bool allow_tf32 = false;   ///< f32 matrix products may use TF32; every report says so
  bool keep_values = false;  ///< the arena reuses no memory, so that every value can be read after a run
  /// Bytes that a session may hold, 0: no limit. A larger one is refused before its first run with MemoryError, which shows the bill.
  std::int64_t max_memory = 0;
  /// Called on the compiling thread while steps are prepared and tuned, with how many are ready and how many there are; the last call has
  /// both equal. Where there is nothing to prepare, on the CPU, that is the only one.
  std::function<void(int ready, int steps)> on_prepared = nullptr;
  /// Takes the warnings of compiling, of the session's life, of profile() and verify(), one line each, instead of stderr. Called on the
  /// thread that warns, never by two threads at once in the whole process; what it throws is dropped. A warning that a process gives
  /// once goes to the session that met it first.
  std::function<void(std::string_view text)> on_warning = nullptr;
};

}  // namespace FRIEZE_API
