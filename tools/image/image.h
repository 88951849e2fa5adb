#pragma once
/// Photographs in and out: PNG and JPEG files to values in [0,1] and back.
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace frieze::tools {

/// One picture, row-major from the top left, channels interleaved: pixels[(row * width + column) * channels + channel].
/// Channels: 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha (not premultiplied). Values in [0,1]; k/255 or k/65535 exactly.
struct Image {
  int width = 0, height = 0, channels = 0;
  std::vector<float> pixels;

  bool has_alpha() const { return channels == 2 || channels == 4; }
};

/// Most pixels that read_image accepts (16384 x 8192), checked before anything is decoded.
inline constexpr long long kMaxImagePixels = 1LL << 27;

/// Reads a PNG (8 or 16 bits a channel, any colour type) or a JPEG. The container is checked in full first: lengths, order
/// and checksums of a PNG's chunks, the segments of a JPEG up to its end marker.
/// Throws IoError naming the file if it is missing, empty, truncated, damaged, too large or of another format.
Image read_image(const std::filesystem::path& path);

/// The same from bytes in memory; `name` stands for the file in messages.
Image decode_image(std::span<const std::byte> bytes, const std::string& name);

/// Writes an 8-bit PNG, atomically (see write_file). Values are clamped to [0,1] and rounded to the nearest of 256 levels.
/// Throws ShapeError if the sizes do not fit together, IoError if a value is not finite or the file cannot be written.
void write_png(const std::filesystem::path& path, const Image& image);

/// The same as a JPEG, which loses detail: `quality` from 1 to 100. Grey or RGB only.
void write_jpeg(const std::filesystem::path& path, const Image& image, int quality = 95);

/// Row-major [1,3,H,W] values of the colours: grey is repeated three times, alpha is left out.
std::vector<float> to_rgb_planes(const Image& image);
/// An RGB image from row-major [1,3,H,W] values; one channel gives a grey image. Throws ShapeError on a wrong count.
Image from_planes(std::span<const float> values, int channels, int height, int width);
/// `image` with the alpha of `other`, if that has one and both have the same size.
Image with_alpha_of(Image image, const Image& other);

/// All bytes of a file. Throws IoError if it is a folder, cannot be read, or is longer than `limit`.
std::vector<std::byte> read_file(const std::filesystem::path& path, std::size_t limit);
/// Writes a temporary file beside `path` and renames it at the end, so that `path` is either left alone or complete. A
/// symbolic link is followed. Throws IoError, leaving nothing behind, if `path` is a folder, a device or cannot be written.
void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes);
/// Throws the IoError that write_file would throw for a place where no file can be made; creates nothing.
void check_writable(const std::filesystem::path& path);

}  // namespace frieze::tools
