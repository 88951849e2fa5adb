// PNG files with transparency, profiles and damage; alpha around filters; conversions of colour.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include <frieze/core/error.h>

#include "support/paths.h"
#include "tools/image/alpha.h"
#include "tools/image/colour.h"
#include "tools/image/quality.h"
#include "tools/jpeg_maker.h"

namespace frieze::tools {
namespace {

using test::make_png;
using test::png_chunk;

Image decode(const std::string& file, const ReadOptions& options = {}) {
  return decode_image(std::as_bytes(std::span(file)), "x.png", options);
}

Image again(const Image& image) { return decode_image(encode_image(image, "x.png").bytes, "x.png", {.strict = true}); }

std::string why_not(const std::string& file, const ReadOptions& options = {}) {
  try {
    decode(file, options);
  } catch (const IoError& e) {
    return e.what();
  }
  return "it was accepted";
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Png, AColourKeyIsTransparency) {
  const std::string two("\0\x10\x20", 3);
  EXPECT_EQ(decode(make_png(2, 1, 8, 0, two, png_chunk("tRNS", std::string("\0\x20", 2)))).pixels,
            (std::vector<float>{16 / 255.0f, 1, 32 / 255.0f, 0}));
  const Image rgb = decode(make_png(2, 1, 8, 2, std::string("\0\1\2\3\4\5\6", 7), png_chunk("tRNS", std::string("\0\1\0\2\0\3", 6))));
  ASSERT_EQ(rgb.channels, 4);
  EXPECT_EQ(rgb.pixels[3], 0);
  EXPECT_EQ(rgb.pixels[7], 1);
  // 16 bits: equal in all of them.
  const Image deep = decode(make_png(2, 1, 16, 0, std::string("\0\1\2\1\3", 5), png_chunk("tRNS", std::string("\1\2", 2))));
  EXPECT_EQ(deep.pixels, (std::vector<float>{0x102 / 65535.0f, 0, 0x103 / 65535.0f, 1}));
  const std::string palette = png_chunk("PLTE", std::string("\xff\0\0\0\0\xff", 6)) + png_chunk("tRNS", std::string("\x80", 1));
  EXPECT_EQ(decode(make_png(2, 1, 8, 3, std::string("\0\0\1", 3), palette)).pixels,
            (std::vector<float>{1, 0, 0, 128 / 255.0f, 0, 0, 1, 1}));
  // 1, 2 and 4 bits: the levels of the file, and its key.
  EXPECT_EQ(decode(make_png(2, 1, 1, 0, std::string("\0\x40", 2))).pixels, (std::vector<float>{0, 1}));
  EXPECT_EQ(decode(make_png(2, 1, 2, 0, std::string("\0\x60", 2))).pixels, (std::vector<float>{1 / 3.0f, 2 / 3.0f}));
  EXPECT_EQ(decode(make_png(2, 1, 4, 0, std::string("\0\x5a", 2), png_chunk("tRNS", std::string("\0\xa", 2)))).pixels,
            (std::vector<float>{5 / 15.0f, 1, 10 / 15.0f, 0}));
}

TEST(Png, SixteenBitsComeBack) {
  for (const int channels : {1, 2, 3, 4}) {
    Image image{7, 5, channels, {}, 16};
    for (int i = 0; i < 7 * 5 * channels; ++i) image.pixels.push_back(static_cast<float>((i * 7919 + 257) % 65536) / 65535.0f);
    const Image back = again(image);
    EXPECT_EQ(back.depth, 16);
    EXPECT_EQ(back.channels, channels);
    EXPECT_EQ(back.pixels, image.pixels);
  }
}

TEST(Png, TagsAndTextComeBack) {
  const std::string icc = test::make_icc(test::IccKind::display_p3), grey_icc = test::make_icc(test::IccKind::grey);
  const std::string gamma = test::big_endian(55556), primaries = test::big_endian(31270) + std::string(28, '\1');
  const std::string chunks[] = {
      test::iccp_chunk(icc),
      png_chunk("gAMA", gamma),
      png_chunk("gAMA", gamma) + png_chunk("cHRM", primaries),
      png_chunk("sRGB", std::string(1, '\2')),
      png_chunk("cICP", std::string("\x0c\x0d\0\1", 4)),
      png_chunk("tEXt", std::string("Title\0cat", 9)) + png_chunk("pHYs", test::big_endian(2835) + test::big_endian(2835) + "\1"),
      test::iccp_chunk(icc) + png_chunk("gAMA", gamma)};
  for (const std::string& chunk : chunks) {
    const Image image = decode(make_png(1, 1, 8, 2, std::string(4, '\0'), chunk));
    EXPECT_FALSE(image.tags.empty() && image.extras.empty());
    EXPECT_TRUE(image.notes.empty() && image.lost.empty());
    const Image back = again(image);
    EXPECT_EQ(back.tags, image.tags);
    EXPECT_EQ(back.extras, image.extras);
  }
  // XMP may tell the orientation once more: it is kept only where that is right.
  const std::string xmp = png_chunk("iTXt", std::string("XML:com.adobe.xmp\0\0\0\0\0<x/>", 26));
  const Image level = decode(make_png(1, 1, 8, 0, std::string(2, '\0'), xmp));
  EXPECT_TRUE(level.lost.empty() && again(level).extras.size() == 1);
  const Image turned = decode(make_png(1, 1, 8, 0, std::string(2, '\0'), xmp + png_chunk("eXIf", test::make_exif(6))));
  EXPECT_TRUE(turned.extras.empty() && turned.lost.size() == 2);
  EXPECT_EQ(test::text_of(decode(make_png(1, 1, 8, 2, std::string(4, '\0'), test::iccp_chunk(icc))).tags.icc), icc);
  EXPECT_EQ(test::text_of(decode(make_png(1, 1, 8, 0, std::string(2, '\0'), test::iccp_chunk(grey_icc))).tags.icc), grey_icc);
  // Of other colours, damaged, cut off, a bomb: said, and not used.
  for (const auto& [colour, chunk] : {std::pair{0, test::iccp_chunk(icc)},
                                      {2, test::iccp_chunk(grey_icc)},
                                      {2, test::iccp_chunk(icc.substr(0, icc.size() - 1))},
                                      {2, test::iccp_chunk("short")},
                                      {2, png_chunk("iCCP", std::string("x\0\0not zlib", 11))},
                                      {2, png_chunk("iCCP", "no end of the name")},
                                      {2, test::iccp_chunk(std::string((1 << 24) + 1, '\0'))},
                                      {2, png_chunk("gAMA", "12345")}}) {
    const Image image = decode(make_png(1, 1, 8, colour, std::string(colour == 0 ? 2 : 4, '\0'), chunk));
    EXPECT_TRUE(image.tags.empty());
    ASSERT_EQ(image.notes.size(), 1U);
    EXPECT_TRUE(holds(image.notes[0], "ignored")) << image.notes[0];
  }
}

// As ImageMagick wrote it before PNG had a chunk for it.
TEST(Png, OrientationInTextIsApplied) {
  const auto raw = [](const std::string& exif, const std::string& kind) {
    std::string hex;
    for (const char c : exif) {
      hex += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
      hex += "0123456789abcdef"[static_cast<unsigned char>(c) & 15];
      if (hex.size() % 73 == 72) hex += '\n';
    }
    return std::string("Raw profile type ") + kind + std::string(1, '\0') + "\n" + kind + "\n      " + std::to_string(exif.size()) + "\n" +
           hex + "\n";
  };
  const std::string rows("\0\1\2\3", 4), exif = std::string("Exif\0\0", 6) + test::make_exif(6);
  const auto compressed = [](const std::string& text) {
    const std::size_t name = text.find('\0') + 1;
    return png_chunk("zTXt", text.substr(0, name) + std::string(1, '\0') + test::zlib_stored(text.substr(name)));
  };
  for (const std::string& chunk : {png_chunk("tEXt", raw(exif, "exif")), png_chunk("tEXt", raw(exif, "APP1")),
                                   compressed(raw(exif, "exif")), compressed(raw(test::make_exif(6, false, 5), "exif"))}) {
    const Image turned = decode(make_png(3, 1, 8, 0, rows, chunk));
    EXPECT_EQ(turned.width, 1);
    EXPECT_EQ(turned.height, 3);
    EXPECT_TRUE(turned.extras.empty()) << "or the next program turns it again";
    ASSERT_EQ(turned.lost.size(), 1U);
    EXPECT_TRUE(holds(turned.lost[0], "EXIF"));
  }
  // The chunk counts first; what needs no turning, or makes no sense, stays as it is.
  const std::string both = png_chunk("eXIf", test::make_exif(3)) + png_chunk("tEXt", raw(exif, "exif"));
  EXPECT_EQ(decode(make_png(3, 1, 8, 0, rows, both)).pixels, (std::vector<float>{3 / 255.0f, 2 / 255.0f, 1 / 255.0f}));
  EXPECT_TRUE(decode(make_png(3, 1, 8, 0, rows, both)).extras.empty());
  const std::string whole = raw(exif, "exif");
  for (const std::string& text :
       {raw(test::make_exif(1), "exif"), whole.substr(0, 22), whole.substr(0, 30), whole.substr(0, whole.size() - 40),
        raw("no EXIF", "exif"), std::string("Raw profile type exif\0\n\nxyz", 27)}) {
    const Image level = decode(make_png(3, 1, 8, 0, rows, png_chunk("tEXt", text)));
    EXPECT_EQ(level.width, 3) << text;
    EXPECT_EQ(level.extras.size(), 1U);
  }
  EXPECT_EQ(decode(make_png(3, 1, 8, 0, rows, png_chunk("zTXt", std::string("Raw profile type exif\0\0bomb", 27)))).width, 3);
}

TEST(Png, ChunksThatAreNotKeptAreSaid) {
  const std::string rows(4, '\0');
  const auto lost = [&](const std::string& chunks) { return decode(make_png(1, 1, 8, 2, rows, chunks)).lost; };
  EXPECT_EQ(lost(png_chunk("sBIT", "\5\6\5")), (std::vector<std::string>{"its chunk sBIT is not kept"}));
  EXPECT_EQ(
      lost(png_chunk("bKGD", std::string(6, '\0')) + png_chunk("tIME", std::string(7, '\1')) + png_chunk("bKGD", std::string(6, '\0'))),
      (std::vector<std::string>{"its chunks bKGD, tIME are not kept"}));
  EXPECT_EQ(lost(png_chunk("mDCV", std::string(24, '\1')) + png_chunk("caBX", "x")),
            (std::vector<std::string>{"its chunks mDCV, caBX are not kept"}));
  std::string many;
  for (char c = 'a'; c <= 'k'; ++c) many += png_chunk(std::string("ab") + "A" + c, "x");
  ASSERT_EQ(lost(many).size(), 1U);
  EXPECT_TRUE(holds(lost(many)[0], "abAh and 3 more are not kept")) << lost(many)[0];
  // What says nothing of the picture, or is said otherwise.
  EXPECT_TRUE(lost(png_chunk("iDOT", "x") + png_chunk("acTL", std::string(8, '\1')) + png_chunk("fcTL", "x")).empty());
}

TEST(Png, DamageBesideThePixelsIsSaidOrStrictlyRefused) {
  const std::string good = make_png(2, 1, 8, 0, std::string("\0\1\2", 3), png_chunk("gAMA", test::big_endian(45455)));
  std::string damaged = good;
  ++damaged[good.find("gAMA") + 4];
  EXPECT_EQ(decode(damaged).notes.size(), 2U);  // ours, and libpng's
  EXPECT_TRUE(holds(why_not(damaged, {.strict = true}), "damaged PNG"));
  const std::string headless = good.substr(0, good.size() - 12);
  EXPECT_EQ(decode(headless).notes, (std::vector<std::string>{"it ends before its end marker"}));
  EXPECT_TRUE(holds(why_not(headless, {.strict = true}), "before its end marker"));
  EXPECT_TRUE(holds(why_not(good.substr(0, good.size() - 13)), "truncated PNG"));
  const std::string animated = make_png(2, 1, 8, 0, std::string("\0\1\2", 3), png_chunk("acTL", std::string(8, '\1')));
  EXPECT_TRUE(holds(decode(animated).notes.at(0), "animated"));
}

TEST(Png, BudgetsAreCheckedBeforeTheWork) {
  const auto claims = [](std::uint32_t width, std::uint32_t height, int depth, int colour, const std::string& rows) {
    return why_not(make_png(width, height, depth, colour, rows));
  };
  EXPECT_TRUE(holds(claims(0x7fffffff, 0x7fffffff, 16, 6, "x"), "2147483647x2147483647 pixels, expected 1 to 268435456"));
  EXPECT_TRUE(holds(claims(16384, 16383, 8, 2, "x"), "bytes of data cannot hold 16384x16383 pixels"));
  EXPECT_TRUE(holds(claims(16384, 16383, 1, 0, std::string(40000, '\0')), "x.png: "));
  EXPECT_TRUE(holds(why_not(make_png(2, 1, 8, 0, std::string("\0\1\2", 3)), {.max_pixels = 1}), "--max-pixels"));
}

// A photograph in the middle, hidden around it.
Image framed(float hidden, int channels = 4) {
  Image image{40, 30, channels, {}};
  for (int y = 0; y < 30; ++y) {
    for (int x = 0; x < 40; ++x) {
      const bool seen = x >= 10 && x < 30 && y >= 8 && y < 22;
      for (int c = 0; c + 1 < channels; ++c)
        image.pixels.push_back(seen ? 0.5f + 0.01f * static_cast<float>((x * 7 + y * 3 + c) % 5) : hidden);
      image.pixels.push_back(seen ? 1.0f : 0.0f);
    }
  }
  return image;
}

TEST(Alpha, WhatIsHiddenCannotBeTold) {
  for (const int channels : {2, 4}) {
    const Image black = with_hidden_filled(framed(0, channels)), white = with_hidden_filled(framed(1, channels));
    EXPECT_EQ(black.pixels, white.pixels);
    const Image before = framed(0, channels);
    for (std::size_t i = 0; i < black.pixels.size(); ++i) {
      const std::size_t alpha =
          i / static_cast<std::size_t>(channels) * static_cast<std::size_t>(channels) + static_cast<std::size_t>(channels) - 1;
      if (before.pixels[alpha] > 0) {
        ASSERT_EQ(black.pixels[i], before.pixels[i]);
      }
      if (i != alpha) {
        ASSERT_NEAR(black.pixels[i], 0.52f, 0.025f);
      }
    }
    EXPECT_EQ(estimate_noise(framed(0, channels)), estimate_noise(framed(1, channels)));
    EXPECT_GT(estimate_noise(framed(0, channels)), 0);
    EXPECT_TRUE(std::isinf(psnr(framed(0, channels), framed(1, channels))));
    EXPECT_NEAR(ssim(framed(0, channels), framed(1, channels)), 1, 1e-12);
  }
  // Barely visible colours count in proportion.
  Image faint = framed(0);
  for (std::size_t i = 3; i < faint.pixels.size(); i += 4) faint.pixels[i] = std::max(faint.pixels[i], 1 / 255.0f);
  const Image filled = with_hidden_filled(faint);
  for (std::size_t y = 8; y < 22; ++y) {  // black next to what is seen would be 0
    for (const std::size_t x : {9U, 30U}) EXPECT_GT(filled.pixels[(y * 40 + x) * 4], 0.35f) << x << ' ' << y;
  }
  // Nothing to see, nothing hidden, one pixel.
  const Image nothing{3, 3, 2, std::vector<float>{9, 0, 9, 0, 9, 0, 9, 0, 9, 0, 9, 0, 9, 0, 9, 0, 9, 0}};
  EXPECT_EQ(with_hidden_filled(nothing).pixels, std::vector<float>(18, 0));
  EXPECT_EQ(estimate_noise(nothing), 0);
  EXPECT_EQ(with_hidden_filled({1, 1, 2, {0.25f, 1}}).pixels, (std::vector<float>{0.25f, 1}));
}

// Three colours cannot have the profile of one.
TEST(Alpha, GreyOverAColourIsConverted) {
  Image grey{12, 12, 2, {}};
  for (int i = 0; i < 144; ++i) grey.pixels.insert(grey.pixels.end(), {static_cast<float>(i) / 143.0f, i % 2 == 0 ? 1.0f : 0.5f});
  grey.tags.icc = test::bytes_of(test::make_icc(test::IccKind::grey, 1.0));
  const auto written = [&](const std::array<float, 3>& over) { return encode_image(grey, "x.jpg", {.quality = 100, .flatten = over}); };
  const EncodedImage red = written({1, 0, 0});
  const Image over_red = decode_image(red.bytes, "x.jpg", {.strict = true});
  EXPECT_EQ(over_red.channels, 3);
  EXPECT_TRUE(over_red.tags.icc.empty() && over_red.notes.empty());
  ASSERT_EQ(red.notes.size(), 2U);
  EXPECT_TRUE(holds(red.notes[0], "converted to sRGB"));
  EXPECT_NEAR(over_red.pixels[3 * 72 + 1], 0.735, 0.04) << "linear 0.503 in the curve of sRGB";
  const Image over_white = decode_image(written({1, 1, 1}).bytes, "x.jpg", {.strict = true});
  EXPECT_EQ(over_white.channels, 1);
  EXPECT_EQ(over_white.tags.icc, grey.tags.icc);
  // Side by side, grey stays grey.
  const Image both = side_by_side({grey, grey});
  EXPECT_EQ(both.channels, 1);
  EXPECT_TRUE(decode_image(encode_image(both, "x.png").bytes, "x.png", {.strict = true}).notes.empty());
}

TEST(Alpha, IsFlattenedOrRefused) {
  const Image image{2, 1, 4, {1, 0, 0, 0.5f, 0, 1, 0, 0}};
  EXPECT_EQ(flattened(image, {1, 1, 1}).pixels, (std::vector<float>{1, 0.5f, 0.5f, 1, 1, 1}));
  EXPECT_EQ(flattened({1, 1, 2, {0.5f, 0.5f}}, {0, 0, 0}).channels, 1);
  EXPECT_EQ(flattened({1, 1, 2, {0.5f, 0.5f}}, {1, 0, 0}).pixels, (std::vector<float>{0.75f, 0.25f, 0.25f}));
  EXPECT_THROW(encode_image(image, "x.jpg"), OptionError);
  EXPECT_THROW(encode_image({1, 1, 1, {0.5f}, 16}, "x.jpg"), OptionError);
  const std::array<float, 3> white{1, 1, 1};
  EXPECT_EQ(encode_image(image, "x.jpg", {.flatten = white}).notes.size(), 1U);
  EXPECT_EQ(encode_image({1, 1, 2, {0.5f, 0.5f}, 16}, "x.jpg", {.flatten = white}).notes.size(), 2U);
}

// The way through XYZ by hand. Source: IEC 61966-2-1; SMPTE EG 432-1 with the white point D65.
std::array<double, 3> p3_to_srgb(const std::array<double, 3>& p3) {
  const auto linear = [](double v) { return v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4); };
  const auto curved = [](double v) { return v <= 0.0031308 ? 12.92 * v : 1.055 * std::pow(v, 1 / 2.4) - 0.055; };
  const double m[3][3] = {{1.2249402, -0.2249402, 0}, {-0.0420570, 1.0420570, 0}, {-0.0196376, -0.0786361, 1.0982736}};
  std::array<double, 3> out{};
  for (int i = 0; i < 3; ++i) {
    double sum = 0;
    for (int j = 0; j < 3; ++j) sum += m[i][j] * linear(p3[static_cast<std::size_t>(j)]);
    out[static_cast<std::size_t>(i)] = curved(std::clamp(sum, 0.0, 1.0));
  }
  return out;
}

TEST(Colour, ProfilesAreConvertedToSrgb) {
  const std::array<double, 3> colours[] = {{0.5, 0.5, 0.5}, {0.4, 0.6, 0.5}, {0.8, 0.3, 0.2}, {1, 1, 1}, {0, 0, 0}, {1, 0, 0}};
  ColourTags by_icc, by_cicp, by_primaries;
  by_icc.icc = test::bytes_of(test::make_icc(test::IccKind::display_p3));
  by_cicp.cicp = std::string("\x0c\x0d\0\1", 4);
  for (const std::uint32_t v : {31270U, 32900U, 68000U, 32000U, 26500U, 69000U, 15000U, 6000U})
    by_primaries.chromaticities += test::big_endian(v);
  for (const ColourTags& tags : {by_icc, by_cicp, by_primaries}) {
    for (const auto& colour : colours) {
      Image image{1, 1, 4, {static_cast<float>(colour[0]), static_cast<float>(colour[1]), static_cast<float>(colour[2]), 0.25f}, 16, tags};
      image = to_srgb(image);
      const auto expected = p3_to_srgb(colour);
      for (std::size_t c = 0; c < 3; ++c) EXPECT_NEAR(image.pixels[c], expected[c], 0.004) << colour[0] << ' ' << c;
      EXPECT_EQ(image.pixels[3], 0.25f);
      EXPECT_EQ(image.depth, 16);
      EXPECT_EQ(image.notes.size(), 1U);
      EXPECT_TRUE(same_colours(image.tags, {}));
    }
  }
}

TEST(Colour, GammaAndGreyProfiles) {
  ColourTags gamma, grey;
  gamma.gamma = test::big_endian(100000);  // linear light
  grey.icc = test::bytes_of(test::make_icc(test::IccKind::grey, 1.0));
  for (const ColourTags& tags : {gamma, grey}) {
    const Image image = to_srgb({1, 1, 2, {0.2140f, 0.5f}, 8, tags});
    EXPECT_EQ(image.channels, 2);
    EXPECT_NEAR(image.pixels[0], 0.5f, 0.004f);
    EXPECT_EQ(image.pixels[1], 0.5f);
  }
  EXPECT_NEAR(to_srgb({1, 1, 3, {0.2140f, 0, 1}, 8, gamma}).pixels[0], 0.5f, 0.004f);
}

TEST(Colour, WhatIsSrgbOrMakesNoSenseStaysAsItIs) {
  ColourTags srgb, odd, nothing, hdr;
  srgb.srgb = std::string(1, '\0');
  odd.chromaticities = std::string(32, '\0');
  nothing.gamma = std::string(4, '\0');
  hdr.cicp = std::string("\x09\x10\0\1", 4);
  const Image plain{1, 1, 3, {0.1f, 0.2f, 0.3f}};
  for (const ColourTags& tags : {ColourTags{}, srgb}) {
    const Image image = to_srgb({1, 1, 3, plain.pixels, 8, tags});
    EXPECT_EQ(image.pixels, plain.pixels);
    EXPECT_TRUE(image.notes.empty());
  }
  for (const ColourTags& tags : {odd, nothing, hdr}) {
    const Image image = to_srgb({1, 1, 3, plain.pixels, 8, tags});
    EXPECT_EQ(image.pixels, plain.pixels);
    EXPECT_EQ(image.notes.size(), 1U);
  }
  EXPECT_TRUE(same_colours(srgb, {}));
  EXPECT_FALSE(same_colours(hdr, {}));
  // A JPEG gets a profile where only gamma was told, and says so where there is none to make.
  ColourTags linear;
  linear.gamma = test::big_endian(100000);
  const EncodedImage jpeg = encode_image({8, 8, 3, std::vector<float>(192, 0.2140f), 8, linear}, "x.jpg");
  EXPECT_TRUE(jpeg.notes.empty());
  EXPECT_NEAR(to_srgb(decode_image(jpeg.bytes, "x.jpg")).pixels[0], 0.5f, 0.01f);
  EXPECT_EQ(encode_image({1, 1, 3, plain.pixels, 8, hdr}, "x.jpg").notes.size(), 1U);
}

}  // namespace
}  // namespace frieze::tools
