#pragma once
/// Autoencoder: images to latents and back, by a checkpoint that says itself what it is.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <frieze/core/tensor.h>
#include <frieze/graph/session.h>

namespace frieze FRIEZE_API {

enum class AutoencoderPart : std::uint8_t { both, encoder, decoder };

struct AutoencoderOptions {
  AutoencoderPart parts = AutoencoderPart::both;  ///< half the memory where the other half is not needed
  DType dtype = DType::f32;                       ///< of weights and values
  std::filesystem::path weights = {};             ///< a file or folder, instead of the model's own
  std::string variant = {};                       ///< of several checkpoints in a folder: "fp16"
  std::optional<std::uint64_t> random_seed = {};  ///< random weights, for speed and testing
  /// Images that go through the graph at once; 0: as many as a call brings. Otherwise a call is cut into groups of this many, and the last
  /// group is filled up with copies of its last image, which are dropped: one graph for each size of image, and an image has the same
  /// bits at every position and beside any neighbours.
  int batch = 0;
  bool tiling = false;                 ///< see enable_tiling()
  int tile_size = 0, tile_stride = 0;  ///< pixels; 0: the default
  std::size_t shapes = 8;              ///< graphs that each part keeps, the least recently used one goes
  bool check_finite = true;            ///< calls on host tensors throw NonFiniteError rather than return NaN or Inf that the model made
  CompileOptions compile = {};         ///< of every graph; max_memory is for each of them
  /// Takes what is no error, such as inputs that hold NaN themselves; nullptr: nobody hears it.
  std::function<void(std::string_view note)> on_note = nullptr;
};

/// What a checkpoint turned out to be.
struct AutoencoderInfo {
  std::string kind;              ///< its class in diffusers: "AutoencoderDC"
  std::string name;              ///< of the published variant if it is one, else the kind
  std::string weights;           ///< where they came from, for reports
  std::filesystem::path config;  ///< its config.json; empty for a published variant's name
  int image_channels = 3, latent_channels = 0;
  int ratio = 1;              ///< pixels along one edge of the patch that a latent stands for
  double scaling_factor = 1;  ///< what diffusers' pipelines multiply latents by; nothing here does
};

/// image [N,C,H,W] in [-1,1], H and W multiples of info().ratio (tiles: at least it) <-> latent [N,L,H/ratio,W/ratio], not scaled; decoded
/// images are not clamped. Any number of images of any size: a graph is compiled for each shape when it first comes. Each part (encoder,
/// decoder, both as one graph) has an engine of its own, whose graphs share one arena; the parts share the weights.
/// Not thread-safe: one thread at a time. Every member of an object that was moved from throws OptionError.
class Autoencoder {
 public:
  using Progress = std::function<void(int tiles_done, int tiles)>;

  /// `path`: a folder with config.json and weights (safetensors, sharded or not), a pipeline's folder, whose vae/ is meant, a folder of
  /// Hugging Face's cache, a config.json, a file of weights beside one; or the name of a published variant, which needs weights from
  /// elsewhere or a random_seed. Known today: AutoencoderDC (DC-AE), with diffusers' or efficientvit's names of tensors.
  /// What cannot fit is refused before memory for the weights is taken. Throws IoError, OptionError, WeightsError naming file and field or
  /// tensor; OptionError for options that fit no run on `device`.
  static Autoencoder open(const std::filesystem::path& path, Device device, AutoencoderOptions options = {});
  Autoencoder(Autoencoder&&) noexcept;
  Autoencoder& operator=(Autoencoder&&) noexcept;
  ~Autoencoder();

  const AutoencoderInfo& info() const;
  const AutoencoderOptions& options() const;
  const Device& device() const;

  /// Host tensors of any type and format; results are f32 nchw. `progress` is called after each tile, if there are several.
  /// Throws ShapeError, OptionError if this object was opened without the part that is needed, NonFiniteError, what compile() throws.
  HostTensor encode(const HostTensor& image, const Progress& progress = {});
  HostTensor decode(const HostTensor& latent, const Progress& progress = {});
  /// decode(encode(image)) as one graph; tiled, one half after the other.
  HostTensor roundtrip(const HostTensor& image, const Progress& progress = {});

  /// On memory of the device, without a copy and without waiting on CUDA: the views are bound to the graph's ports, and must stay until
  /// `stream` has done the work. Contiguous nchw, of the run's type, 16-byte aligned; all images go through the graph at once, `batch` and
  /// tiling are not heard. New addresses patch the graph, the same ones again cost nothing. What is not finite is not looked for.
  /// Throws ShapeError, DTypeError, OptionError before anything is enqueued.
  void encode(const TensorView& image, const TensorView& latent, cudaStream_t stream);
  void decode(const TensorView& latent, const TensorView& image, cudaStream_t stream);

  /// The shape of the other side. Throws ShapeError.
  Shape latent_shape(const Shape& image) const;
  Shape image_shape(const Shape& latent) const;

  /// Larger images go through tile by tile, so that memory does not grow with them: tiles of `size` pixels at every `stride`, blended where
  /// they overlap, as diffusers does. It changes results: attention and borders see one tile only. 0: 512 pixels, or the nearest multiple
  /// of the ratio below, and seven eighths of the size. Throws OptionError unless 0 < stride <= size, both multiples of the ratio.
  void enable_tiling(int size = 0, int stride = 0);
  void disable_tiling();
  /// True if an image of this size is cut into tiles.
  bool tiles(std::int64_t height, std::int64_t width) const;

  /// The graph of a part for this input (image or latent, all N at once): for verify(), profile() and receipts, or to make it before it is
  /// needed. Its ports use memory of their own.
  Session session(AutoencoderPart part, const Shape& input);
  /// What that session would hold, planned without running or compiling anything; workspaces of kernels are not in it.
  MemoryBill planned_memory(AutoencoderPart part, const Shape& input) const;

  std::size_t captures() const;      ///< graphs compiled so far
  std::int64_t arena_bytes() const;  ///< of all parts

 private:
  struct State;
  explicit Autoencoder(std::unique_ptr<State> state);
  State& state() const;
  std::unique_ptr<State> state_;
};

}  // namespace FRIEZE_API
