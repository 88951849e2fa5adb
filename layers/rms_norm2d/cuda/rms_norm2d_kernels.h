#pragma once
/// Internal to layers/rms_norm2d: what is computed (NormArgs), the ways to compute it (NormConfig), and their launches.
#include <cuda_runtime_api.h>

#include <cstdint>
#include <string>
#include <vector>

#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/rms_norm2d/rms_norm2d.h>
#include <frieze/layers/shared/cuda/launch_needs.h>

namespace frieze::cuda {

/// Raised whenever a kernel or the list of configurations changes, so that choices remembered in a file are made anew.
inline constexpr int kNormKernelSet = 7;

/// Most blocks of one multiprocessor that prefetch while the launch before runs.
inline constexpr unsigned kMostEarlyBlocks = 4;

/// Most channels of which nchw_few takes all that belongs to a pixel.
inline constexpr int kMostFewChannels = 8;

/// Shared memory of a multiprocessor that each of its blocks takes beside its own.
inline constexpr std::size_t kReservedShared = 1024;

/// The formula, in f32, as every kernel takes it.
struct NormFormula {
  float inverse_c = 1;      ///< 1 / C, rounded
  float inverse_c_low = 0;  ///< what the rounding lost
  float root_c = 1;         ///< sqrt(C)
  float eps = 0;            ///< add_inside, clamp_mean_square, add_to_rms
  float eps_low = 0;
  float least_sum = 0;   ///< clamp_norm: eps^2, below which r is `clamped`
  float clamped = 0;     ///< clamp_norm: sqrt(C) / eps
  double exact_eps = 0;  ///< for pixels whose sum of squares leaves the range of f32
  std::int64_t channels = 1;
  float underflow = 0;  ///< sums below are computed again, scaled; 0: eps makes them irrelevant
  EpsMode mode = EpsMode::add_inside;
  Rounding rounding = Rounding::once;  ///< `once` in f32
  Activation first = Activation::none, second = Activation::none;
  ResidualMode residual_mode = ResidualMode::none;  ///< after: second(first(t) + residual)
};

/// Pointers of one launch. `weight` and `bias`: [C] of x's type, or null.
struct NormArgs {
  const void* x = nullptr;
  const void* residual = nullptr;
  void* y = nullptr;
  const void* weight = nullptr;
  const void* bias = nullptr;
  std::int64_t images = 1, channels = 1, pixels = 1;  ///< pixels of one image
  /// Blocks that may be resident before the work in front of this launch has ended: they prefetch what they will read. At the most, that
  /// is kMostEarlyBlocks for each multiprocessor.
  unsigned early_blocks = 0;
  NormFormula formula;
};

/// What an operation has beside x * r with one rounding: nothing; weight or bias; those and SiLU, as networks have it; anything else.
/// Kernels of less hold fewer registers and instructions.
enum class NormChain : std::uint8_t { bare, affine, silu, full };

/// Element strides for the kernel that takes any: x, y, residual.
struct NormStrides {
  std::int64_t n[3], c[3], h[3], w[3];
  std::int64_t width = 1;  ///< pixel index = row * width + column
};

/// One way to compute a problem. Which fields count depends on the path.
struct NormConfig {
  enum class Path : std::uint8_t {
    nchw_tile,    ///< a block owns lanes*vector pixels and all channels, or its share of them in a cluster; registers
    nchw_window,  ///< nchw_tile wherever rows begin; of each thread's packs the last `parked` wait in shared memory
    nchw_few,     ///< a warp owns 30 * vector pixels of all channels, 2 to kMostFewChannels, wherever rows begin
    nhwc_rows,    ///< `lanes` threads own `pixels` pixels, whole rows of channels; registers
    nhwc_few,     ///< a thread owns `vector` pixels of 2 to 4 channels
    nhwc_flat,    ///< a block owns a run of whole pixels in memory, wherever their channels begin; shared memory
    strided,      ///< any strides, any C; reads x twice
  };
  Path path = Path::strided;
  int vector = 1;  ///< elements that one access moves
  int lanes = 32;  ///< nchw_tile, nchw_window: threads along the pixels; nhwc_rows, strided: threads along the channels of a pixel
  int threads = 256;
  int loads = 1;    ///< accesses of one thread for one pixel (nhwc_rows), or in all
  int pixels = 1;   ///< nhwc_rows: pixels of a thread group; nhwc_flat, nchw_window: pixels of a block
  int cluster = 1;  ///< nchw_tile, nchw_window: blocks that share a tile's channels (sm_90)
  int parked = 0;   ///< nchw_window: of the loads, those that wait in shared memory

  friend bool operator==(const NormConfig&, const NormConfig&) = default;
};
/// "nchw tile, 64 pixels x 128 channels, 256 threads x 8 loads of 16 bytes".
std::string describe(const NormConfig& config, const NormArgs& args, DType dtype);

/// What decides which configurations apply.
struct NormProblem {
  DType dtype = DType::f32;
  Format format = Format::nchw;
  bool contiguous = true;  ///< in `format`; false: only the strided path
  NormChain chain = NormChain::bare;
  std::int64_t images = 1, channels = 1, pixels = 1;
  int alignment = 16;  ///< bytes, of every pointer
  /// y is x or the residual, and rows of pixels begin anywhere: blocks that read a little of their neighbours' do not apply.
  bool in_place = false;
  int compute_capability = 0;  ///< of the code that the device runs, see running_capability()
  int sm_count = 0, threads_of_sm = 0;
  std::size_t shared_memory = 0, shared_of_sm = 0;  ///< of a block, with opt-in; of a multiprocessor

  /// Kernels but nchw_tile's, nchw_window's and nchw_few's hold fewer packs.
  bool full() const { return chain == NormChain::silu || chain == NormChain::full; }

  friend bool operator==(const NormProblem&, const NormProblem&) = default;
};
/// Every configuration that computes `problem` and that its device can launch; at least one.
std::vector<NormConfig> all_norm_configs(const NormProblem& problem);
/// Those worth timing, the default first.
std::vector<NormConfig> norm_candidates(const NormProblem& problem);

/// Enqueues `config` on `stream`. Throws CudaError.
void launch_norm(const NormConfig& config, DType dtype, const NormArgs& args, const NormStrides& strides, cudaStream_t stream);

/// What the launch of `config` needs: that is what it is launched with, and what all_norm_configs() holds against the device. `chain`:
/// chain_of() its arguments.
LaunchNeeds norm_launch_needs(const NormConfig& config, DType dtype, NormChain chain, std::int64_t images, std::int64_t channels,
                              std::int64_t pixels);
inline LaunchNeeds norm_launch_needs(const NormConfig& config, const NormProblem& p) {
  return norm_launch_needs(config, p.dtype, p.chain, p.images, p.channels, p.pixels);
}

/// Most threads of a block of nchw_tile's kernels, which hold `loads` packs a thread.
constexpr int most_tile_threads(int loads, NormChain chain) { return loads <= 4 && chain != NormChain::full ? 1024 : 512; }
/// Of nhwc_rows' kernels, which hold `held` packs of all of a thread's pixels.
constexpr int most_row_threads(int held, bool full) { return held <= 2 && !full ? 1024 : 512; }

/// The compute capability that the code of these kernels which the current device runs was compiled for: that decides whether clusters
/// work, since a device may run code of an older one. Throws CudaError.
int running_capability();

void launch_nchw_tile_f32(const NormConfig& config, const NormArgs& args, cudaStream_t stream);
void launch_nchw_tile_f16(const NormConfig& config, const NormArgs& args, cudaStream_t stream);
void launch_nchw_tile_bf16(const NormConfig& config, const NormArgs& args, cudaStream_t stream);
void launch_nchw_window(const NormConfig& config, DType dtype, const NormArgs& args, cudaStream_t stream);
void launch_nchw_few(const NormConfig& config, DType dtype, const NormArgs& args, cudaStream_t stream);
void launch_nhwc_rows(const NormConfig& config, DType dtype, const NormArgs& args, cudaStream_t stream);
void launch_nhwc_few(const NormConfig& config, DType dtype, const NormArgs& args, cudaStream_t stream);
void launch_nhwc_flat(const NormConfig& config, DType dtype, const NormArgs& args, cudaStream_t stream);
void launch_strided(const NormConfig& config, DType dtype, const NormArgs& args, const NormStrides& strides, cudaStream_t stream);

NormChain chain_of(const NormArgs& args);
/// True if the formula has anything but x * r * weight + bias with one rounding.
bool is_full(const NormFormula& formula);

}  // namespace frieze::cuda
