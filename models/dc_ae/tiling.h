#pragma once
/// Large images through DC-AE, a tile at a time: the memory of the model does not grow with the image. Off unless asked for, because it
/// changes results: attention and borders see one tile only, and neighbours are blended where they overlap.
/// Source: AutoencoderDC.tiled_encode and tiled_decode of huggingface/diffusers.
#include <functional>

#include <frieze/core/tensor.h>
#include <frieze/models/dc_ae/config.h>

namespace frieze FRIEZE_API {

/// In pixels; both multiples of the model's ratio, 0 < stride <= tile.
struct DcAeTiling {
  int tile = 512, stride = 448;
};
/// The default of 512 and 448, the latter cut to a multiple of the ratio, without which tiles do not line up.
DcAeTiling default_tiling(const DcAeConfig& config);

/// Runs the model on one tile: f32 nchw in and out.
using RunTile = std::function<HostTensor(const HostTensor& tile)>;
using TileProgress = std::function<void(int done, int total)>;

/// image [N,3,H,W] f32 of any size -> latent [N,L,floor(H/f),floor(W/f)]. Tiles start at multiples of the stride, are cut off at the
/// image's border and padded there with zeros to a multiple of f. Throws OptionError on a tiling that does not fit the model.
HostTensor tiled_encode(const HostTensor& image, const DcAeConfig& config, const DcAeTiling& tiling, const RunTile& run,
                        const TileProgress& progress = {});
/// latent [N,L,h,w] f32 -> image [N,3,h*f,w*f].
HostTensor tiled_decode(const HostTensor& latent, const DcAeConfig& config, const DcAeTiling& tiling, const RunTile& run,
                        const TileProgress& progress = {});
/// True if an image of this size is larger than a tile.
bool needs_tiles(std::int64_t height, std::int64_t width, const DcAeTiling& tiling);

}  // namespace FRIEZE_API
