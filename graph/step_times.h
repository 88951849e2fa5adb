#pragma once
/// What an executor measures for a profile: the time of each step inside a run, and what the device can do at best. Internal.
#include <cstdint>
#include <utility>
#include <vector>

#include <frieze/core/dtype.h>

namespace frieze {

/// Microseconds over the rounds of a measurement. `mid` is the mean of the middle half, which a coarse clock blurs less than a median.
struct Spread {
  double mid = 0, low = 0, high = 0;  ///< low and high: the quartiles
};
/// Of at least one value; zeros of none.
Spread spread_of(std::vector<double> values);

struct StepTimes {
  std::vector<Spread> steps;  ///< from one border of the plan to the next; with stamps, the cost of one is still in it
  Spread run;                 ///< one run as it is for users, without anything that measures inside
  Spread stamped_run;         ///< from the first border to the last, stamps and all
  double stamp_us = 0;        ///< what a stamp adds; 0 where the host's clock is read
  double between_us = 0;      ///< from the last node of one run to the first of the next, where runs follow each other; 0 without stamps
  int rounds = 0;
};

/// What this device does at best, as measured now in this process.
struct DeviceRates {
  struct Copy {
    double bytes = 0, us = 0;  ///< read and written together, one graph node copying the same bytes again and again
  };
  std::vector<Copy> copies;       ///< by bytes; empty where nothing was measured
  double flops_per_us = 0;        ///< of a large matrix product; 0 where nothing was measured
  std::int64_t product_size = 0;  ///< its m = n = k
  double l2_bytes = 0;
  int sm_count = 0;

  /// What a copy takes that moves as many bytes: interpolated, at the largest copy's rate beyond it. 0 if nothing was measured.
  double copy_us(double bytes) const;
};

}  // namespace frieze
