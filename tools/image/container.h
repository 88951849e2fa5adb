#pragma once
/// Whole-file checks of image containers, before a decoder sees them: decoders forgive truncation and bad checksums.
#include <cstddef>
#include <span>
#include <string>
#include <utility>

namespace frieze::tools {

enum class Container { png, jpeg };

/// What the file is. Throws IoError naming `name` if it is empty or neither a PNG nor a JPEG.
Container check_container(std::span<const std::byte> bytes, const std::string& name);

/// Width and height of a PNG that check_container accepted, as its header says: up to 2^32 - 1 each.
std::pair<long long, long long> png_extent(std::span<const std::byte> bytes);

}  // namespace frieze::tools
