#pragma once
/// Pictures of any size through the denoiser: padded to its stride, cut into overlapping tiles where they are large.
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <frieze/core/size2d.h>
#include <frieze/graph/session.h>
#include <frieze/models/denoiser/denoiser.h>

namespace frieze FRIEZE_API {

/// Row-major [C,H,W] planes continued to the right and below by their own mirror image (the border pixel is not repeated; a
/// picture of one row or column repeats it). `to` is at least `from` in both directions.
std::vector<float> padded(std::span<const float> planes, Size2d from, Size2d to);

/// Gives back a share of what was removed from `noisy`, so that the removed has a root mean square of at most `sigma`.
/// `weights`: how much each pixel of a plane counts in that mean, at least 0; all the same if there are none.
/// Throws ShapeError unless both have one size, of whole planes.
void limit_removed(std::span<const float> noisy, std::vector<float>& denoised, double sigma, std::span<const float> weights = {});

/// One tile along one axis: it begins at `begin`; weights[i] is its share of pixel begin + i.
struct TileSpan {
  int begin = 0;
  std::vector<float> weights;
};
/// Tiles of `tile` pixels, evenly spread over `extent` >= tile pixels at multiples of `stride`, which divides all three numbers; neighbours
/// sharing at least `overlap` <= tile / 2. Shares of one pixel add up to 1; they are 0 in the outer 3/8 of an overlap, where a tile knows
/// too little of what surrounds it.
std::vector<TileSpan> tile_spans(int extent, int tile, int overlap, int stride);

struct DenoiseOptions {
  DType dtype = DType::f32;
  int tile = 1024;              ///< longest side of what runs at once, a multiple of 16, at least 256
  std::int64_t max_memory = 0;  ///< bytes on the device for weights, arena and ports; 0: no limit. Tiles shrink until they fit.
  std::size_t shapes = 4;       ///< sessions that are kept for further pictures of their shape
  bool allow_tf32 = false;
  bool tune = true;               ///< false: default kernels, so that a session is made in less time
  std::string tuning_cache = {};  ///< as in CompileOptions
  PassOptions passes = {};        ///< as in CompileOptions
};

/// The denoiser with its trained weights on one device. One graph for each shape of tile: a picture needs one shape.
/// Results of tiles are blended, so that no seam shows: with trained weights the result differs from that of the whole picture by
/// less than half a level of 255. The last sum, of the picture and what the network changes in it, is made in f32 on the host and is not
/// rounded to the type of the run. Memory of the device is bounded by the tile, not by the picture. Not thread-safe.
/// Throws OptionError on a bad tile, and if not even the smallest tile fits `max_memory`.
class PhotoDenoiser {
 public:
  using Progress = std::function<void(std::int64_t tiles_done, std::int64_t tiles)>;

  PhotoDenoiser(Device device, DenoiseOptions options = {});

  /// RGB planes [3,H,W] in [0,1] -> the same without noise, not clamped. Throws ShapeError if the planes do not fit the extent.
  std::vector<float> operator()(std::span<const float> planes, Size2d extent, const Progress& progress = {});

  /// Makes the session that a picture of this size needs, if there is none; otherwise the first picture does.
  void prepare(Size2d extent) { engine_.session(session_key(extent)); }
  /// The shape of the tiles for a picture of this size.
  Size2d tile_for(Size2d extent) const;
  /// Bytes that a session of this shape holds, planned without running anything; what CUDA libraries need beside the plan is
  /// known only once it is compiled.
  std::int64_t planned_bytes(Size2d tile) const;
  std::size_t captures() const { return engine_.captures(); }

 private:
  std::vector<InputSpec> session_key(Size2d extent) const;

  Device device_;
  DenoiseOptions options_;
  Denoiser model_{DenoiserOutput::change};
  Engine engine_;
};

}  // namespace FRIEZE_API
