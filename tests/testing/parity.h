#pragma once
/// The parity harness: compares a layer's CUDA kernel with its double-precision reference, and the reference with given values. Frieze's
/// own layers are tested with it, and programs can test theirs: find_package(frieze COMPONENTS testing), then link frieze::testing. It
/// needs no test framework.
#include <iosfwd>
#include <string>
#include <vector>

#include <frieze/core/layer.h>
#include <frieze/graph/verify.h>

namespace frieze FRIEZE_API {
namespace test {

/// Empty if this build has CUDA and this machine a usable GPU, else why not: "this build has no CUDA", "no CUDA device".
std::string why_no_gpu();
inline bool has_gpu() { return why_no_gpu().empty(); }

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
  /// Row-major values of the inputs, instead of `fill`. Needed with `expected`.
  std::vector<std::vector<float>> values = {};
  /// What the layer makes of `values`, row-major, by another implementation (PyTorch): the reference is compared with it, on every machine.
  /// For cases in f32 without an epilogue.
  std::vector<float> expected = {};
};
/// "[2,3,5,7] bf16 nhwc normal +silu misaligned by 1", to tell the cases of one test apart.
std::string describe(const ParityCase& c);

/// The result of one case. Where there is a GPU, the differences are those of the kernel from the reference.
struct ParityReport : Difference {
  std::string describe = {};               ///< the kernel's own line
  std::vector<std::string> failures = {};  ///< sentences, each with the layer and the case in front; empty: passed
  std::string skipped = {};                ///< why the kernel was not run; empty: it was
  bool compared = false;                   ///< the kernel was compared with the reference
  std::string device = {};                 ///< the GPU that it ran on
  bool referenced = false;                 ///< the reference was compared with `expected`
  double reference_share = 0;              ///< its difference, as a share of the budget

  bool ok() const { return failures.empty(); }
};
/// One line for each failure; else one that says what was compared and what was skipped.
std::ostream& operator<<(std::ostream& out, const ParityReport& report);

/// Runs layer.reference() on the host, twice on differently poisoned memory, and compares it with `expected`, if there is any, within the
/// layer's budget. Where there is a GPU, runs the registered kernel on the device and compares it with the reference within the budget:
/// output and workspace are NaN-poisoned, every tensor is fenced by guard bytes that must survive, inputs must be unchanged, a second
/// launch must give the same bits, and so must a replay of the launch captured into a graph, after a replay with other inputs. NaN must
/// meet NaN and Inf the same Inf; a reference past the largest finite value of the output's type counts as Inf. What is thrown is a
/// failure. `padded_strides` is for layers that take strided views: a kernel refuses others by throwing, which fails the case.
/// FRIEZE_PARITY_SEED is added to every case's seed.
ParityReport check_parity(const Layer& layer, const ParityCase& c);

/// Values of `fill`, each representable in `dtype`, the same for the same seed everywhere. `channels` is used by one_hot
/// only, which takes the values as one image [channels, count / channels]: fill a batch image by image.
std::vector<float> random_values(std::size_t count, std::uint64_t seed, Fill fill, DType dtype, std::int64_t channels);

/// Compares already computed values; NaN meets NaN. `budget` as in ErrorBudget.
ParityReport compare(std::span<const float> got, std::span<const float> expected, DType dtype, const ErrorBudget& budget);

}  // namespace test
}  // namespace FRIEZE_API
