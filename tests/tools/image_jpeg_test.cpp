// JPEG files of every kind that cameras and programs write, and what can be wrong with them.
#include <gtest/gtest.h>

#include <cmath>

#include <frieze/core/error.h>

#include "support/paths.h"
#include "tools/image/exif.h"
#include "tools/image/quality.h"
#include "tools/jpeg_maker.h"

namespace frieze::tools {
namespace {

using test::JpegSettings;
using test::make_jpeg;

Image decode(const std::string& file, const ReadOptions& options = {}) {
  return decode_image(std::as_bytes(std::span(file)), "x.jpg", options);
}

std::string why_not(const std::string& file, const ReadOptions& options = {}) {
  try {
    decode(file, options);
  } catch (const IoError& e) {
    return e.what();
  }
  return "it was accepted";
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Smooth, so that chroma at half the size loses nothing: red to the right, green downwards, blue along the diagonal.
Image smooth(int width = 48, int height = 32) {
  Image image{width, height, 3, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const float u = static_cast<float>(x) / static_cast<float>(width), v = static_cast<float>(y) / static_cast<float>(height);
      image.pixels.insert(image.pixels.end(), {0.2f + 0.6f * u, 0.2f + 0.6f * v, 0.8f - 0.3f * (u + v)});
    }
  }
  return image;
}

TEST(Jpeg, EveryKindIsRead) {
  const Image truth = smooth();
  const std::string samples = test::samples_of(truth);
  const auto expect = [&](const char* what, const JpegSettings& settings) {
    const Image image = decode(make_jpeg(48, 32, 3, samples, settings));
    EXPECT_EQ(image.channels, 3) << what;
    EXPECT_TRUE(image.notes.empty() && image.lost.empty()) << what << ": " << image.notes.front();
    EXPECT_GT(psnr(image, truth), 38) << what;
    EXPECT_EQ(why_not(make_jpeg(48, 32, 3, samples, settings), {.strict = true}), "it was accepted") << what;
  };
  expect("4:4:4", {});
  expect("4:2:0", {.horizontal = 2, .vertical = 2});
  expect("4:2:2", {.horizontal = 2});
  expect("4:4:0", {.vertical = 2});
  expect("4:1:1", {.horizontal = 4});
  expect("progressive", {.horizontal = 2, .vertical = 2, .progressive = true});
  expect("arithmetic-coded", {.arithmetic = true});
  expect("arithmetic-coded and progressive", {.progressive = true, .arithmetic = true});
  expect("restart markers", {.horizontal = 2, .vertical = 2, .restart_interval = 2});
  expect("a scan for each component", {.separate = true});
  expect("stored as RGB", {.stored = JCS_RGB});
  const std::string grey(48 * 32, '\x40');
  EXPECT_EQ(decode(make_jpeg(48, 32, 1, grey)).channels, 1);
  EXPECT_NEAR(decode(make_jpeg(48, 32, 1, grey, {.arithmetic = true})).pixels[100], 64 / 255.0f, 1.5f / 255);
}

TEST(Jpeg, CmykIsConverted) {
  // Cyan, no other ink; with Adobe's marker the complement is stored.
  std::string ink;
  for (int i = 0; i < 16 * 16; ++i) ink += std::string("\xff\0\0\0", 4);
  std::string complement = ink;
  for (char& c : complement) c = static_cast<char>(~c);
  for (const auto& [file, what] : {std::pair{make_jpeg(16, 16, 4, ink, {.adobe = false}), "CMYK"},
                                   {make_jpeg(16, 16, 4, complement), "Adobe CMYK"},
                                   {make_jpeg(16, 16, 4, complement, {.stored = JCS_YCCK}), "Adobe YCCK"}}) {
    const Image image = decode(file);
    ASSERT_EQ(image.channels, 3) << what;
    EXPECT_LT(image.pixels[0], 0.05f) << what;
    EXPECT_GT(image.pixels[1], 0.95f) << what;
    EXPECT_GT(image.pixels[2], 0.95f) << what;
    EXPECT_FALSE(image.tags.srgb.empty()) << what;
    ASSERT_EQ(image.notes.size(), 1U) << what;
    EXPECT_TRUE(holds(image.notes[0], "CMYK")) << image.notes[0];
  }
}

// The first corner of a picture of 3 x 2 pixels, marked, for each way up. Source: TIFF 6.0, "Orientation".
TEST(Exif, EveryOrientation) {
  const Image stored{3, 2, 1, {1, 2, 3, 4, 5, 6}};
  const std::vector<float> shown[9] = {{},
                                       {1, 2, 3, 4, 5, 6},
                                       {3, 2, 1, 6, 5, 4},
                                       {6, 5, 4, 3, 2, 1},
                                       {4, 5, 6, 1, 2, 3},
                                       {1, 4, 2, 5, 3, 6},
                                       {4, 1, 5, 2, 6, 3},
                                       {6, 3, 5, 2, 4, 1},
                                       {3, 6, 2, 5, 1, 4}};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Image image = upright(stored, orientation);
    EXPECT_EQ(image.width, orientation <= 4 ? 3 : 2);
    EXPECT_EQ(image.height, orientation <= 4 ? 2 : 3);
    EXPECT_EQ(image.pixels, shown[orientation]) << orientation;
    for (const bool little : {true, false}) {
      for (const int before : {0, 3}) {
        const std::string exif = test::make_exif(orientation, little, before);
        EXPECT_EQ(exif_orientation(std::as_bytes(std::span(exif))), orientation);
        const Image jpeg = decode(make_jpeg(48, 32, 3, test::samples_of(smooth()), {.exif = exif}));
        EXPECT_EQ(jpeg.width, orientation <= 4 ? 48 : 32);
        EXPECT_EQ(jpeg.lost.size(), 1U);
        const std::string png = test::make_png(3, 2, 8, 0, std::string("\0\1\2\3\0\4\5\6", 8), test::png_chunk("eXIf", exif));
        const Image from_png = decode(png);
        ASSERT_EQ(from_png.pixels.size(), 6U);
        for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(from_png.pixels[i] * 255, shown[orientation][i]) << orientation;
      }
    }
  }
}

TEST(Exif, WhatMakesNoSenseIsNoOrientation) {
  const std::string good = test::make_exif(6);
  const auto of = [](const std::string& exif) { return exif_orientation(std::as_bytes(std::span(exif))); };
  EXPECT_EQ(of(std::string("Exif\0\0", 6) + good), 6);
  for (std::size_t length = 0; length < good.size(); ++length) {
    const int orientation = of(good.substr(0, length));
    EXPECT_TRUE(orientation == 1 || (orientation == 6 && length >= 22)) << length;
  }
  const auto with = [&](std::size_t at, char value) {
    std::string exif = good;
    exif[at] = value;
    return of(exif);
  };
  EXPECT_EQ(with(0, 'M'), 1);
  EXPECT_EQ(with(2, 43), 1);
  EXPECT_EQ(with(4, '\x7f'), 1);
  EXPECT_EQ(with(7, '\xff'), 1);
  EXPECT_EQ(with(8, '\0'), 1);    // no entries
  EXPECT_EQ(with(9, '\xff'), 6);  // far more entries than there are
  EXPECT_EQ(with(12, 2), 1);      // text
  EXPECT_EQ(with(14, 2), 1);      // two of them
  EXPECT_EQ(with(18, 9), 1);
  EXPECT_EQ(with(18, 0), 1);
}

TEST(Jpeg, ProfilesOfSeveralSegmentsAreKept) {
  const Image truth = smooth();
  std::string icc = test::make_icc(test::IccKind::display_p3);
  const std::string small = icc;
  icc.resize(150000, '\x5a');
  for (int i = 0; i < 4; ++i) icc[static_cast<std::size_t>(i)] = test::big_endian(150000)[static_cast<std::size_t>(i)];
  EXPECT_EQ(test::text_of(decode(make_jpeg(48, 32, 3, test::samples_of(truth), {.icc = icc})).tags.icc), icc);
  // Out of order, one missing, one twice, of other colours, cut off, no profile at all: said, and not used.
  const std::string file = make_jpeg(48, 32, 3, test::samples_of(truth), {.icc = icc});
  const std::size_t first = file.find("ICC_PROFILE") - 4, second = file.find("ICC_PROFILE", first + 20) - 4;
  std::string exchanged = file;
  std::swap(exchanged[first + 16], exchanged[second + 16]);
  EXPECT_NE(test::text_of(decode(exchanged).tags.icc), icc);
  std::string missing = file;
  missing.replace(second + 4, 3, "ABC");
  std::string twice = file;
  twice[second + 16] = '\1';
  for (const std::string& damaged :
       {exchanged, missing, twice, make_jpeg(48, 32, 3, test::samples_of(truth), {.icc = test::make_icc(test::IccKind::grey)}),
        make_jpeg(48, 32, 3, test::samples_of(truth), {.icc = small.substr(0, small.size() - 1)}),
        make_jpeg(48, 32, 3, test::samples_of(truth), {.icc = "no profile"})}) {
    const Image image = decode(damaged);
    EXPECT_TRUE(image.tags.icc.empty());
    ASSERT_EQ(image.notes.size(), 1U);
    EXPECT_TRUE(holds(image.notes[0], "its colour profile ") && holds(image.notes[0], "ignored")) << image.notes[0];
  }
}

// Marker segments in front of all others.
std::string with_segment(const std::string& file, int marker, const std::string& data) {
  return file.substr(0, 2) + "\xff" + static_cast<char>(marker) + test::big_endian(static_cast<std::uint32_t>(data.size() + 2), 2) + data +
         file.substr(2);
}

TEST(Jpeg, WhatIsNotKeptIsSaid) {
  const std::string plain = make_jpeg(48, 32, 3, test::samples_of(smooth()));
  const auto lost = [&](int marker, const std::string& data) {
    const Image image = decode(with_segment(plain, marker, data));
    EXPECT_EQ(image.lost.size(), 1U) << marker;
    return image.lost.empty() ? "" : image.lost[0];
  };
  EXPECT_TRUE(decode(plain).lost.empty() && decode(plain).extras.empty());
  EXPECT_EQ(lost(0xfe, "by me"), "the comment is not kept");
  EXPECT_EQ(lost(0xed, std::string("Photoshop 3.0\0", 14) + "8BIM"), "the IPTC metadata are not kept");
  EXPECT_EQ(lost(0xe1, std::string("http://ns.adobe.com/xap/1.0/\0<x/>", 33)), "the XMP metadata are not kept");
  EXPECT_EQ(lost(0xeb, "JP"), "the data of other programs in it are not kept");
  EXPECT_EQ(lost(0xe2, std::string("MPF\0", 4)), "the further pictures in it are not kept");
  const std::string exif = with_segment(plain, 0xe1, std::string("Exif\0\0", 6) + test::make_exif(1));
  EXPECT_EQ(decode(with_segment(exif, 0xed, "Photoshop 3.0")).lost, (std::vector<std::string>{"the EXIF and IPTC metadata are not kept"}));
}

// Pixels an inch or a centimetre, in a PNG a metre.
TEST(Jpeg, TheSizeOfAPixelIsKept) {
  const auto with_density = [&](int unit, unsigned across, unsigned down) {
    std::string file = make_jpeg(48, 32, 3, test::samples_of(smooth()));
    file.replace(file.find("JFIF") + 7, 5, static_cast<char>(unit) + test::big_endian(across, 2) + test::big_endian(down, 2));
    return decode(file);
  };
  for (const auto& [unit, across, metre] : {std::tuple{1, 300U, 11811U}, {1, 72U, 2835U}, {2, 118U, 11800U}}) {
    const Image image = with_density(unit, across, across);
    EXPECT_EQ(image.extras, (std::vector<std::string>{"pHYs" + test::big_endian(metre) + test::big_endian(metre) + "\1"}));
    EXPECT_TRUE(image.lost.empty());
    EXPECT_EQ(decode_image(encode_image(image, "x.png").bytes, "x.png").extras, image.extras);
    const EncodedImage jpeg = encode_image(image, "y.jpg");
    EXPECT_TRUE(jpeg.notes.empty());
    const std::string bytes = test::text_of(jpeg.bytes);
    EXPECT_EQ(bytes.substr(bytes.find("JFIF") + 7, 5), static_cast<char>(unit) + test::big_endian(across, 2) + test::big_endian(across, 2));
  }
  EXPECT_TRUE(with_density(0, 1, 1).extras.empty() && with_density(1, 0, 0).extras.empty());
  EXPECT_EQ(with_density(1, 300, 150).lost, (std::vector<std::string>{"the shape of its pixels is not kept"}));
}

TEST(Jpeg, WhatIsCutOffIsSaidOrStrictlyRefused) {
  const Image truth = smooth(256, 256);
  for (const JpegSettings& settings : {JpegSettings{}, {.progressive = true}, {.arithmetic = true}, {.separate = true}}) {
    const std::string file = make_jpeg(256, 256, 3, test::samples_of(truth), settings);
    const auto expect_noted = [&](const std::string& cut) {
      const Image image = decode(cut);
      EXPECT_EQ(image.width, 256);
      EXPECT_EQ(image.notes.size(), 1U);
      EXPECT_TRUE(!image.notes.empty() && holds(image.notes[0], "cut off")) << settings.progressive << settings.arithmetic;
      EXPECT_NE(why_not(cut, {.strict = true}), "it was accepted");
    };
    expect_noted(file.substr(0, file.size() * 3 / 4));
    expect_noted(file.substr(0, file.size() - 2));
    if (!settings.arithmetic) expect_noted(file.substr(0, file.size() * 3 / 4) + "\xff\xd9");  // looks whole
  }
  EXPECT_TRUE(holds(why_not(make_jpeg(48, 32, 1, std::string(48 * 32, 'x')).substr(0, 200)), "x.jpg: "));
}

TEST(Jpeg, ScansThatAreMissingAreSaid) {
  for (const JpegSettings& settings : {JpegSettings{.progressive = true}, {.separate = true}}) {
    const std::string file = make_jpeg(64, 64, 3, test::samples_of(smooth(64, 64)), settings);
    const std::string cut = file.substr(0, file.rfind("\xff\xda")) + "\xff\xd9";  // between scans, with an end marker
    const Image image = decode(cut);
    ASSERT_EQ(image.notes.size(), 1U);
    EXPECT_TRUE(holds(image.notes[0], "scans are missing")) << image.notes[0];
    EXPECT_TRUE(holds(why_not(cut, {.strict = true}), "scans are missing"));
  }
}

TEST(Jpeg, BudgetsAreCheckedBeforeTheWork) {
  std::string file = make_jpeg(48, 32, 3, test::samples_of(smooth()));
  const std::size_t frame = file.find("\xff\xc0") + 5, scan = file.find("\xff\xda");
  const auto resized = [&](unsigned width, unsigned height) {
    std::string out = file;
    out.replace(frame, 4, test::big_endian(height, 2) + test::big_endian(width, 2));
    return out;
  };
  EXPECT_TRUE(holds(why_not(resized(65500, 65500)), "65500x65500 pixels, expected 1 to 268435456"));
  EXPECT_TRUE(holds(why_not(resized(16000, 16000)), "bytes of data cannot hold 16000x16000 pixels"));
  EXPECT_TRUE(holds(why_not(resized(16000, 16000).substr(0, scan + 14)), "0 bytes of data cannot hold"));
  EXPECT_TRUE(holds(why_not(file.substr(0, scan)), "x.jpg: "));
  EXPECT_TRUE(holds(why_not(file, {.max_pixels = 48 * 32 - 1}), "expected 1 to 1535 of them"));
  EXPECT_EQ(why_not(file, {.max_pixels = 48 * 32}), "it was accepted");
  // An even surface is a few bytes of arithmetic code, whatever its size.
  const std::string even = make_jpeg(3000, 3000, 1, std::string(9000000, '\x40'), {.arithmetic = true});
  EXPECT_LT(even.size(), 1000U);
  EXPECT_EQ(why_not(even, {.strict = true}), "it was accepted");
  // Many scans of a progressive picture: the last one again and again.
  const std::string progressive = make_jpeg(48, 32, 3, test::samples_of(smooth()), {.progressive = true});
  const std::size_t last = progressive.rfind("\xff\xda");
  std::string many = progressive.substr(0, last);
  for (int i = 0; i < 1000; ++i) many += progressive.substr(last, progressive.size() - 2 - last);
  EXPECT_TRUE(holds(why_not(many + "\xff\xd9"), "scans, expected at most 100"));
}

TEST(Jpeg, WhatIsWrittenIsRight) {
  Image image = smooth(33, 17);
  image.tags.icc = test::bytes_of(test::make_icc(test::IccKind::display_p3));
  const EncodedImage fine = encode_image(image, "a.JPG"), coarse = encode_image(image, "a.jpeg", {.quality = 10});
  EXPECT_GT(fine.bytes.size(), coarse.bytes.size());
  const Image back = decode_image(fine.bytes, "a.JPG", {.strict = true});
  EXPECT_GT(psnr(back, image), 42);
  EXPECT_EQ(back.tags.icc, image.tags.icc);
  EXPECT_TRUE(fine.notes.empty());
  EXPECT_THROW(encode_image(image, "a.jpg", {.quality = 0}), OptionError);
  EXPECT_THROW(encode_image(image, "a.jpg", {.quality = 101}), OptionError);
  EXPECT_THROW(encode_image({65501, 1, 1, std::vector<float>(65501)}, "a.jpg"), IoError);
  for (const char* name : {"a.webp", "a.tiff", "a", "a.png.gif", ".png", "a.pngx"}) {
    EXPECT_THROW(encode_image(image, name), OptionError) << name;
  }
}

}  // namespace
}  // namespace frieze::tools
