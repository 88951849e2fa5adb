#include "tools/image/image.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <limits>

#include <frieze/core/error.h>

#include "support/paths.h"
#include "support/temp_folder.h"
#include "tools/png_maker.h"

namespace frieze::tools {
namespace {

using test::make_png;
using test::TempFolder;

Image gradient(int width, int height, int channels) {
  Image image{width, height, channels, {}};
  for (int i = 0; i < width * height * channels; ++i) image.pixels.push_back(static_cast<float>((i * 37) % 256) / 255.0f);
  return image;
}

Image decode(const std::string& bytes) { return decode_image(std::as_bytes(std::span(bytes)), "x.png"); }

std::string why_not(const std::string& bytes, const ReadOptions& options = {}) {
  try {
    decode_image(std::as_bytes(std::span(bytes)), "x.png", options);
  } catch (const IoError& e) {
    return e.what();
  }
  return "it was accepted";
}

std::string bytes_of(const Image& image, const std::string& name, const WriteOptions& options = {}) {
  const EncodedImage encoded = encode_image(image, name, options);
  return {reinterpret_cast<const char*>(encoded.bytes.data()), encoded.bytes.size()};
}

std::string jpeg_bytes() { return bytes_of({33, 17, 1, std::vector<float>(33 * 17, 128 / 255.0f)}, "x.jpg"); }

TEST(Image, RoundTripIsExactForEverySizeAndChannelCount) {
  TempFolder folder;
  for (const int channels : {1, 2, 3, 4}) {
    for (const auto& [width, height] : {std::pair{1, 1}, {1, 7}, {7, 1}, {33, 17}, {64, 3}}) {
      const Image image = gradient(width, height, channels);
      write_image(folder.file("x.png"), image);
      const Image back = read_image(folder.file("x.png"));
      EXPECT_EQ(back.width, width);
      EXPECT_EQ(back.height, height);
      EXPECT_EQ(back.channels, channels);
      EXPECT_EQ(back.pixels, image.pixels) << width << "x" << height << "x" << channels;
    }
  }
  EXPECT_EQ(folder.count(), 1);
}

TEST(Image, SixteenBitSamplesKeepTheirPrecision) {
  const std::string row = std::string(1, '\0') + test::big_endian(0x0001, 2) + test::big_endian(0xffff, 2) + test::big_endian(0x8000, 2);
  const Image grey = decode(make_png(3, 1, 16, 0, row));
  EXPECT_EQ(grey.channels, 1);
  EXPECT_EQ(grey.pixels, (std::vector<float>{1 / 65535.0f, 1.0f, 32768 / 65535.0f}));
  EXPECT_EQ(decode(make_png(1, 1, 16, 2, row)).pixels, grey.pixels);
}

TEST(Image, PalettesBecomeColours) {
  const std::string palette = test::png_chunk("PLTE", std::string("\xff\x00\x00\x00\x00\xff", 6));
  const Image image = decode(make_png(2, 1, 8, 3, std::string("\0\0\1", 3), palette));
  EXPECT_EQ(image.channels, 3);
  EXPECT_EQ(image.pixels, (std::vector<float>{1, 0, 0, 0, 0, 1}));
}

TEST(Image, ReadsJpeg) {
  const Image image = decode(jpeg_bytes());
  EXPECT_EQ(image.width, 33);
  EXPECT_EQ(image.height, 17);
  for (const float v : image.pixels) EXPECT_NEAR(v, 128 / 255.0f, 2 / 255.0f);
}

TEST(Image, EveryTruncationIsRefused) {
  const std::string png = make_png(2, 2, 8, 0, std::string("\0\x10\x20\0\x30\x40", 6));
  ASSERT_EQ(decode(png).width, 2);
  for (std::size_t length = 0; length < png.size(); ++length) {
    const std::string message = why_not(png.substr(0, length));
    // Without its end marker alone it is whole: noted, or refused by --strict.
    EXPECT_EQ(message == "it was accepted", length >= png.size() - 12) << length << " of " << png.size() << " bytes: " << message;
    EXPECT_TRUE(message == "it was accepted" || message.rfind("x.png: ", 0) == 0u) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos);
    if (length >= png.size() - 12) {
      EXPECT_EQ(decode(png.substr(0, length)).notes.size(), 1U);
    }
    EXPECT_NE(why_not(png.substr(0, length), {.strict = true}), "it was accepted") << length;
  }
  const std::string jpeg = jpeg_bytes();
  for (std::size_t length = 0; length < jpeg.size(); ++length) {
    EXPECT_NE(why_not(jpeg.substr(0, length), {.strict = true}), "it was accepted") << length << " of " << jpeg.size() << " bytes";
    if (why_not(jpeg.substr(0, length)) == "it was accepted") {
      EXPECT_EQ(decode(jpeg.substr(0, length)).notes.size(), 1U) << length;
    }
  }
}

TEST(Image, EveryFlippedBitOfAPngIsRefused) {
  const std::string png = make_png(2, 2, 8, 0, std::string("\0\x10\x20\0\x30\x40", 6));
  for (std::size_t bit = 0; bit < 8 * png.size(); ++bit) {
    std::string damaged = png;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_NE(why_not(damaged, {.strict = true}), "it was accepted") << "bit " << bit;
    if (bit < 8 * (png.size() - 12)) {
      EXPECT_NE(why_not(damaged), "it was accepted") << "bit " << bit;  // not of the end marker
    }
  }
}

TEST(Image, EveryFlippedBitOfAJpegIsHandled) {
  const std::string jpeg = jpeg_bytes();  // no checksums: damage may pass as another picture, but must not crash
  for (std::size_t bit = 0; bit < 8 * jpeg.size(); bit += 3) {
    std::string damaged = jpeg;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_EQ(why_not(damaged).find('\n'), std::string::npos);
  }
}

TEST(Image, RefusalsSayWhat) {
  EXPECT_EQ(why_not(""), "x.png: the file is empty");
  EXPECT_EQ(why_not("GIF89a and so on"), "x.png: neither a PNG nor a JPEG file");
  EXPECT_NE(why_not("\x89PNG\n\x1a\n and so on").find("transfer as text"), std::string::npos);
  EXPECT_NE(why_not(make_png(100000, 100000, 8, 0, "")).find("x.png"), std::string::npos);
  EXPECT_NE(why_not(test::kPngSignature + test::png_header(40000, 7000, 8, 0) + test::png_chunk("IDAT", "") + test::png_chunk("IEND", ""))
                .find("40000x7000 pixels, expected 1 to 268435456"),
            std::string::npos);
  EXPECT_NE(why_not(make_png(0, 1, 8, 0, "")), "it was accepted");
  EXPECT_NE(why_not(make_png(4, 4, 8, 0, std::string(5, '\0'))), "it was accepted");  // too few rows
  EXPECT_NE(why_not(test::kPngSignature + test::png_header(1, 1, 8, 0) + test::png_chunk("IEND", "")).find("no image data"),
            std::string::npos);
  EXPECT_THROW(read_image("/nonexistent/x.png"), IoError);
  EXPECT_THROW(read_image("/"), IoError);
}

TEST(Image, WritesNothingThatIsNotFinite) {
  TempFolder folder;
  Image image = gradient(2, 2, 3);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    image.pixels[7] = bad;
    EXPECT_THROW(write_image(folder.file("x.png"), image), IoError);
  }
  image.pixels.pop_back();
  EXPECT_THROW(write_image(folder.file("x.png"), image), ShapeError);
  EXPECT_EQ(folder.count(), 0);
}

TEST(Image, ClampsAndRoundsToTheNearestLevel) {
  TempFolder folder;
  write_image(folder.file("x.png"), {4, 1, 1, {-0.5f, 1.5f, 0.5f / 255 + 1e-6f, 0.4f / 255}});
  EXPECT_EQ(read_image(folder.file("x.png")).pixels, (std::vector<float>{0, 1, 1 / 255.0f, 0}));
}

TEST(Image, UnwritablePlacesAreRefusedAndLeftAlone) {
  TempFolder folder;
  const Image image = gradient(2, 2, 3);
  for (const std::string& place : {std::string("/dev/full"), std::string("/dev/null"), std::string("/proc/x.png"), folder.path().string(),
                                   folder.file("missing/x.png"), std::string()}) {
    EXPECT_THROW(write_image(place, image), Error) << place;
  }
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/full"));
  EXPECT_EQ(folder.count(), 0);
}

TEST(Image, ReplacesWhatALinkPointsToAndKeepsItsPermissions) {
  TempFolder folder;
  folder.write("real.png", "old");
  std::filesystem::permissions(folder.file("real.png"), std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  std::filesystem::create_symlink("real.png", folder.file("link.png"));
  write_image(folder.file("link.png"), gradient(2, 2, 3));
  EXPECT_TRUE(std::filesystem::is_symlink(folder.file("link.png")));
  EXPECT_EQ(read_image(folder.file("real.png")).width, 2);
  EXPECT_EQ(std::filesystem::status(folder.file("real.png")).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  EXPECT_EQ(folder.count(), 2);
}

TEST(Image, PlanesAndBack) {
  const Image grey = gradient(3, 2, 2);
  const std::vector<float> planes = to_rgb_planes(grey);
  ASSERT_EQ(planes.size(), 18u);
  for (std::size_t p = 0; p < 6; ++p) {
    for (std::size_t c = 0; c < 3; ++c) EXPECT_EQ(planes[c * 6 + p], grey.pixels[2 * p]);
  }
  const Image colour = gradient(5, 4, 4);
  const Image back = with_properties_of(from_planes(to_rgb_planes(colour), 3, 4, 5), colour);
  EXPECT_EQ(back.channels, 4);
  EXPECT_EQ(back.pixels, colour.pixels);
  EXPECT_EQ(with_properties_of(gradient(2, 2, 3), colour).channels, 3);  // another size: no alpha
  EXPECT_THROW(from_planes(planes, 3, 2, 2), ShapeError);
  EXPECT_THROW(from_planes(planes, 2, 3, 3), ShapeError);
}

TEST(Image, ThePhotographThatShipsIsReadable) {
  const Image image = read_image(test::source_path("tests/data/chelsea.png"));
  EXPECT_EQ(image.width, 451);
  EXPECT_EQ(image.height, 300);
  EXPECT_EQ(image.channels, 3);
}

}  // namespace
}  // namespace frieze::tools
