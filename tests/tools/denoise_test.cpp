/// frieze denoise, noise and compare as their users meet them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include <frieze/graph/session.h>

#include "support/paths.h"
#include "tools/command.h"
#include "tools/image/image.h"
#include "tools/image/quality.h"
#include "tools/png_maker.h"

namespace frieze::test {
namespace {

using namespace frieze::tools;

const std::string kPhoto = source_path("tests/data/chelsea.png");

// A piece of the photograph, so that the CPU reference is done in a moment.
Image piece(int width = 80, int height = 60) {
  const Image photo = read_image(kPhoto);
  Image out{width, height, 3, {}};
  for (int y = 0; y < height; ++y) {
    const auto first = photo.pixels.begin() + ((100 + y) * photo.width + 150) * 3;
    out.pixels.insert(out.pixels.end(), first, first + width * 3);
  }
  return out;
}

Image grey_of(const Image& image) {
  Image out{image.width, image.height, 1, {}};
  for (std::size_t p = 0; p < image.pixels.size(); p += 3) {
    out.pixels.push_back((image.pixels[p] + image.pixels[p + 1] + image.pixels[p + 2]) / 3);
  }
  return out;
}

class Denoise : public ::testing::Test {
 protected:
  // One clear line, nothing written.
  void expect_refusal(const std::string& in, const std::string& says, const std::vector<std::string>& more = {}) {
    const auto before = folder.count();
    std::vector<std::string> arguments = {"denoise", in, "-o", folder.file("out.png"), "--device", "cpu"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = run_frieze(arguments);
    EXPECT_EQ(outcome.status, 2) << says;
    EXPECT_EQ(outcome.out, "") << says;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_NE(outcome.err.find(says), std::string::npos) << "expected '" << says << "' in: " << outcome.err;
    EXPECT_EQ(folder.count(), before) << says;
  }
  Image denoised(const std::string& in, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"denoise", in, "-o", folder.file("out.png"), "--device", "cpu"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = run_frieze(arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    last_report = outcome.out;
    return read_image(folder.file("out.png"));
  }
  TempFolder folder;
  std::string last_report;
};

TEST_F(Denoise, MakesANoisyPhotographBetter) {
  const Image clean = piece();
  write_image(folder.file("noisy.png"), add_noise(clean, 25.0 / 255, 1));
  const Image noisy = read_image(folder.file("noisy.png"));
  const Image out = denoised(folder.file("noisy.png"));
  EXPECT_GT(psnr(out, clean), psnr(noisy, clean) + 6);
  EXPECT_GT(ssim(out, clean), ssim(noisy, clean) + 0.2);
  EXPECT_NE(last_report.find("80x60"), std::string::npos) << last_report;
  EXPECT_NE(last_report.find("megapixels/s"), std::string::npos) << last_report;
  EXPECT_NE(last_report.find("noise about 2"), std::string::npos) << last_report;  // 25 and the picture's own texture
}

TEST_F(Denoise, IsTheSameOnTheGpu) {
  if (Device::cuda_count() == 0) GTEST_SKIP() << "needs a CUDA device";
  write_image(folder.file("noisy.png"), add_noise(piece(), 25.0 / 255, 1));
  const Image cpu = denoised(folder.file("noisy.png"));
  ASSERT_EQ(run_frieze({"denoise", folder.file("noisy.png"), "-o", folder.file("gpu.png"), "--device", "cuda"}).status, 0);
  const Image gpu = read_image(folder.file("gpu.png"));
  std::size_t differ = 0;
  for (std::size_t i = 0; i < cpu.pixels.size(); ++i) {
    const long step = std::lround(std::abs(cpu.pixels[i] - gpu.pixels[i]) * 255);
    EXPECT_LE(step, 1);
    differ += step != 0 ? 1 : 0;
  }
  EXPECT_LE(static_cast<double>(differ), 1e-3 * static_cast<double>(cpu.pixels.size()));
}

TEST_F(Denoise, SigmaLimitsWhatIsRemoved) {
  write_image(folder.file("noisy.png"), add_noise(piece(), 15.0 / 255, 1));
  const Image noisy = read_image(folder.file("noisy.png"));
  const auto removed = [&](const std::string& sigma) {  // in levels of 255
    return 255 * std::pow(10.0, -psnr(denoised(folder.file("noisy.png"), {"--sigma", sigma}), noisy) / 20);
  };
  EXPECT_NEAR(removed("5"), 5, 0.5);
  const double all = removed("auto");
  EXPECT_GT(all, 12);
  EXPECT_NEAR(removed("100"), all, 0.01);
  EXPECT_EQ(denoised(folder.file("noisy.png"), {"--sigma", "0"}).pixels, noisy.pixels);
  expect_refusal(folder.file("noisy.png"), "--sigma", {"--sigma", "loud"});
  expect_refusal(folder.file("noisy.png"), "--sigma", {"--sigma", "-5"});
  expect_refusal(folder.file("noisy.png"), "--sigma", {"--sigma", "nan"});
}

TEST_F(Denoise, GreyStaysGreyAndAlphaStays) {
  const Image clean = grey_of(piece());
  Image grey = add_noise(clean, 25.0 / 255, 3);
  write_image(folder.file("grey.png"), grey);
  const Image out = denoised(folder.file("grey.png"));
  EXPECT_EQ(out.channels, 1);
  EXPECT_GT(psnr(out, clean), psnr(read_image(folder.file("grey.png")), clean) + 4);

  Image alpha{piece().width, piece().height, 4, {}};
  const Image rgb = piece();
  for (std::size_t p = 0; p < rgb.pixels.size() / 3; ++p) {
    for (std::size_t c = 0; c < 3; ++c) alpha.pixels.push_back(rgb.pixels[3 * p + c]);
    alpha.pixels.push_back(static_cast<float>(p % 256) / 255.0f);
  }
  write_image(folder.file("alpha.png"), alpha);
  const Image with_alpha = denoised(folder.file("alpha.png"));
  ASSERT_EQ(with_alpha.channels, 4);
  for (std::size_t i = 3; i < alpha.pixels.size(); i += 4) ASSERT_EQ(with_alpha.pixels[i], alpha.pixels[i]);
}

TEST_F(Denoise, SixteenBitsAreReadInFull) {
  // One value that lies between two levels of 8 bits.
  std::string rows;
  for (int y = 0; y < 16; ++y) {
    rows += '\0';
    for (int x = 0; x < 16 * 3; ++x) rows += big_endian(0x8040, 2);
  }
  folder.write("deep.png", make_png(16, 16, 16, 2, rows));
  for (const float v : denoised(folder.file("deep.png")).pixels) EXPECT_NEAR(v, 0x8040 / 65535.0, 0.02);
}

TEST_F(Denoise, OnePixel) {
  write_image(folder.file("one.png"), {1, 1, 3, {0.2f, 0.5f, 0.8f}});
  const Image out = denoised(folder.file("one.png"));
  EXPECT_EQ(out.width, 1);
  EXPECT_EQ(out.height, 1);
  EXPECT_NEAR(out.pixels[0], 0.2f, 0.05f);
  EXPECT_NEAR(out.pixels[2], 0.8f, 0.05f);
}

TEST_F(Denoise, CmykJpegKeepsItsColours) {
  const Image out = denoised(source_path("tests/data/cmyk.jpg"));  // cyan on the left, yellow on the right
  ASSERT_EQ(out.channels, 3);
  const float* left = &out.pixels[(8 * 24 + 4) * 3];
  const float* right = &out.pixels[(8 * 24 + 20) * 3];
  EXPECT_LT(left[0], 0.2f);
  EXPECT_GT(left[2], 0.8f);
  EXPECT_GT(right[0], 0.8f);
  EXPECT_LT(right[2], 0.2f);
}

TEST_F(Denoise, BadFilesAreToldInOneLine) {
  const std::string photo = slurp(kPhoto);
  folder.write("cut.png", photo.substr(0, photo.size() / 2));
  folder.write("empty.png", "");
  expect_refusal(folder.file("cut.png"), "truncated PNG");
  expect_refusal(folder.file("empty.png"), "the file is empty");
  expect_refusal(folder.file("missing.png"), "missing.png");
  const Outcome device = run_frieze({"denoise", kPhoto, "-o", folder.file("out.png"), "--device", "abacus"});
  EXPECT_EQ(device.status, 2);
  EXPECT_NE(device.err.find("unknown device"), std::string::npos) << device.err;
  expect_refusal(kPhoto, "multiple of 16", {"--tile", "100"});
}

TEST_F(Denoise, AHugePictureIsRefusedBeforeItIsDecoded) {
  // 20000x20000 pixels by its header; whatever memory it is given, it is more than the reader accepts.
  folder.write("huge.png", kPngSignature + png_header(20000, 20000, 8, 2) + png_chunk("IDAT", zlib_stored("")) + png_chunk("IEND", ""));
  expect_refusal(folder.file("huge.png"), "20000x20000 pixels", {"--max-memory", "256M"});
}

TEST_F(Denoise, MaxMemoryMakesTilesSmallerOrIsRefused) {
  write_image(folder.file("x.png"), piece(290, 40));
  const Image whole = denoised(folder.file("x.png"));
  const Image tiled = denoised(folder.file("x.png"), {"--tile", "304", "--max-memory", "9M"});
  for (std::size_t i = 0; i < whole.pixels.size(); ++i) ASSERT_NEAR(whole.pixels[i], tiled.pixels[i], 1.01 / 255);
  expect_refusal(folder.file("x.png"), "even a tile of 256x48 needs", {"--max-memory", "1M"});
  expect_refusal(folder.file("x.png"), "--max-memory", {"--max-memory", "much"});
}

TEST_F(Denoise, AFolder) {
  std::filesystem::create_directory(folder.file("in"));
  expect_refusal(folder.file("in"), "no PNG or JPEG file in this folder");
  write_image(folder.file("in/a.png"), piece(48, 48));
  write_image(folder.file("in/b.PNG"), piece(41, 45));  // the same shape once it is padded
  folder.write("in/c.jpg", "not a picture");
  folder.write("in/notes.txt", "not meant to be one");
  const Outcome outcome = run_frieze({"denoise", folder.file("in"), "-o", folder.file("out"), "--device", "cpu"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 2) << outcome.err;
  EXPECT_NE(outcome.err.find("frieze: 1 of 3 files failed"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("c.jpg: neither a PNG nor a JPEG"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.out.find("2 of 3 pictures"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("1 plan"), std::string::npos) << outcome.out;
  EXPECT_EQ(read_image(folder.file("out/a.png")).width, 48);
  EXPECT_EQ(read_image(folder.file("out/b.png")).height, 45);
  EXPECT_FALSE(std::filesystem::exists(folder.file("out/c.png")));
  const Outcome onto_itself = run_frieze({"denoise", folder.file("in"), "-o", folder.file("in"), "--device", "cpu"});
  EXPECT_EQ(onto_itself.status, 2);
  EXPECT_NE(onto_itself.err.find("written over"), std::string::npos) << onto_itself.err;
}

TEST_F(Denoise, WithoutTuning) {
  write_image(folder.file("x.png"), piece(32, 16));
  const Image tuned = denoised(folder.file("x.png"));
  EXPECT_EQ(denoised(folder.file("x.png"), {"--no-tune"}).pixels, tuned.pixels);  // nothing is tuned on the CPU
  if (Device::cuda_count() == 0) return;
  ASSERT_EQ(run_frieze({"denoise", folder.file("x.png"), "-o", folder.file("gpu.png"), "--device", "cuda", "--no-tune"}).status, 0);
  const Image gpu = read_image(folder.file("gpu.png"));
  for (std::size_t i = 0; i < gpu.pixels.size(); ++i) EXPECT_NEAR(gpu.pixels[i], tuned.pixels[i], 1.01 / 255);
}

TEST_F(Denoise, JsonReport) {
  write_image(folder.file("x.png"), piece(32, 16));
  denoised(folder.file("x.png"), {"--json"});
  const auto report = nlohmann::json::parse(last_report);
  EXPECT_EQ(report.at("width"), 32);
  EXPECT_EQ(report.at("height"), 16);
  EXPECT_GT(report.at("ms").get<double>(), 0);
}

TEST_F(Denoise, NoiseAndCompare) {
  ASSERT_EQ(run_frieze({"noise", kPhoto, "--sigma", "25", "--seed", "1", "-o", folder.file("noisy.png")}).status, 0);
  const Outcome compared = run_frieze({"compare", kPhoto, folder.file("noisy.png"), kPhoto, "-o", folder.file("side.png"), "--json"});
  ASSERT_EQ(compared.status, 0) << compared.err;
  const auto report = nlohmann::json::parse(compared.out);
  EXPECT_NEAR(report.at(0).at("psnr_db").get<double>(), 20.2, 0.3);
  EXPECT_EQ(report.at(1).at("psnr_db"), nullptr);  // equal pictures: infinite
  const Image side = read_image(folder.file("side.png"));
  EXPECT_EQ(side.width, 3 * 451);
  EXPECT_EQ(side.height, 300);
  const Outcome sizes = run_frieze({"compare", kPhoto, source_path("tests/data/cmyk.jpg")});
  EXPECT_EQ(sizes.status, 2);
  EXPECT_NE(sizes.err.find("cannot compare"), std::string::npos) << sizes.err;
}

}  // namespace
}  // namespace frieze::test
