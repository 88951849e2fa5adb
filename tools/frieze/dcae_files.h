#pragma once
/// The files of `frieze dcae`: which there are, and what is in them.
#include <cstdint>
#include <string>
#include <vector>

#include <frieze/core/tensor.h>

#include "tools/frieze/dcae.h"

namespace frieze::tools {

struct DcaeFile {
  std::string in, out;  ///< out is empty if nothing is to be written
};
/// Every input with its output. A folder stands for its pictures and .safetensors files (decode: the latter only), by name.
/// The folder for several outputs need not exist yet: make_folder.
/// Throws IoError if one does not exist, a folder holds none, or an output cannot be written there; OptionError if several inputs
/// have no folder to go to, two would be written to one file, or an output has an ending of another kind.
std::vector<DcaeFile> list_files(const DcaeOptions& options);

/// Makes the folder of an output that has none. Throws IoError.
void make_folder(const std::string& out);

/// An input in f32: "image" [N,C,H,W] in [-1,1] or "latent". `height` and `width`: of the image behind a latent if its file tells, else 0.
struct DcaeInput {
  HostTensor tensor;
  std::int64_t height = 0, width = 0;
  Image picture;  ///< that the image was read from, in sRGB; without pixels for a tensor
};
/// Throws IoError, WeightsError, ShapeError naming the file. The colours that transparency hides are replaced, see with_hidden_filled.
/// Unless the caller `keeps_alpha`, transparency is an OptionError, or laid over the colour of --flatten.
DcaeInput read_image_input(const std::string& path, int channels, bool keeps_alpha, const PictureOptions& options);
DcaeInput read_latent_input(const std::string& path, int channels);

/// Writes "latent" with the size of its image in the metadata; "image", or a picture of it, by the ending of `path`.
void write_latent(const std::string& path, const HostTensor& latent, std::int64_t height, std::int64_t width);
/// `like`: the picture that it comes from, whose transparency, depth and colour tags it gets if the sizes agree.
void write_image(const std::string& path, const HostTensor& image, const Image& like, const PictureOptions& options);

/// With its last row and column repeated to multiples of `ratio`; and the top left corner of that size.
HostTensor padded(const HostTensor& image, int ratio);
HostTensor cropped(const HostTensor& image, std::int64_t height, std::int64_t width);

/// Peak signal to noise ratio in decibels of what is shown: values clamped to [-1,1]. Infinite for equal images.
double psnr(const HostTensor& a, const HostTensor& b);

}  // namespace frieze::tools
