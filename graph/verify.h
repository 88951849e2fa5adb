#pragma once
/// verify: the captured graph against the reference, layer by layer.
#include <cstdint>
#include <iosfwd>
#include <span>
#include <string>
#include <vector>

#include <frieze/graph/session.h>

namespace frieze FRIEZE_API {

/// Differences between a computed and a reference tensor.
struct Difference {
  double max_abs = 0;
  double max_rel = 0;  ///< max |got - ref| / max|ref|
  double max_ulp = 0;  ///< in units of the last place of the output's type at |ref|
  double nmse = 0;     ///< sum (got - ref)^2 / sum ref^2
  double share = 0;    ///< largest |got - ref| / budget; above 1 fails
  std::int64_t worst_index = 0;
  /// As `share`, without the rounding at the store, which a perfect kernel has too: what is left of the error once the result
  /// is the nearest number to something, by what is left of the budget. Says how much room a kernel's own arithmetic has.
  double excess = 0;
  double budget = 0;  ///< the largest error allowed at worst_index, or anywhere where nothing differs
};
/// Compares what was computed in type `dtype` with the unrounded reference. NaN matches NaN, an infinity itself or a
/// reference that overflows T; anything else non-finite is an infinite difference; -0 equals 0. `scale`: the largest
/// magnitude that errors come from where that is not max|ref|, as reference_step() returns it.
/// Throws ShapeError if the counts differ.
Difference difference(std::span<const float> got, std::span<const float> ref, DType dtype, const ErrorBudget& budget, double scale = 0);

/// The same for integers, which are right or wrong: a difference anywhere is a share of infinity.
Difference difference(std::span<const std::int64_t> got, std::span<const std::int64_t> ref);

/// The budget of a step with its epilogue, to be used with the scale of reference_step(). Derived in graph/BUDGETS.md.
ErrorBudget step_budget(const Plan& plan, const Step& step);

/// The budget of a step whose matrix products use TF32, which keeps 11 significant bits of an f32 factor: u = 2^-11 instead of 2^-24.
ErrorBudget widened_for_tf32(ErrorBudget budget);

struct VerifyLayer {
  std::string path, layer;
  TensorSpec spec;
  Difference isolated;            ///< the reference was given the inputs that the graph itself computed
  Difference accumulated;         ///< against a whole run of the reference; its shares say nothing, because drift has no budget
  double drift_nmse = 0;          ///< accumulated.nmse
  std::int64_t nan = 0, inf = 0;  ///< how many of the values that the graph computed are none of numbers
  /// Within its budget. NaN in both results is within it: VerifyReport::first_non_finite is about those.
  bool ok() const { return isolated.share <= 1; }
};

/// One rewrite that changed the plan: what it gives against what it took away, both in the reference and from the same inputs.
struct VerifyRewrite {
  std::string name;
  int times = 0;     ///< places where it applied
  std::string path;  ///< the step of the place where the share is largest
  Difference worst;  ///< there; f32, whatever type the run has
  bool ok() const { return worst.share <= 1; }
};

struct VerifyReport {
  std::string device;
  bool tf32 = false;
  /// Steps that did not run the reference itself. 0: there was nothing to compare with it, and the layers below say nothing.
  std::int64_t compared_steps = 0;
  std::vector<VerifyLayer> layers;
  /// What verify_rewrites() found, where the caller put it; ok() is false if one of them is wrong.
  std::vector<VerifyRewrite> rewrites;
  /// Bit for bit, over all values of the plan; on poisoned memory each time.
  bool replay_equals_eager = true, second_replay_equal = true, changed_inputs_equal = true, restored_inputs_equal = true;
  /// Every value of a session whose arena reuses memory, as `net` does, seen through taps, is that of the one that keeps them.
  bool reused_memory_equal = true;
  /// In turn with a session of one image more, on one arena, each gives what it gave alone.
  bool interleaved_equal = true;
  bool interleaved = false;  ///< false: the model takes no other batch, and was interleaved with itself on other inputs
  int replays = 0;           ///< in a row, with inputs changing in between, outputs compared each time
  bool replays_equal = true;
  std::int64_t grown_bytes = 0;  ///< of device memory over these replays, as memory_growth() counts it
  std::string first_unequal;     ///< name of the first value that broke one of these, or empty
  std::string first_divergent;   ///< module path of the first layer past its budget, or empty
  /// Path of the first layer that makes NaN or Inf, or empty. ok() is false then, unless the inputs held some: these pass through.
  std::string first_non_finite;
  std::int64_t inputs_non_finite = 0;  ///< values of the inputs that are NaN, Inf, or become it in the run's type
  double worst_share = 0, output_nmse = 0;

  bool ok() const;
  std::string text() const;
  std::string json() const;
};
std::ostream& operator<<(std::ostream& out, const VerifyReport& report);

struct VerifyOptions {
  std::uint64_t seed = 1;               ///< of the random inputs
  std::vector<HostTensor> inputs = {};  ///< the model's inputs in order, instead of random ones
  int replays = -1;                     ///< of the soak; -1: 50 on a GPU, none on the CPU, where each costs a whole reference
};
/// Compiles a sibling of `net` that keeps every value, replays it on poisoned memory and compares each value with the
/// double-precision reference, which is given the inputs that the sibling computed, row-major whatever their format. Replays
/// again, with changed inputs and with the first ones back; compares with eager runs. A second sibling, compiled as `net` is, must
/// show the same values through taps, in turn with another batch, and over `replays` replays without growing. `accumulated` compares with a
/// whole run of the reference; on the reference itself with the plan as traced, without fusion and formats. `net` only lends its plan and
/// options. Throws OptionError if `options.inputs` are not as many as the model's inputs, ShapeError if one does not fit.
VerifyReport verify(const Session& net, const VerifyOptions& options = {});

/// Proves each rewrite that optimize(traced, passes) applies on its own: at every place, the steps that it took away and those it gave get
/// the same inputs, which are what the reference of the plan before it makes there, and run in the reference, in f32. Both are exact but
/// for the rounding of each step's value, and of the parameters that the rewrite made. The budget at a place is 4 u(f32) of the size of
/// each value on either side, carried to the result by what a change of that size does to it (graph/BUDGETS.md). `options.inputs` or
/// `options.seed` give the model's inputs; the bodies of loops are given random ones. Costs one reference run, and one more of the steps
/// around each place. Throws what keeps the plan from being run; OptionError, ShapeError on inputs that do not fit; what optimize() throws.
std::vector<VerifyRewrite> verify_rewrites(const Plan& traced, const PassOptions& passes = {}, const VerifyOptions& options = {});

}  // namespace FRIEZE_API
