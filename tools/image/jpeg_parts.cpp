#include "tools/image/jpeg_parts.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <set>
#include <string_view>

namespace frieze::tools {
namespace {

using Bytes = std::span<const std::byte>;

unsigned byte_at(Bytes bytes, std::size_t i) { return i < bytes.size() ? std::to_integer<unsigned>(bytes[i]) : 0; }

bool begins_with(Bytes bytes, std::string_view text) {
  return bytes.size() >= text.size() && std::memcmp(bytes.data(), text.data(), text.size()) == 0;
}

constexpr std::string_view kExif("Exif\0\0", 6), kXmp("http://ns.adobe.com/xap/1.0/\0", 29), kIcc("ICC_PROFILE\0", 12), kMpf("MPF\0", 4);

// A profile's segments: number, from 1, to content; `count` as each of them tells.
struct Profile {
  std::map<unsigned, Bytes> segments;
  unsigned count = 0;
  bool damaged = false;

  void add(Bytes segment) {
    const unsigned number = byte_at(segment, kIcc.size()), of = byte_at(segment, kIcc.size() + 1);
    damaged |= segment.size() < kIcc.size() + 2 || number == 0 || number > of || (count != 0 && of != count);
    if (damaged) return;
    count = of;
    damaged |= !segments.emplace(number, segment.subspan(kIcc.size() + 2)).second;
  }
  void finish(JpegParts& parts) const {
    if (damaged || segments.size() != count) {
      parts.notes.emplace_back("its colour profile is damaged and ignored");
      return;
    }
    for (const auto& [number, content] : segments) parts.icc.insert(parts.icc.end(), content.begin(), content.end());
  }
};

// The first position from `at` of FF and a marker, that is neither a stuffed data byte nor a restart; bytes.size() if there is none.
std::size_t next_marker(Bytes bytes, std::size_t at) {
  while (at + 1 < bytes.size()) {
    const void* found = std::memchr(bytes.data() + at, 0xff, bytes.size() - 1 - at);
    if (found == nullptr) break;
    at = static_cast<std::size_t>(static_cast<const std::byte*>(found) - bytes.data());
    const unsigned next = byte_at(bytes, at + 1);
    const bool restart = next >= 0xd0 && next <= 0xd7, alone = next == 0x00 || next == 0x01 || next == 0xff;
    if (!restart && !alone) return at;
    at += next == 0xff ? 1 : 2;
  }
  return bytes.size();
}

}  // namespace

JpegParts read_jpeg_parts(Bytes bytes) {
  JpegParts parts;
  Profile profile;
  std::set<unsigned> components, scanned;
  bool xmp = false, further = false;
  std::size_t at = 2;
  while (true) {
    const std::size_t began = at;
    at = next_marker(bytes, at);
    if (parts.scans > 0) parts.data_bytes += at - began;
    if (at == bytes.size()) break;
    const unsigned marker = byte_at(bytes, at + 1);
    at += 2;
    if (marker == 0xd9) {
      parts.ended = true;
      break;
    }
    if (marker == 0xd8) continue;
    const std::size_t length = byte_at(bytes, at) << 8 | byte_at(bytes, at + 1);
    const Bytes data =
        length < 2
            ? Bytes()
            : bytes.subspan(std::min(at + 2, bytes.size())).first(std::min(length - 2, bytes.size() - std::min(at + 2, bytes.size())));
    at = std::min(at + std::max<std::size_t>(length, 2), bytes.size());
    const bool frame = marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
    if (frame) {
      parts.arithmetic = marker >= 0xc9;
      for (std::size_t i = 0; i < byte_at(data, 5) && 6 + 3 * i < data.size(); ++i) components.insert(byte_at(data, 6 + 3 * i));
    }
    if (marker == 0xda) {
      ++parts.scans;
      for (std::size_t i = 0; i < byte_at(data, 0) && 1 + 2 * i < data.size(); ++i) scanned.insert(byte_at(data, 1 + 2 * i));
    }
    if (marker == 0xe1 && begins_with(data, kExif) && parts.exif.empty()) {
      parts.exif.assign(data.begin() + static_cast<std::ptrdiff_t>(kExif.size()), data.end());
    }
    xmp |= marker == 0xe1 && begins_with(data, kXmp);
    further |= marker == 0xe2 && begins_with(data, kMpf);
    if (marker == 0xe2 && begins_with(data, kIcc)) profile.add(data);
  }
  parts.every_component = std::includes(scanned.begin(), scanned.end(), components.begin(), components.end());
  profile.finish(parts);
  if (!parts.exif.empty() || xmp)
    parts.lost.emplace_back(xmp ? "the EXIF and XMP metadata are not kept" : "the EXIF metadata are not kept");
  if (further) parts.lost.emplace_back("the further pictures in it are not kept");
  return parts;
}

}  // namespace frieze::tools
