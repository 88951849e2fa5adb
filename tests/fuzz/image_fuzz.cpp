// libFuzzer target for pictures: bytes to `decode_image`, PNG and JPEG. A PNG's checksums would stop random bytes at its first chunk,
// so the mutator works on the chunks (their data, types, order, copies) and writes the checksums anew.
#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <frieze/core/error.h>

#include "fuzz.h"
#include "tools/image/image.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

using frieze::fuzz::require;
using Rng = std::minstd_rand;

constexpr std::string_view kSignature("\x89PNG\r\n\x1a\n", 8);
constexpr double kMostPixels = 1 << 20;  // of a file of 16 KiB; more only costs time

std::size_t below(Rng& rng, std::size_t n) { return rng() % n; }

// CRC-32 of ISO 3309 over a chunk's type and data; PNG specification, annex D.
std::uint32_t crc32(std::string_view bytes) {
  std::uint32_t crc = ~0U;
  for (const char byte : bytes) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0xEDB88320U : 0U);
  }
  return ~crc;
}

std::string big_endian(std::uint32_t v) {
  return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8), static_cast<char>(v)};
}
std::uint32_t big_endian(std::string_view bytes) {
  std::uint32_t v = 0;
  for (const char byte : bytes.substr(0, 4)) v = v << 8 | static_cast<unsigned char>(byte);
  return v;
}

// What a picture claims, at the most: a PNG's first chunk, any start of a frame in a JPEG.
double pixels_of(std::string_view file) {
  const auto byte = [&](std::size_t at) { return static_cast<double>(static_cast<unsigned char>(file[at])); };
  if (file.starts_with(kSignature)) {
    return file.size() < 24 ? 0 : static_cast<double>(big_endian(file.substr(16))) * big_endian(file.substr(20));
  }
  double most = 0;
  for (std::size_t at = 0; at + 9 <= file.size(); ++at) {
    if (file[at] != '\xff' || (file[at + 1] & '\xf0') != '\xc0') continue;
    most = std::max(most, (byte(at + 5) * 256 + byte(at + 6)) * (byte(at + 7) * 256 + byte(at + 8)));
  }
  return most;
}

// Type and data of each chunk that is whole.
std::vector<std::string> chunks_of(std::string_view file) {
  std::vector<std::string> chunks;
  for (std::size_t at = kSignature.size(); at + 12 <= file.size();) {
    const std::size_t length = big_endian(file.substr(at));
    if (length > file.size() - at - 12) break;
    chunks.emplace_back(file.substr(at + 4, 4 + length));
    at += 12 + length;
  }
  return chunks;
}

std::string file_of(const std::vector<std::string>& chunks) {
  std::string file(kSignature);
  for (const std::string& chunk : chunks)
    file += big_endian(static_cast<std::uint32_t>(chunk.size() - 4)) + chunk + big_endian(crc32(chunk));
  return file;
}

void mutate(std::vector<std::string>& chunks, Rng& rng) {
  std::string& chunk = chunks[below(rng, chunks.size())];
  switch (below(rng, 6)) {
    case 0: {  // one field of the header: extents, bits, colour type, interlacing
      std::string& header = chunks.front();
      if (header.size() > 4) header[4 + below(rng, header.size() - 4)] = static_cast<char>(below(rng, 3) == 0 ? rng() : below(rng, 20));
      return;
    }
    case 1: chunks.push_back(chunk); return;
    case 2: std::swap(chunk, chunks[below(rng, chunks.size())]); return;
    case 3: chunk.replace(0, 4, std::array{"IHDR", "PLTE", "IDAT", "IEND", "tRNS", "CgBI", "aNCi"}[below(rng, 7)]); return;
    default: {
      const std::size_t data = chunk.size() - 4;
      chunk.resize(chunk.size() + 16);
      chunk.resize(4 + LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(chunk.data()) + 4, data, data + 16));
    }
  }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
  Rng rng(seed + 1);
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> chunks;
  if (file.starts_with(kSignature)) chunks = chunks_of(file);
  if (chunks.empty() || below(rng, 20) == 0) return LLVMFuzzerMutate(data, size, max_size);
  for (std::size_t i = 0; i < 1 + below(rng, 3); ++i) mutate(chunks, rng);
  const std::string text = file_of(chunks);
  const std::size_t kept = std::min(text.size(), max_size);
  std::memcpy(data, text.data(), kept);
  return kept;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  if (pixels_of(file) > kMostPixels) return 0;
  try {
    const frieze::tools::Image image = frieze::tools::decode_image({reinterpret_cast<const std::byte*>(data), size}, "x.png");
    require(image.width > 0 && image.height > 0 && image.channels >= 1 && image.channels <= 4, "a picture has an extent");
    require(image.pixels.size() == static_cast<std::size_t>(image.width) * image.height * image.channels, "every pixel is there");
    require(std::all_of(image.pixels.begin(), image.pixels.end(), [](float v) { return v >= 0 && v <= 1; }), "values are in [0,1]");
  } catch (const frieze::IoError& e) {
    frieze::fuzz::check_message(e.what(), "x.png");  // any other exception is a finding
  }
  return 0;
}
