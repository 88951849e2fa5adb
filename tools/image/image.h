#pragma once
/// Pictures in and out: PNG and JPEG files to values in [0,1] and back, with their depth, transparency and colour profile.
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace frieze::tools {

/// What a file says about the meaning of its values. Nothing at all means sRGB, as everywhere.
struct ColourTags {
  std::vector<std::byte> icc;  ///< an ICC profile, for as many channels as the picture has
  /// The contents of a PNG's chunks of these names, as they stand in the file; empty where there is none.
  std::string srgb, gamma, chromaticities, cicp;

  bool empty() const { return icc.empty() && srgb.empty() && gamma.empty() && chromaticities.empty() && cicp.empty(); }
  friend bool operator==(const ColourTags&, const ColourTags&) = default;
};

/// One picture, row-major from the top left, channels interleaved: pixels[(row * width + column) * channels + channel].
/// Channels: 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha (not premultiplied). Values in [0,1]; k/255 or k/65535 exactly.
struct Image {
  int width = 0, height = 0, channels = 0;
  std::vector<float> pixels;
  int depth = 8;  ///< bits of a sample in a file of this picture: 8 or 16; fewer are read as 8
  ColourTags tags{};
  std::vector<std::string> extras{};  ///< chunks that a PNG can keep, type and data: text, the size of a pixel
  /// Clauses for the user: what the reader found wrong or changed, as "it is cut off"; and what is not kept, which matters once the picture
  /// is written.
  std::vector<std::string> notes{}, lost{};

  bool has_alpha() const { return channels == 2 || channels == 4; }
  std::size_t pixel_count() const { return static_cast<std::size_t>(width) * static_cast<std::size_t>(height); }
};

struct ReadOptions {
  long long max_pixels = 1LL << 28;  ///< larger pictures are refused, before anything is decoded
  bool strict = false;               ///< what would only be noted about a damaged file is an error
  bool pixels = true;                ///< false: only the header is read, and the picture has its extent, channels and depth alone
};

struct WriteOptions {
  int quality = 95;  ///< of a JPEG, 1 to 100
  /// What a JPEG cannot hold is given up: transparent pixels are laid over this colour, 16 bits become 8. Without it both are refused.
  std::optional<std::array<float, 3>> flatten{};
};

/// Reads a PNG (any colour type and depth, interlaced or not) or a JPEG (8 bits; baseline, progressive, arithmetic-coded; grey, RGB, CMYK).
/// The picture is upright: its EXIF orientation is applied. CMYK becomes sRGB, see colour.h. Work and memory are bounded by what the file
/// can hold: its compressed bytes are compared with the size that it claims first, and what claims much is checked to its end before there
/// is memory for it; a JPEG has at most 100 scans.
/// Throws IoError naming the file if it is missing, no regular file, empty, damaged, too large or of another format. A JPEG that ends early
/// and a PNG whose end marker is missing are read and noted, unless `strict`.
Image read_image(const std::filesystem::path& path, const ReadOptions& options = {});

/// The same from bytes in memory; `name` stands for the file in messages.
Image decode_image(std::span<const std::byte> bytes, const std::string& name, const ReadOptions& options = {});

enum class PictureFormat { png, jpeg };
/// The format that a file's name asks for: .png, .jpg or .jpeg, in any case; nullopt for other names.
std::optional<PictureFormat> format_of_name(const std::filesystem::path& path);
/// Throws OptionError listing what can be written if the name asks for something else.
PictureFormat output_format(const std::filesystem::path& path);

/// The bytes of a picture file, and what it does not keep, a clause each.
struct EncodedImage {
  std::vector<std::byte> bytes;
  std::vector<std::string> notes;
};
/// A PNG of image.depth bits or a JPEG, as the name says, with the colour tags. Values are clamped to [0,1] and rounded to the nearest
/// level. Throws OptionError for another format, a bad quality, and what a JPEG cannot hold (see WriteOptions::flatten); ShapeError if the
/// sizes do not fit together; IoError if a value is not finite or the picture is too large for the format.
EncodedImage encode_image(const Image& image, const std::filesystem::path& path, const WriteOptions& options = {});
/// Throws what encode_image would throw for a picture like this one, which needs no pixels; called before the work.
void check_can_hold(const Image& like, const std::filesystem::path& path, const WriteOptions& options = {});
/// Encodes, and writes the file as core/output_file.h does. Returns the notes.
std::vector<std::string> write_image(const std::filesystem::path& path, const Image& image, const WriteOptions& options = {});

/// The top left corner of a picture.
Image top_left(const Image& image, int width, int height);
/// Row-major [1,3,H,W] values of the colours: grey is repeated three times, alpha is left out.
std::vector<float> to_rgb_planes(const Image& image);
/// An RGB image from row-major [1,3,H,W] values; one channel gives a grey image. Throws ShapeError on a wrong count.
Image from_planes(std::span<const float> values, int channels, int height, int width);
/// `image`, made from `source`, as a picture of its kind: with its depth, colour tags, extras, and losses, and with its alpha if both have
/// the same size.
Image with_properties_of(Image image, const Image& source);

}  // namespace frieze::tools
