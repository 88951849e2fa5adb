#pragma once
/// The readers and writers behind image.h, one pair for each format.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "tools/image/image.h"

namespace frieze::tools {

/// Complaints of a C library. Its callbacks must not throw through the library's frames, so this neither allocates nor throws.
class Complaints {
 public:
  void add(const char* text) noexcept {
    if (count_++ == 0) std::snprintf(first_.data(), first_.size(), "%s", text == nullptr ? "no reason given" : text);
  }
  void clear() noexcept { count_ = 0, first_[0] = '\0'; }
  int count() const noexcept { return count_; }
  /// The first one, fit for one line; and how many followed.
  std::string text() const;

 private:
  std::array<char, 200> first_{};
  int count_ = 0;
};

/// Throws IoError unless the picture has pixels, and no more than the options allow.
void check_extent(long long width, long long height, const std::string& name, const ReadOptions& options);

/// Samples of 8 or 16 bits, in the machine's own order, as values in [0,1].
template <class Sample>
std::vector<float> to_values(std::span<const Sample> samples) {
  constexpr float kScale = static_cast<float>(static_cast<Sample>(-1));
  std::vector<float> values(samples.size());
  for (std::size_t i = 0; i < samples.size(); ++i) values[i] = static_cast<float>(samples[i]) / kScale;
  return values;
}

/// `orientation`: of the file's EXIF, 1 to 8; 1 where there is none.
struct DecodedImage {
  Image image;
  int orientation = 1;
};
DecodedImage decode_png(std::span<const std::byte> bytes, const std::string& name, const ReadOptions& options);
DecodedImage decode_jpeg(std::span<const std::byte> bytes, const std::string& name, const ReadOptions& options);

/// `samples`: of image.depth bits, in the machine's own order.
std::vector<std::byte> encode_png(const Image& image, std::span<const unsigned char> samples, const std::string& name);
/// `samples`: of 8 bits, grey or RGB.
std::vector<std::byte> encode_jpeg(const Image& image, std::span<const unsigned char> samples, int quality, const std::string& name);

}  // namespace frieze::tools
