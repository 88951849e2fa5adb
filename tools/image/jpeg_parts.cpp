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

constexpr unsigned kStart = 0xd8, kEnd = 0xd9, kScan = 0xda, kComment = 0xfe;
constexpr std::string_view kExif("Exif\0\0", 6), kXmp("http://ns.adobe.com/xap/1.0/\0", 29), kIcc("ICC_PROFILE\0", 12), kMpf("MPF\0", 4);
constexpr std::string_view kMoreXmp("http://ns.adobe.com/xmp/extension/\0", 35), kJfif("JFIF\0", 5);

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

struct Segment {
  unsigned marker = 0;
  Bytes whole;              // marker, length and data
  Bytes data;               // as far as the file goes
  std::size_t skipped = 0;  // bytes in front of it that belong to no segment: the data of a scan
};

// Visits the segments that have a length, up to the end marker or the end of the file. `skipped` of the last visit, whose marker is 0,
// counts the bytes behind the last segment. Returns whether the end marker is there.
template <class Visit>
bool for_each_segment(Bytes bytes, const Visit& visit) {
  for (std::size_t at = 2;;) {
    const std::size_t began = at;
    at = next_marker(bytes, at);
    const unsigned marker = at == bytes.size() ? 0 : byte_at(bytes, at + 1);
    if (at == bytes.size() || marker == kEnd) {
      visit(Segment{0, {}, {}, at - began});
      return marker == kEnd;
    }
    const std::size_t begin = at;
    at += 2;
    if (marker != kStart) {
      const std::size_t length = byte_at(bytes, at) << 8 | byte_at(bytes, at + 1);
      at = std::min(at + std::max<std::size_t>(length, 2), bytes.size());
      visit(Segment{marker, bytes.subspan(begin, at - begin), bytes.subspan(std::min(begin + 4, at), at - std::min(begin + 4, at)),
                    begin - began});
    } else {
      visit(Segment{marker, bytes.subspan(begin, 2), {}, begin - began});
    }
  }
}

bool is_frame(unsigned marker) { return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc; }
bool is_application(unsigned marker) { return marker >= 0xe0 && marker <= 0xef; }

// "JFIF" 0, version, unit, density across and down: pixels an inch or a centimetre, as a PNG's pHYs has them a metre.
void read_density(Bytes data, JpegParts& parts) {
  if (!begins_with(data, kJfif) || data.size() < 12) return;
  const unsigned unit = byte_at(data, 7), across = byte_at(data, 8) << 8 | byte_at(data, 9),
                 down = byte_at(data, 10) << 8 | byte_at(data, 11);
  if (across != down) {
    parts.lost.emplace_back("the shape of its pixels is not kept");
  } else if (across > 0 && (unit == 1 || unit == 2) && parts.extras.empty()) {
    const unsigned metre = unit == 2 ? 100 * across : static_cast<unsigned>((10'000ULL * across + 127) / 254);
    std::string chunk = "pHYs";
    for (int twice = 0; twice < 2; ++twice) {
      for (int shift = 24; shift >= 0; shift -= 8) chunk += static_cast<char>(metre >> shift & 0xff);
    }
    parts.extras.push_back(chunk + '\1');
  }
}

}  // namespace

JpegParts read_jpeg_parts(Bytes bytes) {
  JpegParts parts;
  Profile profile;
  std::set<unsigned> components, scanned;
  bool xmp = false, further = false, comment = false, iptc = false, other = false;
  parts.ended = for_each_segment(bytes, [&](const Segment& segment) {
    const auto& [marker, whole, data, skipped] = segment;
    if (parts.scans > 0) parts.data_bytes += skipped;
    if (is_frame(marker)) {
      parts.arithmetic = marker >= 0xc9;
      for (std::size_t i = 0; i < byte_at(data, 5) && 6 + 3 * i < data.size(); ++i) components.insert(byte_at(data, 6 + 3 * i));
    }
    if (marker == kScan) {
      ++parts.scans;
      for (std::size_t i = 0; i < byte_at(data, 0) && 1 + 2 * i < data.size(); ++i) scanned.insert(byte_at(data, 1 + 2 * i));
    }
    comment |= marker == kComment && !data.empty();
    if (!is_application(marker)) return;
    if (marker == 0xe0 && (begins_with(data, kJfif) || begins_with(data, "JFXX"))) {
      read_density(data, parts);
    } else if (marker == 0xe1 && begins_with(data, kExif)) {
      if (parts.exif.empty()) parts.exif.assign(data.begin() + static_cast<std::ptrdiff_t>(kExif.size()), data.end());
    } else if (marker == 0xe1 && (begins_with(data, kXmp) || begins_with(data, kMoreXmp))) {
      xmp = true;
    } else if (marker == 0xe2 && begins_with(data, kMpf)) {
      further = true;
    } else if (marker == 0xe2 && begins_with(data, kIcc)) {
      profile.add(data);
    } else if (marker == 0xed && begins_with(data, "Photoshop")) {
      iptc = true;
    } else if (!(marker == 0xee && begins_with(data, "Adobe"))) {
      other = true;
    }
  });
  parts.every_component = std::includes(scanned.begin(), scanned.end(), components.begin(), components.end());
  profile.finish(parts);
  std::vector<std::string> kinds;
  if (!parts.exif.empty()) kinds.emplace_back("EXIF");
  if (xmp) kinds.emplace_back("XMP");
  if (iptc) kinds.emplace_back("IPTC");
  std::string names;
  for (std::size_t i = 0; i < kinds.size(); ++i) names += (i == 0 ? "" : i + 1 == kinds.size() ? " and " : ", ") + kinds[i];
  if (!names.empty()) parts.lost.push_back("the " + names + " metadata are not kept");
  if (comment) parts.lost.emplace_back("the comment is not kept");
  if (other) parts.lost.emplace_back("the data of other programs in it are not kept");
  if (further) parts.lost.emplace_back("the further pictures in it are not kept");
  return parts;
}

std::vector<std::byte> jpeg_skeleton(Bytes bytes) {
  std::vector<std::byte> out(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(bytes.size(), 2)));
  const bool ended = for_each_segment(bytes, [&](const Segment& segment) {
    const bool says_nothing = is_application(segment.marker) || segment.marker == kComment;
    const std::size_t length = byte_at(segment.whole, 2) << 8 | byte_at(segment.whole, 3);
    if (segment.marker == 0 || (says_nothing && length >= 2)) return;
    const std::size_t begin = out.size();
    out.insert(out.end(), segment.whole.begin(), segment.whole.end());
    if (!is_frame(segment.marker) || segment.data.size() < 5) return;
    for (const std::size_t at : {5, 7}) out[begin + at] = std::byte{0}, out[begin + at + 1] = std::byte{8};
  });
  if (ended) out.insert(out.end(), {std::byte{0xff}, std::byte{kEnd}});
  return out;
}

}  // namespace frieze::tools
