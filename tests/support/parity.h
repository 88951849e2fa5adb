#pragma once
/// One body for every layer's parity test: the CUDA kernel against the double-precision reference.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include <frieze/core/layer.h>

namespace frieze::test {

/// True if this build has CUDA and this machine a usable GPU.
bool has_gpu();
/// First line of every GPU test: skips it, visibly, where there is no GPU.
#define FRIEZE_NEEDS_GPU() \
  if (!::frieze::test::has_gpu()) GTEST_SKIP() << "needs a CUDA device"

/// What the inputs hold.
enum class Fill {
  normal,     ///< standard normal
  zeros,      ///< all zero
  one_hot,    ///< one channel of each pixel set, the rest zero
  constant,   ///< 0.75 everywhere
  huge,       ///< +-max_finite(T)
  subnormal,  ///< +-a few min_subnormal(T)
  mixed,      ///< normal, every 7th element scaled by 1000, every 5th by 0.001
  special,    ///< normal with NaN and +-Inf sprinkled in
};

struct ParityCase {
  std::vector<Shape> inputs;  ///< the layer's inputs; operands of the epilogue follow by themselves
  DType dtype = DType::f32;
  Format format = Format::nchw;
  Fill fill = Fill::normal;
  std::vector<EpilogueOp> epilogue = {};
  std::uint64_t seed = 1;
  std::int64_t misalign = 0;    ///< elements by which every tensor starts off its 256-byte alignment
  bool padded_strides = false;  ///< rows and planes padded: no tensor is contiguous
  bool in_place = false;        ///< output is written over input 0
  bool tune = false;            ///< let the kernel time its configurations instead of taking the default one
};

/// What a comparison found; printed on failure, kept as the worst of the run for the results file.
struct ParityReport {
  double max_abs = 0, max_rel = 0, nmse = 0;
  double max_ulp = 0;            ///< distance in units of the last place of the output type
  double share = 0;              ///< largest error / its budget: at most 1 passes
  double excess = 0;             ///< share of what the budget leaves besides the store's rounding, see Difference
  std::int64_t worst_index = 0;  ///< row-major, into [N,C,H,W]
  std::string describe;          ///< the kernel's own line
};

/// Runs layer.reference() on the host and the registered kernel on the device and compares within the layer's budget.
/// Output and workspace are NaN-poisoned, every tensor is fenced by guard bytes that must survive, inputs must be
/// unchanged, a second launch must give the same bits, and so must a replay of the launch captured into a graph, after a
/// replay with other inputs. NaN must meet NaN and Inf the same Inf; a reference past the largest finite value of the
/// output's type counts as Inf. Records failures with ADD_FAILURE.
/// `padded_strides` is for layers that take strided views: a kernel refuses others by throwing, which fails the case.
/// At the end of a test program one line per layer and type tells the worst share of the budget; with FRIEZE_RESULTS_DIR
/// set, parity_<executable>.json in that folder tells the same. FRIEZE_PARITY_SEED is added to every case's seed.
ParityReport expect_parity(const Layer& layer, const ParityCase& c);

/// Values of `fill`, each representable in `dtype`, the same for the same seed everywhere. `channels` is used by one_hot
/// only, which takes the values as one image [channels, count / channels]: fill a batch image by image.
std::vector<float> random_values(std::size_t count, std::uint64_t seed, Fill fill, DType dtype, std::int64_t channels);

/// Compares already computed values; NaN meets NaN. `budget` as in ErrorBudget.
ParityReport compare(std::span<const float> got, std::span<const float> expected, DType dtype, const ErrorBudget& budget);

}  // namespace frieze::test
