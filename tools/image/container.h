#pragma once
/// Whole-file checks of image containers, before a decoder sees them: decoders forgive truncation and bad checksums.
#include <cstddef>
#include <span>
#include <string>

namespace frieze::tools {

enum class Container { png, jpeg };

/// What the file is. Throws IoError naming `name` if it is empty or neither a PNG nor a JPEG.
Container check_container(std::span<const std::byte> bytes, const std::string& name);

}  // namespace frieze::tools
