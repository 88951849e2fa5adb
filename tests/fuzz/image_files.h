#pragma once
/// Mutations of picture files for the fuzz targets. A PNG's checksums would stop random bytes at its first chunk, so its chunks are mutated
/// (their data, types, order, copies) and the checksums written anew; a JPEG's segments are moved, copied and changed, and its bytes.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace frieze::fuzz {

using Rng = std::minstd_rand;
inline std::size_t below(Rng& rng, std::size_t n) { return rng() % n; }

inline constexpr std::string_view kPngSignature("\x89PNG\r\n\x1a\n", 8);

// CRC-32 of ISO 3309 over a chunk's type and data; PNG specification, annex D.
inline std::uint32_t crc32(std::string_view bytes) {
  std::uint32_t crc = ~0U;
  for (const char byte : bytes) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0xEDB88320U : 0U);
  }
  return ~crc;
}

inline std::string big_endian(std::uint32_t v) {
  return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8), static_cast<char>(v)};
}
inline std::uint32_t big_endian(std::string_view bytes) {
  std::uint32_t v = 0;
  for (const char byte : bytes.substr(0, 4)) v = v << 8 | static_cast<unsigned char>(byte);
  return v;
}

/// Type and data of each chunk that is whole.
inline std::vector<std::string> chunks_of(std::string_view file) {
  std::vector<std::string> chunks;
  for (std::size_t at = kPngSignature.size(); at + 12 <= file.size();) {
    const std::size_t length = big_endian(file.substr(at));
    if (length > file.size() - at - 12) break;
    chunks.emplace_back(file.substr(at + 4, 4 + length));
    at += 12 + length;
  }
  return chunks;
}

inline std::string png_of(const std::vector<std::string>& chunks) {
  std::string file(kPngSignature);
  for (const std::string& chunk : chunks)
    file += big_endian(static_cast<std::uint32_t>(chunk.size() - 4)) + chunk + big_endian(crc32(chunk));
  return file;
}

/// Changes bytes of `text` behind the first `keep`.
inline void mutate_bytes(std::string& text, std::size_t keep) {
  const std::size_t data = text.size() - keep;
  text.resize(text.size() + 16);
  text.resize(keep + LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(text.data()) + keep, data, data + 16));
}

inline void mutate_chunk(std::vector<std::string>& chunks, Rng& rng) {
  constexpr std::array kTypes{"IHDR", "PLTE", "IDAT", "IEND", "tRNS", "gAMA", "cHRM",
                              "sRGB", "iCCP", "cICP", "eXIf", "acTL", "tEXt", "pHYs"};
  std::string& chunk = chunks[below(rng, chunks.size())];
  switch (below(rng, 6)) {
    case 0: {  // one field of the header: extents, bits, colour type, interlacing
      std::string& header = chunks.front();
      if (header.size() > 4) header[4 + below(rng, header.size() - 4)] = static_cast<char>(below(rng, 3) == 0 ? rng() : below(rng, 20));
      return;
    }
    case 1: chunks.push_back(chunk); return;
    case 2: std::swap(chunk, chunks[below(rng, chunks.size())]); return;
    case 3: chunk.replace(0, 4, kTypes[below(rng, kTypes.size())]); return;
    default: mutate_bytes(chunk, 4);
  }
}

/// Marker and length of each segment with its data, and the entropy-coded data behind it.
inline std::vector<std::string> segments_of(std::string_view file) {
  std::vector<std::string> segments;
  std::size_t begin = 2;
  while (begin + 4 <= file.size()) {
    const auto byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(file[i])); };
    std::size_t end = begin + 2 + (byte(begin + 2) << 8 | byte(begin + 3));
    while (end + 1 < file.size() && !(byte(end) == 0xff && byte(end + 1) != 0 && (byte(end + 1) & 0xf8) != 0xd0)) ++end;
    end = std::min(std::max(end, begin + 4), file.size());  // never less than a marker and a length
    segments.emplace_back(file.substr(begin, end - begin));
    begin = end;
  }
  return segments;
}

inline void mutate_segment(std::vector<std::string>& segments, Rng& rng) {
  std::string& segment = segments[below(rng, segments.size())];
  switch (below(rng, 6)) {
    case 0: segments.insert(segments.begin() + static_cast<std::ptrdiff_t>(below(rng, segments.size())), std::string(segment)); return;
    case 1: segments.erase(segments.begin() + static_cast<std::ptrdiff_t>(below(rng, segments.size()))); return;
    case 2: std::swap(segment, segments[below(rng, segments.size())]); return;
    case 3: segment[1] = static_cast<char>(0xc0 + below(rng, 0x30)); return;
    default:
      mutate_bytes(segment, 4);
      if (below(rng, 2) == 0 && segment.size() < 65000) {
        segment[2] = static_cast<char>((segment.size() - 2) >> 8), segment[3] = static_cast<char>(segment.size() - 2);
      }
  }
}

/// A file of the same kind, or bytes at random.
inline std::size_t mutate_picture(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
  Rng rng(seed + 1);
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  std::string made;
  const std::size_t times = 1 + below(rng, 3);
  if (file.starts_with(kPngSignature)) {
    std::vector<std::string> chunks = chunks_of(file);
    for (std::size_t i = 0; i < times && !chunks.empty(); ++i) mutate_chunk(chunks, rng);
    if (!chunks.empty()) made = png_of(chunks);
  } else if (file.starts_with("\xff\xd8")) {
    std::vector<std::string> segments = segments_of(file);
    for (std::size_t i = 0; i < times && !segments.empty(); ++i) mutate_segment(segments, rng);
    made = file.substr(0, 2);
    for (const std::string& segment : segments) made += segment;
  }
  if (made.empty() || below(rng, 20) == 0) return LLVMFuzzerMutate(data, size, max_size);
  const std::size_t kept = std::min(made.size(), max_size);
  std::memcpy(data, made.data(), kept);
  return kept;
}

}  // namespace frieze::fuzz
