#pragma once
/// profile: how long each step takes inside the replay, against what this device could do at best.
#include <iosfwd>
#include <string>
#include <vector>

#include <frieze/graph/session.h>

namespace frieze FRIEZE_API {

/// One step of the plan. Times in microseconds.
struct ProfileStep {
  std::string path = {}, layer = {}, algorithm = {};
  std::string output = {};  ///< "[1,64,8,8] bf16 nhwc"
  int nodes = 0;
  double us = 0;                   ///< what the step adds to a replay; on the CPU, its wall time
  double low_us = 0, high_us = 0;  ///< quartiles over the rounds
  double bytes = 0, flops = 0;     ///< the least that the step must move and compute
  double copy_us = 0;              ///< a copy that moves as many bytes takes this long; 0 if nothing was measured
  double math_us = 0;              ///< as many flops at the rate of a large matrix product
  double wait_us = 0;              ///< of `us`: from one node of the graph to the next, with nothing to do
  std::int64_t blocks = 0;         ///< of the largest grid among the step's kernels; 0 without kernels

  /// No way to do the step by itself is faster. 0 if nothing was measured.
  double floor_us() const { return copy_us > math_us ? copy_us : math_us; }
  double above_us() const { return us - floor_us(); }
  double ratio() const { return floor_us() > 0 ? us / floor_us() : 0; }
};

struct ProfileReport {
  std::string device;
  DType dtype = DType::f32;  ///< of the model's first input, and of the matrix product that was measured
  bool tf32 = false;
  bool stamped = false;    ///< times come from inside a captured graph; false: from the host's clock
  bool reference = false;  ///< the device was Device::reference()
  int rounds = 0;
  std::vector<ProfileStep> steps;                         ///< in the order in which they run
  double run_us = 0, run_low_us = 0, run_high_us = 0;     ///< one run without stamps, of several in a row
  double stamped_us = 0;                                  ///< the same with a stamp at each border
  double stamp_us = 0;                                    ///< one stamp, which is taken off each step
  double between_us = 0;                                  ///< from one replay's last node to the next one's first
  double copy_bytes_per_us = 0, cached_bytes_per_us = 0;  ///< the largest copy; the fastest that stays in the cache
  double flops_per_us = 0;                                ///< the measured matrix product
  std::int64_t product_size = 0;                          ///< its m = n = k
  int sm_count = 0;

  double sum_us() const;
  double floor_us() const;
  double wait_us() const;
  /// The share of run_us by which the steps and the way to the next replay miss it together; negative: they are less.
  double excess() const { return run_us > 0 ? (sum_us() + between_us) / run_us - 1 : 0; }
  /// Indices of steps: those that would gain most come first, by time above the floor, or by time where there is no floor.
  std::vector<std::size_t> ranking() const;

  std::string text() const;
  std::string json() const;
};
std::ostream& operator<<(std::ostream& out, const ProfileReport& report);

struct ProfileOptions {
  int rounds = 50;
};
/// Runs `net` on what its inputs hold (fill them with real data: a GPU is faster on zeros). On CUDA the steps are timed in a sibling of
/// the captured graph, which has the same kernels on the same memory and clock stamps at the borders; `net`'s own graph is replayed
/// beside it and stays as it is. The device's rates are measured in between. On the CPU steps are timed by the host's clock, and have no
/// floors. Throws OptionError if rounds is not at least 1, CudaError.
ProfileReport profile(Session& net, const ProfileOptions& options = {});

}  // namespace FRIEZE_API
