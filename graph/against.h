#pragma once
/// Compares a session's outputs with those of another program, usually PyTorch, for the same inputs and weights.
#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include <frieze/core/weights.h>
#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>

namespace frieze FRIEZE_API {

struct AgainstOutput {
  std::string name;
  TensorSpec spec;
  double largest = 0;             ///< magnitude among the expected values
  Difference difference;          ///< its share is of the tolerance: above 1 fails
  double psnr = 0;                ///< 20 log10((max - min of the expected values) / root mean square difference), dB; infinite if equal
  std::int64_t nan = 0, inf = 0;  ///< how many of the session's values are NaN, and Inf
  bool ok() const { return difference.share <= 1; }
};

struct AgainstReport {
  std::string device, file;
  bool tf32 = false;
  double tolerance = 0;              ///< largest difference allowed, as a share of the largest expected magnitude of the output
  bool tolerance_was_given = false;  ///< else it is derived, see AgainstOptions
  std::vector<std::string> inputs;   ///< that were taken from the file; all others were in the session's ports already
  std::vector<AgainstOutput> outputs;

  bool ok() const;
  std::string text() const;
  std::string json() const;
};
std::ostream& operator<<(std::ostream& out, const AgainstReport& report);

struct AgainstOptions {
  /// The largest difference allowed, as a share of an output's largest expected magnitude. 0: derived from the error budgets of the
  /// model's steps, see graph/BUDGETS.md.
  double tolerance = 0;
  /// Inputs that the session's ports hold already; the file must not have them.
  std::vector<std::string> given = {};
};

/// Runs `net` on the inputs in `file` and compares its outputs with the file's. The file must hold one finite tensor for each port, under
/// the port's name and of its shape, and no others. Integers must be equal.
/// Throws WeightsError naming the tensor, before anything runs; OptionError on an unknown name in `given` or a tolerance below 0.
AgainstReport verify_against(Session& net, const Weights& file, const AgainstOptions& options = {});

}  // namespace FRIEZE_API
