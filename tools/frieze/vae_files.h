#pragma once
/// The files of `frieze vae`: which there are, and what is in them.
#include <cstdint>
#include <string>
#include <vector>

#include <frieze/core/tensor.h>

#include "tools/frieze/batch.h"
#include "tools/frieze/vae.h"

namespace frieze::tools {

/// Every input with its output. A folder stands for its pictures and .safetensors files (decode: the latter only), by name.
/// Throws as list_batch() does; OptionError if a file that is named itself, or an output, has an ending of another kind.
Batch list_files(const VaeOptions& options, Outputs& outputs);

/// An input in f32: "image" [N,C,H,W] in [-1,1] or "latent". `height` and `width`: of the image behind a latent if its file tells, else 0.
struct VaeInput {
  HostTensor tensor;
  std::int64_t height = 0, width = 0;
  Image picture;  ///< that the image was read from, in sRGB; without pixels for a tensor
};
/// Throws IoError, WeightsError, ShapeError naming the file. The colours that transparency hides are replaced, see with_hidden_filled.
/// Unless the caller `keeps_alpha`, transparency is an OptionError, or laid over the colour of --flatten.
VaeInput read_image_input(const std::string& path, int channels, bool keeps_alpha, const PictureOptions& options);
VaeInput read_latent_input(const std::string& path, int channels);

/// Writes "latent" with the size of its image in the metadata; "image", or a picture of it, by the ending of `path`.
void write_latent(OutputFile& to, const HostTensor& latent, std::int64_t height, std::int64_t width);
/// `like`: the picture that it comes from, whose transparency, depth and colour tags it gets if the sizes agree.
void write_image(Outputs& outputs, const std::string& path, const HostTensor& image, const Image& like, const PictureOptions& options);

/// With its last row and column repeated to multiples of `ratio`; and the top left corner of that size.
HostTensor padded(const HostTensor& image, int ratio);
HostTensor cropped(const HostTensor& image, std::int64_t height, std::int64_t width);

/// Peak signal to noise ratio in decibels of what is shown: values clamped to [-1,1]. Infinite for equal images.
double psnr(const HostTensor& a, const HostTensor& b);

}  // namespace frieze::tools
